/** A request's body: bounded bytes, valid UTF-8, a bounded JSON object, and what a schema makes of it. */
import type { Context } from "hono";
import type { z } from "zod";
import { isObject } from "../../src/bounded-json.ts";
import { FastgenError } from "../../src/errors.ts";
import { parseJson } from "../../src/index.ts";
import { SMALL_BODY_BYTES } from "../../src/limits.ts";
import { parseWith, schemaError } from "../../src/schema-error.ts";
import type { Env } from "../context.ts";
import { HttpError } from "../errors.ts";
import type { Service } from "../service.ts";
import { exactInteger } from "./exact-integer.ts";
import { JsonScan } from "./json-scan.ts";
import { takeKnown } from "./other-fields.ts";
import { streamOptions } from "./schemas.ts";

/** A body after its schema, and as it was sent. */
export interface Parsed<S extends z.ZodObject> {
  fields: z.output<S>;
  /** What the caller wrote, without nulls, which mean the default, and without fields that the schema does not have. */
  given: Record<string, unknown>;
}

/** The fields of fields, by the name of the field that has them. */
export type NestedFields = Record<string, z.ZodRawShape>;

/**
 * Reads and checks a JSON body. Work on a large one is done in steps, others being served between them.
 * @param nested of which fields the unknown fields are judged as the body's own are; stream_options always are
 * @throws FastgenError "unavailable", "overloaded", "invalid_request", "aborted", or an HttpError (408, 413, 415).
 */
export async function readBody<S extends z.ZodObject>(
  c: Context<Env>,
  service: Service,
  schema: S,
  nested: NestedFields = {},
): Promise<Parsed<S>> {
  // A body that nothing can answer is not read.
  service.requireModel();
  checkHeaders(c);
  const bytes = await readBytes(c, service.options.maxBodyBytes);
  c.get("record").bodyRead();
  const isLarge = bytes.byteLength > SMALL_BODY_BYTES;
  const text = decode(bytes);
  if (isLarge) await nextTurn();
  const body = parseObject(text);
  if ("messages" in schema.shape && text.length <= MAX_EXACT_LENGTH) keepNumbers(body, text);
  if (isLarge) await nextTurn();
  const given = takeFields(c, service, schema.shape, body, nested);
  keepSeed(given, text);
  for (const name of Object.keys(nested)) {
    const object = given[name];
    if (isObject(object)) keepSeed(object, text, name);
  }
  const result = parseWith(schema, given);
  if (!result.success) throw schemaError(result.error);
  return { fields: result.data, given };
}

/** The fields that `shape` has, of `body` and of its objects in `nested`. The record and the log name those that are ignored. */
function takeFields(
  c: Context<Env>,
  service: Service,
  shape: z.ZodRawShape,
  body: Record<string, unknown>,
  nested: NestedFields,
) {
  const { allowExtraFields } = service.options;
  const { known, ignored } = takeKnown(body, shape, allowExtraFields);
  for (const [name, fields] of Object.entries({ stream_options: streamOptions, ...nested })) {
    const object = known[name];
    if (!isObject(object)) continue;
    const taken = takeKnown(object, fields, allowExtraFields, `${name}.`);
    known[name] = taken.known;
    ignored.push(...taken.ignored);
  }
  noteIgnored(c, service, ignored);
  return known;
}

/** The request asks for what these fields say, and it is ignored: the reply and the log name them. */
export function noteIgnored(c: Context<Env>, service: Service, names: readonly string[]): void {
  if (names.length === 0) return;
  const record = c.get("record");
  record.ignoredFields = [...record.ignoredFields, ...names];
  service.noteIgnored(names);
}

/** Characters of a body whose numbers are kept: keeping them takes ten times as long as parsing. */
const MAX_EXACT_LENGTH = 1024 * 1024;

/** A seed of 64 bits as it was written, of the body or of the object in its field `inside`. */
function keepSeed(given: Record<string, unknown>, text: string, inside?: string): void {
  if (typeof given.seed !== "number" || Number.isSafeInteger(given.seed)) return;
  given.seed = exactInteger(text, "seed", inside) ?? given.seed;
}

/** Puts the numbers of what a chat template prints back as they were written: 1.0, and integers of any size. */
function keepNumbers(given: Record<string, unknown>, text: string): void {
  const exact = parseJson(text) as Record<string, unknown>;
  for (const key of ["messages", "tools", "documents", "chat_template_kwargs"]) {
    if (Object.hasOwn(exact, key)) given[key] = exact[key];
  }
}

/** Lets other requests be served. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function checkHeaders(c: Context<Env>): void {
  const encoding = c.req.header("content-encoding") ?? "identity";
  if (encoding.trim().toLowerCase() !== "identity") {
    const message = `Content-Encoding '${encoding}' is not supported: send the body uncompressed`;
    throw new HttpError(415, message, "unsupported_media_type", { "accept-encoding": "identity" });
  }
  const type = c.req.header("content-type") ?? "";
  // Demanding JSON also keeps web pages of other origins from sending requests without a preflight.
  if (/^application\/([\w.-]+\+)?json\s*(;|$)/i.test(type)) return;
  const found = type === "" ? "no Content-Type" : `Content-Type '${type}'`;
  throw new FastgenError("invalid_request", `${found}: send the body with 'Content-Type: application/json'`);
}

/** The whole body, its JSON scanned as it arrives. */
async function readBytes(c: Context<Env>, limit: number): Promise<Uint8Array> {
  const record = c.get("record");
  const declared = c.req.header("content-length");
  if (Number(declared ?? 0) > limit) throw tooLarge(limit, Number(declared));
  const scan = new JsonScan();
  const pieces: Uint8Array[] = [];
  let total = 0;
  const reader = c.req.raw.body?.getReader();
  while (reader) {
    const { done, value } = await record.bodyPiece(reader.read());
    if (done) break;
    total += value.byteLength;
    if (total > limit) throw tooLarge(limit, null);
    record.holdBody(total);
    scan.push(value);
    pieces.push(value);
  }
  return pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces, total);
}

/** `declared` is the body's length where the request says it. */
function tooLarge(limit: number, declared: number | null): HttpError {
  const message = `the body is larger than the ${limit} bytes that the server takes (--max-body-bytes); send less at a time`;
  // What is left of a body is received and dropped, so that the client gets to read this; unless that is too much.
  const close = declared === null || declared > 4 * limit;
  return new HttpError(413, message, "request_too_large", close ? { connection: "close" } : {});
}

function decode(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new FastgenError("invalid_request", "the body is not valid UTF-8; encode it as UTF-8");
  }
}

function parseObject(text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new FastgenError("invalid_request", `the body is not valid JSON: ${why}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new FastgenError("invalid_request", "the body must be a JSON object");
  }
  return value as Record<string, unknown>;
}
