/** OpenAI's older form of tools, in which an answer has one call at most: `functions`, `function_call`, and the role "function". */
import { z } from "zod";
import { boundedArray, isObject } from "../../src/bounded-json.ts";
import { FastgenError } from "../../src/errors.ts";
import * as limits from "../../src/limits.ts";
import { parseWith, schemaError } from "../../src/schema-error.ts";
import { type GivenChoice, toolFields } from "./tools.ts";

export const oldFunctionFields = {
  functions: boundedArray(
    z.custom<Record<string, unknown>>(isObject, "must be an object"),
    limits.MAX_CONTENT_PARTS,
  ).optional(),
  function_call: z
    .union(
      [z.enum(["none", "auto"]), z.looseObject({ name: z.string().min(1) })],
      'must be "none", "auto" or {"name": ...}',
    )
    .optional(),
};

type Tools = z.output<typeof toolFields.tools>;

interface Fields {
  tools?: Tools;
  tool_choice?: GivenChoice;
  functions?: Record<string, unknown>[];
  function_call?: "none" | "auto" | { name: string };
}

/** Whether a request has the older form. */
export function isOldForm({ functions }: Pick<Fields, "functions">): boolean {
  return functions !== undefined && functions.length > 0;
}

/**
 * Tools and choice of a request in either form.
 * @throws FastgenError "invalid_request": a function is wrong, there are both forms, or a function is called that is not there.
 */
export function toolsOf(fields: Fields): { tools: NonNullable<Tools>; choice: GivenChoice } {
  const { tools = [], tool_choice, functions = [], function_call } = fields;
  const refuse = (param: string, message: string) =>
    new FastgenError("invalid_request", `${param} ${message}`, { param });
  if (!isOldForm(fields)) {
    if (typeof function_call === "object") throw refuse("function_call", "needs functions");
    return { tools, choice: tool_choice };
  }
  for (const field of ["tools", "tool_choice"] as const) {
    if (fields[field] !== undefined) throw refuse("functions", `does not go with ${field}: send tools alone`);
  }
  const parsed = parseWith(
    toolFields.tools,
    functions.map((called) => ({ type: "function", function: called })),
  );
  if (!parsed.success) throw inOldWords(schemaError(parsed.error, ["tools"]));
  return {
    tools: parsed.data ?? [],
    choice: typeof function_call === "object" ? { name: function_call.name } : function_call,
  };
}

/** An error about tools in the words of the older form. */
export function inOldWords(error: unknown): unknown {
  if (!(error instanceof FastgenError) || !error.param) return error;
  const param = error.param
    .replace(/^tools(\[\d+\])\.function/, "functions$1")
    .replace(/^tool_choice/, "function_call");
  const message = error.message.replaceAll(error.param, param).replace(/\btools$/, "functions");
  return new FastgenError(error.kind, message, { param, code: error.code });
}

/** The id of a call that has none: each message has one call, and names its function. */
const idOf = (name: unknown) => `call_${name}`;

/** A message of the older form as templates know it. */
export function inNewForm(message: Record<string, unknown>): Record<string, unknown> {
  const { function_call: call, ...others } = message;
  if (message.role === "assistant" && isObject(call) && !message.tool_calls) {
    return { ...others, tool_calls: [{ id: idOf(call.name), type: "function", function: call }] };
  }
  if (message.role !== "function" || typeof message.name !== "string") return message;
  return { ...message, role: "tool", tool_call_id: idOf(message.name) };
}
