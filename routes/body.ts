/** A request's body: bounded bytes, valid UTF-8, a JSON object, and what a schema makes of it. */
import type { Context } from "hono";
import { HTTPException } from "hono/http-exception";
import type { z } from "zod";
import { FastgenError } from "../src/errors.ts";
import { parseJson } from "../src/index.ts";
import { schemaError } from "../src/schema-error.ts";
import type { Env } from "./context.ts";
import { httpError } from "./errors.ts";
import type { Service } from "./service.ts";

/** A body as its schema sees it, and as it was sent. */
export interface Parsed<S extends z.ZodObject> {
  fields: z.output<S>;
  /** What the caller wrote, without the nulls: null means the default. */
  given: Record<string, unknown>;
}

/** Reads and checks a JSON body. Throws FastgenError "unavailable" or "invalid_request", or HTTPException 413. */
export async function readBody<S extends z.ZodObject>(
  c: Context<Env>,
  service: Service,
  schema: S,
): Promise<Parsed<S>> {
  // A body that nothing can answer is not read.
  service.requireModel();
  const text = decode(await readBytes(c, service.options.maxBodyBytes));
  const given = parseObject(text);
  if ("messages" in schema.shape && text.length <= MAX_EXACT_LENGTH) keepNumbers(given, text);
  c.get("record").bodyRead();
  for (const key of Object.keys(given)) if (given[key] === null && key in schema.shape) delete given[key];
  const result = schema.safeParse(given);
  if (!result.success) throw schemaError(result.error);
  return { fields: result.data, given };
}

/** Characters of a body whose numbers are kept: to keep them takes ten times as long as to parse. */
const MAX_EXACT_LENGTH = 1024 * 1024;

/** Puts the numbers of what a chat template prints back as they were written: 1.0, and integers of any size. */
function keepNumbers(given: Record<string, unknown>, text: string): void {
  const exact = parseJson(text) as Record<string, unknown>;
  for (const key of ["messages", "tools", "documents", "chat_template_kwargs"]) {
    if (Object.hasOwn(exact, key)) given[key] = exact[key];
  }
}

async function readBytes(c: Context<Env>, limit: number): Promise<Uint8Array> {
  const type = c.req.header("content-type") ?? "";
  // Demanding JSON also keeps web pages of other origins from sending requests without a preflight.
  if (!/^application\/([\w.-]+\+)?json\s*(;|$)/i.test(type)) {
    const found = type === "" ? "no Content-Type" : `Content-Type '${type}'`;
    throw new FastgenError("invalid_request", `${found}: send the body with 'Content-Type: application/json'`);
  }
  const declared = c.req.header("content-length");
  if (Number(declared ?? 0) > limit) throw tooLarge(limit);
  try {
    if (declared !== undefined) return new Uint8Array(await c.req.raw.arrayBuffer());
    const pieces: Uint8Array[] = [];
    let total = 0;
    for await (const piece of c.req.raw.body ?? []) {
      total += piece.byteLength;
      if (total > limit) throw tooLarge(limit);
      pieces.push(piece);
    }
    return Buffer.concat(pieces, total);
  } catch (error) {
    if (error instanceof HTTPException) throw error;
    throw new FastgenError("aborted", "the connection closed before the body was complete", { cause: error });
  }
}

function tooLarge(limit: number): HTTPException {
  const message = `the body is larger than the ${limit} bytes that the server takes; send less at a time`;
  // The rest of the body is not worth reading.
  return new HTTPException(413, { res: httpError(413, message, "request_too_large", { connection: "close" }) });
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
