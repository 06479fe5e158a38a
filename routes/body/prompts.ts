/** Token ids and prompts in a body. Checked by hand: a schema would spend a millisecond on every few thousand ids. */
import { FastgenError } from "../../src/errors.ts";
import { MAX_PROMPTS_PER_REQUEST } from "../../src/limits.ts";
import type { Prompt } from "../../src/types.ts";

function isIds(value: unknown): value is number[] {
  return (
    Array.isArray(value) && value.length > 0 && value.every((id) => Number.isInteger(id) && id >= 0 && id < 2 ** 31)
  );
}

function refuse(param: string, message: string): FastgenError {
  return new FastgenError("invalid_request", `${param} ${message}`, { param });
}

/** Token ids, at most `most`. */
export function tokenIds(value: unknown, param: string, most = Number.POSITIVE_INFINITY): number[] {
  if (Array.isArray(value) && value.length > most) {
    throw refuse(param, `has ${value.length} ids; at most ${most} are allowed`);
  }
  if (isIds(value)) return value;
  throw refuse(param, "must be a non-empty array of token ids");
}

/** The prompts of a completion: a string, strings, token ids, or arrays of them. */
export function promptList(prompt: unknown): Prompt[] {
  if (prompt === undefined) throw refuse("prompt", "is required");
  if (typeof prompt === "string") return [prompt];
  if (!Array.isArray(prompt)) {
    throw refuse("prompt", "must be a string, an array of strings, token ids, or an array of those");
  }
  if (prompt.length === 0) throw refuse("prompt", "must not be empty");
  if (typeof prompt[0] === "number") return [tokenIds(prompt, "prompt")];
  if (prompt.length > MAX_PROMPTS_PER_REQUEST) {
    throw refuse("prompt", `has ${prompt.length} prompts; at most ${MAX_PROMPTS_PER_REQUEST} are allowed; split it`);
  }
  return prompt.map((item, i) => {
    if (typeof item === "string" || isIds(item)) return item;
    throw refuse(`prompt[${i}]`, "must be a string or a non-empty array of token ids");
  });
}
