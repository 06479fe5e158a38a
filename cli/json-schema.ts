/** fgchat --json-schema: the file, and whether its schema is supported. */
import { readFileSync } from "node:fs";
import { isObject } from "../src/bounded-json.ts";
import { asFastgenError, FastgenError } from "../src/errors.ts";
import { type StructuredOutputs, structuredRules } from "../src/structured-outputs.ts";
import { systemReason } from "../src/system/system-reason.ts";

/** @throws FastgenError "invalid_request": the file cannot be read, or holds no schema. */
export function readSchema(file: string): Record<string, unknown> {
  let schema: unknown;
  try {
    schema = JSON.parse(readFileSync(file, "utf8"));
  } catch (cause) {
    throw refused(file, systemReason(cause, file), cause);
  }
  if (!isObject(schema)) throw refused(file, "a JSON Schema must be an object");
  return schema;
}

/** @throws FastgenError "invalid_request" that names what in the schema is not supported. */
export function checkSchema(structured: StructuredOutputs, file: string): void {
  try {
    structuredRules(structured);
  } catch (cause) {
    throw refused(file, asFastgenError(cause).message.replace(/^structured_outputs\.json: /, ""), cause);
  }
}

function refused(file: string, why: string, cause?: unknown): FastgenError {
  return new FastgenError("invalid_request", `--json-schema ${file}: ${why}`, { param: "json-schema", cause });
}
