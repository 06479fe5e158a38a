/**
 * Replies of any length: their JSON is written as it is sent, others being served between the pieces. JSON.stringify would
 * hold everybody up, and need the whole of it in memory.
 */
import { FastgenError } from "../../src/errors.ts";
import { nextTurn } from "../body/body.ts";
import type { RequestRecord } from "../context.ts";

/** JSON that is written already: an object whose keys are numbers, say, in an order that JavaScript's objects do not keep. */
export class JsonText {
  constructor(readonly json: string) {}
}

/** An array in JSON whose entries are made one at a time, when their turn comes. They hold no JsonLists. */
export class JsonList {
  constructor(readonly entries: Iterable<unknown>) {}
}

/** UTF-16 code units of a piece: a few milliseconds of work. */
const PIECE_LENGTH = 64 * 1024;

/** The JSON of `value`, which may hold JsonLists. Entries of arrays of numbers, strings and the like are not cut apart. */
export function* jsonParts(value: unknown): Generator<string, void, void> {
  if (value instanceof JsonList) {
    let separator = "[";
    for (const entry of value.entries) {
      yield separator + (entry instanceof JsonText ? entry.json : JSON.stringify(entry));
      separator = ",";
    }
    yield separator === "[" ? "[]" : "]";
  } else if (Array.isArray(value) && typeof value[0] === "object") {
    let separator = "[";
    for (const entry of value) {
      yield separator;
      yield* jsonParts(entry);
      separator = ",";
    }
    yield "]";
  } else if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    let separator = "{";
    for (const [key, entry] of Object.entries(value)) {
      if (entry === undefined) continue;
      yield `${separator}${JSON.stringify(key)}:`;
      yield* jsonParts(entry);
      separator = ",";
    }
    yield separator === "{" ? "{}" : "}";
  } else yield typeof value === "bigint" ? String(value) : JSON.stringify(value);
}

/** The JSON of `value`, with integers of 64 bits as they are. */
export function jsonText(value: unknown): string {
  return Array.from(jsonParts(value)).join("");
}

/** `value` as a reply: whole where it is one piece, else as a stream, during which `record` stays open. */
export function longJson(record: RequestRecord, value: unknown): Response {
  const parts = jsonParts(value);
  const first = nextPiece(parts);
  const headers = { "content-type": "application/json" };
  if (first.done) return new Response(first.text, { headers });
  const encoder = new TextEncoder();
  let piece = first;
  record.streaming = true;
  const stream = new ReadableStream<Uint8Array>({
    async pull(controller) {
      controller.enqueue(encoder.encode(piece.text));
      if (piece.done) {
        controller.close();
        record.end(200);
        return;
      }
      await nextTurn();
      piece = nextPiece(parts);
    },
    cancel(reason: unknown) {
      record.error = reason instanceof FastgenError ? reason : new FastgenError("aborted", "the client went away");
      record.end(200);
    },
  });
  return new Response(stream, { headers });
}

function nextPiece(parts: Iterator<string, void, void>): { text: string; done: boolean } {
  let text = "";
  while (text.length < PIECE_LENGTH) {
    const { done, value } = parts.next();
    if (done) return { text, done };
    text += value;
  }
  return { text, done: false };
}
