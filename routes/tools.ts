/** The tools of a request to chat, and which of them the answer may, must or must not call. */
import { z } from "zod";
import type { FunctionTool, ToolChoice } from "../src/answer/parts.ts";
import { boundedArray, isObject, passOn } from "../src/bounded.ts";
import { FastgenError } from "../src/errors.ts";
import * as limits from "../src/limits.ts";
import { parseWith } from "../src/schema-error.ts";

const tool = z.looseObject({
  type: z.literal("function", 'must be "function": only the client\'s own functions can be called').optional(),
  function: z.looseObject({
    name: z.string().min(1).max(limits.MAX_TOOL_NAME_LENGTH),
    description: z.string().nullish(),
    parameters: z
      .custom<unknown>(
        (value) => value == null || typeof value === "boolean" || isObject(value),
        "must be a JSON schema",
      )
      .optional(),
    strict: z.boolean().nullish(),
  }),
});

/** Checked, and handed on as it was given: a template prints it, with its keys in their order. */
const checkedTool = z.custom<FunctionTool>(isObject, "must be an object").transform((given, context) => {
  const parsed = parseWith(tool, given);
  return parsed.success ? given : passOn(context, given, parsed.error);
});

const WORDS = ["none", "auto", "required"] as const;

const byName = z
  .looseObject({ type: z.literal("function"), function: z.looseObject({ name: z.string().min(1) }) })
  .transform((choice) => ({ name: choice.function.name }));

const byType = z.strictObject({ type: z.enum(WORDS) }).transform(({ type }) => type);

export const toolFields = {
  tools: boundedArray(checkedTool, limits.MAX_CONTENT_PARTS).optional(),
  tool_choice: z
    .union(
      [z.enum(WORDS), byName, byType],
      'must be "none", "auto", "required", or {"type": "function", "function": {"name": ...}}',
    )
    .optional(),
  parallel_tool_calls: z.boolean().optional(),
};

/** What a request without tools or without a choice asks for, as in OpenAI's API. */
export function toolChoice(tools: readonly unknown[] | undefined, choice: ToolChoice | undefined): ToolChoice {
  return choice ?? (tools?.length ? "auto" : "none");
}

/** Tools whose numbers are JavaScript's own: a body's are kept as they were written, for the template. */
export function plainTools(tools: readonly unknown[]): FunctionTool[] {
  return JSON.parse(JSON.stringify(tools, (_, value) => (typeof value === "bigint" ? Number(value) : value)));
}

/** @throws FastgenError "invalid_request": two tools of one name, or a choice that names none. */
export function checkTools(tools: readonly FunctionTool[], choice: ToolChoice): void {
  const refuse = (param: string, message: string) =>
    new FastgenError("invalid_request", `${param} ${message}`, { param });
  const names = new Set<string>();
  for (const [i, { function: called }] of tools.entries()) {
    if (names.has(called.name))
      throw refuse(`tools[${i}].function.name`, `'${called.name}' is another tool's name too`);
    names.add(called.name);
  }
  if (choice === "none" || choice === "auto") return;
  if (typeof choice === "object" && !names.has(choice.name)) {
    throw refuse("tool_choice", `names '${choice.name}', which is none of tools`);
  }
  if (tools.length === 0) throw refuse("tool_choice", "needs tools");
}
