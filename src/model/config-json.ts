/** A model's JSON files as Python reads and writes them, and their faults in the user's words. */
import type { z } from "zod";
import { FastgenError } from "../errors.ts";

/** Characters of a message that a file's own values fill: they may be of any length. */
const MAX_MESSAGE = 400;

/** FastgenError "model" of bounded length. */
export function modelError(text: string): FastgenError {
  return new FastgenError("model", text.length <= MAX_MESSAGE ? text : `${text.slice(0, MAX_MESSAGE)}...`);
}

/** The same about a part of a file. */
export function fileError(file: string, problem: string): FastgenError {
  return modelError(`${file}: ${problem}`);
}

/** Strings, which stay as they are, and the numbers of Python that JSON lacks. */
const PYTHON_NUMBERS = /"(?:[^"\\]|\\.)*"|(?<![\w.+-])(?:NaN|-?Infinity)(?!\w)/gs;

/** A number that JSON.parse reads as Infinity, told from others by how it is written. */
const NAN_SOURCE = "1e99999";
const IN_JSON: Record<string, string> = { NaN: NAN_SOURCE, Infinity: "1e9999", "-Infinity": "-1e9999" };

function parsePythonJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const json = text.replace(PYTHON_NUMBERS, (match) => IN_JSON[match] ?? match);
    if (json === text) throw error;
    return JSON.parse(json, ((_key: string, value: unknown, context?: { source?: string }) =>
      context?.source === NAN_SOURCE ? Number.NaN : value) as (key: string, value: unknown) => unknown);
  }
}

/**
 * The object in a JSON file of a model, as Python's json reads it: NaN and Infinity are numbers.
 * @throws FastgenError "model" naming `file`.
 */
export function parseConfigJson(file: string, text: string): Record<string, unknown> {
  let json: unknown;
  try {
    json = parsePythonJson(text);
  } catch (error) {
    const problem = notJson(text) ?? `is not valid JSON (${(error as Error).message}): correct or replace it`;
    throw modelError(`${file} ${problem}`);
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw modelError(`${file} is not an object: correct or replace it`);
  }
  return json as Record<string, unknown>;
}

/** What a file with this beginning is instead, and the cure; null when it may be what its name says. */
function notJson(text: string): string | null {
  if (text.trim() === "") return "is empty, so it is not valid JSON: replace it with the model's own";
  if (/^\s*<(!doctype|html)/i.test(text)) {
    return "is a web page: replace it with the file itself, which the hub serves at .../resolve/main/...";
  }
  return null;
}

/** How the pointer begins that git leaves in place of a large file, and what to say of it. */
export const LFS_POINTER_START = "version https://git-lfs.github.com/spec/";
export const LFS_POINTER =
  "is a pointer of git LFS, not the file itself: run `git lfs pull` in the folder that was cloned";

/**
 * The keys of `json` that `schema` names; others may hold anything.
 * @param within the object's place in the file, as in "rope_scaling."
 * @throws FastgenError "model" naming `file` and the key.
 */
export function readKeys<T extends z.ZodType>(file: string, json: object, schema: T, within = ""): z.output<T> {
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  const value = issue.path.reduce<unknown>((at, part) => (at as Record<PropertyKey, unknown>)?.[part], json);
  const key = `${within}${issue.path.join(".")}`;
  if (value === undefined) throw fileError(file, `${key} is missing`);
  if (typeof value === "number" && !Number.isFinite(value)) {
    throw fileError(file, `${key} is ${value}; it must be a finite number`);
  }
  throw fileError(file, `${key} is ${JSON.stringify(value)}: ${issue.message}`);
}
