/** A line of a batch's input, as OpenAI's batches have it: custom_id, method, url and body. */
import { z } from "zod";
import { isObject } from "../../src/bounded-json.ts";
import { FastgenError } from "../../src/errors.ts";
import { MAX_CUSTOM_ID_LENGTH } from "../../src/limits.ts";
import { parseWith, schemaError } from "../../src/schema-error.ts";
import { fieldText } from "../body/json-field.ts";
import { JsonScan } from "../body/json-scan.ts";
import type { FileLine } from "./lines.ts";

/** What a request of a batch may be sent to. */
export const BATCH_URLS = [
  "/v1/chat/completions",
  "/v1/completions",
  "/v1/responses",
  "/v1/messages",
  "/inference/v1/generate",
  "/inference/v1/score",
] as const;

export type BatchUrl = (typeof BATCH_URLS)[number];

export interface BatchRequest {
  custom_id: string;
  url: BatchUrl;
  /** JSON, as it was written. */
  body: string;
  /** Sequences that it asks for: prompts times choices. */
  sequences: number;
}

const lineSchema = z.object({
  custom_id: z.string().min(1).max(MAX_CUSTOM_ID_LENGTH),
  method: z.literal("POST"),
  url: z.enum(BATCH_URLS),
  body: z.custom<Record<string, unknown>>(isObject, {
    error: ({ input }) => (input === undefined ? "is required" : "must be an object"),
  }),
});

/** Spaces and the like: such a line asks for nothing. */
export function isBlank({ bytes, length }: FileLine): boolean {
  return length === bytes.length && bytes.every((byte) => byte === 0x20 || byte === 0x09 || byte === 0x0d);
}

/**
 * The request of a line.
 * @param endpoint the one url that it may have; null = any of BATCH_URLS
 * @throws FastgenError "invalid_request" with OpenAI's code for what is wrong with the line
 */
export function parseRequestLine(line: FileLine, endpoint: BatchUrl | null): BatchRequest {
  if (line.length > line.bytes.byteLength) {
    throw fault("line_too_long", `has ${line.length} bytes; ${line.bytes.byteLength} are allowed (--max-body-bytes)`);
  }
  new JsonScan().push(line.bytes);
  const text = decode(line.bytes);
  const result = parseWith(lineSchema, parseJsonLine(text));
  if (!result.success) {
    const { message, param } = schemaError(result.error);
    const code = message.endsWith(" is required") ? "missing_required_parameter" : "invalid_value";
    throw new FastgenError("invalid_request", message, { param, code: param === "url" ? "invalid_url" : code });
  }
  const { custom_id, url, body } = result.data;
  if (endpoint !== null && url !== endpoint) {
    throw fault("invalid_url", `url must be the batch's endpoint ${endpoint}, not ${url}`, "url");
  }
  if (body.stream === true) {
    throw fault("invalid_value", "body.stream must not be true: an answer of a batch is one line", "body.stream");
  }
  return { custom_id, url, body: fieldText(text, "body")!, sequences: sequencesOf(body) };
}

function fault(code: string, message: string, param: string | null = null): FastgenError {
  return new FastgenError("invalid_request", message, { code, param });
}

function decode(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw fault("invalid_json_line", "is not valid UTF-8");
  }
}

function parseJsonLine(text: string): unknown {
  try {
    const value: unknown = JSON.parse(text);
    if (isObject(value)) return value;
  } catch (error) {
    throw fault("invalid_json_line", `is not valid JSON: ${error instanceof Error ? error.message : error}`);
  }
  throw fault("invalid_json_line", "must be a JSON object");
}

/** An estimate: whether the fields are right is found out when the request is made. */
function sequencesOf({ n, prompt, sequences, sampling_params }: Record<string, unknown>): number {
  const wanted = isObject(sampling_params) ? sampling_params.n : n;
  const choices = Number.isInteger(wanted) ? Math.max(wanted as number, 1) : 1;
  const prompts = sequences ?? prompt;
  const several = Array.isArray(prompts) && typeof prompts[0] !== "number";
  return choices * (several ? Math.max(prompts.length, 1) : 1);
}
