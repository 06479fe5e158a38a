/** The tools of a request to chat, and which of them the answer may, must or must not call. */
import { z } from "zod";
import type { FunctionTool, ToolChoice } from "../../src/answer/parts.ts";
import { boundedArray, isObject, passOn } from "../../src/bounded-json.ts";
import { FastgenError } from "../../src/errors.ts";
import * as limits from "../../src/limits.ts";
import { parseWith } from "../../src/schema-error.ts";
import { asFunction, customFields } from "./custom-tools.ts";
import { toolName } from "./tool-name.ts";

const tool = z.looseObject({
  type: z.literal("function", 'must be "function" or "custom": only the client\'s own tools can be called').optional(),
  function: z.looseObject({
    name: toolName,
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

/** The form of /responses, which some programs send to every route, in that of chat. */
function nested(given: Record<string, unknown>): Record<string, unknown> {
  if ("function" in given || "custom" in given || typeof given.name !== "string") return given;
  const { type, ...called } = given;
  if (type === "custom") return { type, custom: called };
  return { ...(type !== undefined && { type }), function: called };
}

const customTool = z.looseObject({ custom: customFields }).transform(({ custom }) => asFunction(custom));

/** Checked, and handed on as it was given: a template prints it, with its keys in their order. */
const checkedTool = z.custom<Record<string, unknown>>(isObject, "must be an object").transform((given, context) => {
  const inner = nested(given);
  const parsed = parseWith(given.type === "custom" ? customTool : tool, inner);
  if (!parsed.success) return passOn(context, given, parsed.error);
  return (given.type === "custom" ? parsed.data : inner) as FunctionTool;
});

/** The names of a body's custom tools; `tools` are checked, and as they were given. */
export function customNames(tools: unknown): ReadonlySet<string> {
  const all = Array.isArray(tools) ? tools : [];
  return new Set(all.filter(({ type }) => type === "custom").map((given) => (given.custom ?? given).name));
}

/** "any" is Mistral's and Anthropic's word for "required". */
const WORDS = ["none", "auto", "required", "any"] as const;
const word = z.enum(WORDS).transform((choice) => (choice === "any" ? "required" : choice));

const name = z.string().min(1);
/** A tool by its name: chat's form, that of /responses, or Anthropic's. */
const named = z.union([
  z
    .looseObject({ type: z.literal("function").optional(), function: z.looseObject({ name }) })
    .transform((choice) => ({ name: choice.function.name })),
  z
    .looseObject({ type: z.literal("custom"), custom: z.looseObject({ name }) })
    .transform((choice) => ({ name: choice.custom.name })),
  z.looseObject({ type: z.enum(["function", "custom", "tool"]), name }).transform((choice) => ({ name: choice.name })),
]);

/** Some of the tools, which may or must be called. */
const some = z
  .looseObject({ mode: z.enum(["auto", "required"]), tools: boundedArray(named, limits.MAX_CONTENT_PARTS) })
  .transform(({ mode, tools }) => ({ mode, allowed: tools.map((tool) => tool.name) }));

/** In chat's form, or in that of /responses. */
const someOfThem = z.looseObject({ type: z.literal("allowed_tools") }).transform((choice, context) => {
  const given = choice.allowed_tools ?? choice;
  const parsed = parseWith(some, given);
  return parsed.success ? parsed.data : passOn(context, given, parsed.error);
});

const byType = z.strictObject({ type: word }).transform(({ type }) => type);

export const toolFields = {
  tools: boundedArray(checkedTool, limits.MAX_CONTENT_PARTS).optional(),
  tool_choice: z
    .union(
      [word, named, byType, someOfThem],
      'must be "none", "auto", "required", {"type": "function", "function": {"name": ...}}, or {"type": "allowed_tools", "allowed_tools": {"mode": ..., "tools": ...}} of functions',
    )
    .optional(),
  parallel_tool_calls: z.boolean().optional(),
};

/** A request's choice before allowedTools(). */
export type GivenChoice = z.output<typeof toolFields.tool_choice>;

/**
 * The tools that may be called, and how: with allowed_tools some of them, as if the request had brought no others.
 * @throws FastgenError "invalid_request": the choice allows what is none of the tools.
 */
export function allowedTools<T>(tools: readonly T[], choice: GivenChoice, nameOf: (tool: T) => string) {
  if (typeof choice !== "object" || "name" in choice) return { tools: [...tools], choice };
  const wanted = new Set(choice.allowed);
  const allowed = tools.filter((tool) => wanted.delete(nameOf(tool)));
  const [wrong] = wanted;
  if (wrong === undefined) return { tools: allowed, choice: choice.mode };
  const message = `tool_choice allows '${wrong}', which is none of tools`;
  throw new FastgenError("invalid_request", message, { param: "tool_choice" });
}

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
