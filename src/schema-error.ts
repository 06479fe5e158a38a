/** What a schema finds wrong, in sentences about the caller's field, and as a FastgenError that names it. */
import type { z } from "zod";
import { FastgenError } from "./errors.ts";

/** Characters of a value that an error quotes. */
const MAX_QUOTED = 40;

const TYPES: Record<string, string> = {
  int: "a whole number",
  number: "a number",
  string: "a string",
  boolean: "true or false",
  array: "an array",
  object: "an object",
  record: "an object",
};

/** ["messages", 0, "content"] becomes "messages[0].content". */
export function fieldName(path: readonly PropertyKey[]): string {
  let name = "";
  for (const key of path) name += typeof key === "number" ? `[${key}]` : name ? `.${String(key)}` : String(key);
  return name;
}

/** ", not 3": the value where it is short. */
function butFound(value: unknown): string {
  if (typeof value !== "number" && typeof value !== "string" && typeof value !== "boolean") return "";
  // JSON.parse reads 1e400 as infinity, which JSON writes as null.
  if (typeof value === "number" && !Number.isFinite(value)) return ", not one beyond 1.8e308";
  const text = JSON.stringify(value);
  return text.length <= MAX_QUOTED ? `, not ${text}` : "";
}

/** What stands after the field's name, in place of zod's own words: "must be a string, not 3". */
function predicate(issue: z.core.$ZodRawIssue): string {
  const { code, input } = issue;
  if (code === "invalid_type") {
    if (input === undefined) return "is required";
    return `must be ${TYPES[issue.expected] ?? issue.expected}${butFound(input)}`;
  }
  if (code === "too_small" || code === "too_big") {
    const [bound, within, beyond] =
      code === "too_small" ? [issue.minimum, "at least", "above"] : [issue.maximum, "at most", "below"];
    if (input === "") return "must not be empty";
    if (typeof input === "string") return `must have ${within} ${bound} characters; it has ${input.length}`;
    return `must be ${issue.inclusive === false ? beyond : within} ${bound}${butFound(input)}`;
  }
  if (code === "invalid_value") {
    return `must be ${issue.values.map((value) => JSON.stringify(value)).join(" or ")}${butFound(input)}`;
  }
  return "has a value that is not allowed";
}

/** safeParse, with messages in our own words. Messages that the schema itself has come first. */
export function parseWith<S extends z.ZodType>(schema: S, value: unknown): z.ZodSafeParseResult<z.output<S>> {
  return schema.safeParse(value, { error: predicate });
}

/** FastgenError "invalid_request" for the first issue of `error`. `at`: where in the request the checked value stands. */
export function schemaError(error: z.ZodError, at: readonly PropertyKey[] = []): FastgenError {
  const issue = error.issues[0];
  if (!issue) return new FastgenError("invalid_request", "the request does not fit the schema");
  if (issue.code === "unrecognized_keys") {
    const param = fieldName([...at, ...issue.path, issue.keys[0] ?? ""]);
    return new FastgenError("invalid_request", `${param} is an unknown or unsupported field; leave it out`, { param });
  }
  const param = fieldName([...at, ...issue.path]) || null;
  return new FastgenError("invalid_request", `${param ?? "the request"} ${issue.message}`, { param });
}
