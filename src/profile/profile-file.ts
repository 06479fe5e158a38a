/** A profile's file: the main thread's lines and the parts that engines have written, joined, compressed and put in place. */
import { createReadStream, createWriteStream } from "node:fs";
import { open, rename, rm, stat } from "node:fs/promises";
import * as path from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { FastgenError } from "../errors.ts";
import { makeProfileFolder } from "../profile-folder.ts";
import { systemReason } from "../system/system-reason.ts";
import type { ProfileFile } from "../types.ts";

/** Bytes from which on a file is compressed. */
const GZIP_BYTES = 4 * 1024 * 1024;
const LINE_BYTES = 150;
const PIECE_BYTES = 256 * 1024;

let counter = 0;

/** A name in the folder that no other profile has, without an ending. Throws as makeProfileFolder() does. */
export function newProfile(directory: string): string {
  makeProfileFolder(directory);
  const time = new Date()
    .toISOString()
    .replace(/[-:]/g, "")
    .replace(/\.\d+Z$/, "Z");
  return path.join(directory, `fastgen-${time}-${process.pid}-${counter++}`);
}

/** A file with events of one engine. */
export interface Part {
  path: string;
  /** It is a trace of its own, as fg_trace_stop writes it, and not the events alone. */
  isTrace: boolean;
}

/** Where engine `engine` writes: its scheduler's events, and the library's trace. */
export function partsOf(name: string, engine: number): [steps: Part, trace: Part] {
  const begin = path.join(path.dirname(name), `.${path.basename(name)}.${engine}`);
  return [
    { path: `${begin}.steps.part`, isTrace: false },
    { path: `${begin}.trace.part`, isTrace: true },
  ];
}

/** Removes what engines have written. */
export async function removeParts(parts: readonly Part[]): Promise<void> {
  await Promise.all(parts.map((part) => rm(part.path, { force: true })));
}

/**
 * Writes NAME.json, or NAME.json.gz if it is large, and removes the parts. Nobody sees an unfinished file under that name.
 * @param size how many lines there are, about
 * @param about what the trace says of itself ("otherData")
 * @throws FastgenError "unavailable", with the code "storage_error"
 */
export async function writeProfile(
  name: string,
  lines: Iterable<string>,
  size: number,
  parts: readonly Part[],
  about: object,
): Promise<ProfileFile> {
  const draft = path.join(path.dirname(name), `.${path.basename(name)}.part`);
  try {
    let bytes = size * LINE_BYTES;
    for (const part of parts) bytes += (await stat(part.path)).size;
    const gzip = bytes > GZIP_BYTES;
    const target = `${name}.json${gzip ? ".gz" : ""}`;
    const text = Readable.from(pieces(whole(lines, parts, about)));
    const file = createWriteStream(draft, { mode: 0o600 });
    await (gzip ? pipeline(text, createGzip(), file) : pipeline(text, file));
    const handle = await open(draft, "r+");
    await handle.sync().finally(() => handle.close());
    const written = (await stat(draft)).size;
    await rename(draft, target);
    return { path: target, bytes: written };
  } catch (cause) {
    await rm(draft, { force: true });
    throw unwritten(path.dirname(name), cause);
  } finally {
    await removeParts(parts);
  }
}

/** The error of a profile that was recorded and cannot be written to `directory`. */
export function unwritten(directory: string, cause: unknown): FastgenError {
  const reason = systemReason(cause, directory);
  const message = `the profile cannot be written: ${reason}; see whether ${directory} is there and has room, and record it again`;
  return new FastgenError("unavailable", message, { code: "storage_error", cause });
}

/** What fg_trace_stop writes around its events. */
const OPENING = '{"traceEvents":[\n';
const CLOSING = "\n]}\n";

async function* whole(lines: Iterable<string>, parts: readonly Part[], about: object): AsyncGenerator<string | Buffer> {
  yield `{"displayTimeUnit":"ms","otherData":${JSON.stringify(about)},"traceEvents":[\n`;
  let comma = "";
  for (const line of lines) {
    yield `${comma}${line}`;
    comma = ",\n";
  }
  for (const { path: part, isTrace } of parts) {
    const { size } = await stat(part);
    const [start, end] = isTrace ? [OPENING.length, size - CLOSING.length] : [0, size];
    if (start >= end) continue;
    yield comma;
    comma = ",\n";
    yield* createReadStream(part, { start, end: end - 1, highWaterMark: PIECE_BYTES });
  }
  yield CLOSING;
}

/** The same text in pieces that are worth a write. */
async function* pieces(texts: AsyncIterable<string | Buffer>): AsyncGenerator<string | Buffer> {
  let held: string[] = [];
  let length = 0;
  for await (const text of texts) {
    if (typeof text === "string") {
      held.push(text);
      length += text.length;
      if (length < PIECE_BYTES) continue;
    }
    if (length > 0) yield held.join("");
    held = [];
    length = 0;
    if (typeof text !== "string") yield text;
  }
  if (length > 0) yield held.join("");
}
