/** A zod schema's verdict as a FastgenError that names the field, in the caller's spelling. */
import type { z } from "zod";
import { FastgenError } from "./errors.ts";

/** ["messages", 0, "content"] becomes "messages[0].content". */
function fieldName(path: readonly PropertyKey[]): string {
  let name = "";
  for (const key of path) name += typeof key === "number" ? `[${key}]` : name ? `.${String(key)}` : String(key);
  return name;
}

/** FastgenError "invalid_request" for the first issue of `error`. */
export function schemaError(error: z.ZodError): FastgenError {
  const issue = error.issues[0];
  if (!issue) return new FastgenError("invalid_request", "the request does not fit the schema");
  if (issue.code === "unrecognized_keys") {
    const param = fieldName([...issue.path, issue.keys[0] ?? ""]);
    return new FastgenError("invalid_request", `${param}: unknown or unsupported field; leave it out`, { param });
  }
  const param = fieldName(issue.path) || null;
  return new FastgenError("invalid_request", param ? `${param}: ${issue.message}` : issue.message, { param });
}
