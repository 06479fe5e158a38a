/** Items: what the input of POST /responses consists of, and what its output does. */
import { z } from "zod";
import { boundedArray, isObject, passOn } from "../../src/bounded-json.ts";
import * as limits from "../../src/limits.ts";
import { parseWith } from "../../src/schema-error.ts";

/** Kinds of parts that are text, and the field that has it. */
const TEXT_FIELDS: Record<string, string> = {
  input_text: "text",
  output_text: "text",
  text: "text",
  refusal: "refusal",
  summary_text: "text",
  reasoning_text: "text",
};

/** A part as its text. */
const textPart = z.custom<Record<string, unknown>>(isObject, "must be an object").transform((part, context): string => {
  // A part without a type is a text, as in chat.
  const kind = part.type ?? "text";
  const field = typeof kind === "string" && Object.hasOwn(TEXT_FIELDS, kind) ? TEXT_FIELDS[kind]! : null;
  const text = field === null ? undefined : part[field];
  if (typeof text === "string") return text;
  const message =
    field === null
      ? `of type ${JSON.stringify(kind).slice(0, 40)} is not supported: send input_text or output_text`
      : `must have its text in '${field}'`;
  context.issues.push({ code: "custom", message, path: [], input: part });
  return z.NEVER;
});

const textParts = boundedArray(textPart, limits.MAX_CONTENT_PARTS);

/** A text, or text parts: their texts. */
const texts = z
  .custom<string | unknown[]>((value) => typeof value === "string" || Array.isArray(value), {
    error: ({ input }) => (input === undefined ? "is required" : "must be a string or an array of text parts"),
  })
  .transform((value, context): string[] => {
    if (typeof value === "string") return [value];
    const parsed = parseWith(textParts, value);
    return parsed.success ? parsed.data : passOn(context, value, parsed.error);
  });

/** What a client makes of an item's id is its own business; "" and null are none. */
const id = z.string().nullish();

const message = z
  .object({ id, role: z.enum(["user", "assistant", "system", "developer"]), content: texts })
  .transform((fields) => ({ type: "message" as const, ...fields }));

const call = z
  .object({ id, call_id: z.string(), name: z.string().min(1), namespace: z.string().nullish(), arguments: z.string() })
  .transform((fields) => ({ type: "function_call" as const, ...fields }));

const customCall = z
  .object({ id, call_id: z.string(), name: z.string().min(1), namespace: z.string().nullish(), input: z.string() })
  .transform((fields) => ({ type: "custom_tool_call" as const, ...fields }));

const output = z
  .object({ id, call_id: z.string(), output: texts })
  .transform((fields) => ({ type: "function_call_output" as const, ...fields }));

const customOutput = z
  .object({ id, call_id: z.string(), output: texts })
  .transform((fields) => ({ type: "custom_tool_call_output" as const, ...fields }));

const reasoning = z
  .object({ id, summary: textParts.nullish(), content: textParts.nullish() })
  .transform((fields) => ({ type: "reasoning" as const, ...fields }));

const reference = z.object({ id: z.string() }).transform((fields) => ({ type: "item_reference" as const, ...fields }));

const ITEMS = {
  message,
  function_call: call,
  function_call_output: output,
  custom_tool_call: customCall,
  custom_tool_call_output: customOutput,
  reasoning,
  item_reference: reference,
};

export type Item =
  | z.output<typeof message>
  | z.output<typeof call>
  | z.output<typeof output>
  | z.output<typeof customCall>
  | z.output<typeof customOutput>
  | z.output<typeof reasoning>;

export type InputItem = Item | z.output<typeof reference>;

/** Messages and references may leave their type out. */
function kindOf(item: Record<string, unknown>): string {
  if (typeof item.type === "string") return item.type;
  return "role" in item ? "message" : "item_reference";
}

const item = z.custom<Record<string, unknown>>(isObject, "must be an object").transform((given, context): InputItem => {
  const kind = kindOf(given);
  if (!Object.hasOwn(ITEMS, kind)) {
    const message = `of type ${JSON.stringify(kind)} is not supported: ${Object.keys(ITEMS).join(", ")} are`;
    context.issues.push({ code: "custom", message, path: [], input: given });
    return z.NEVER;
  }
  const parsed = parseWith(ITEMS[kind as keyof typeof ITEMS] as z.ZodType<InputItem>, given);
  return parsed.success ? parsed.data : passOn(context, given, parsed.error);
});

const items = boundedArray(item, limits.MAX_MESSAGES);

/** A text is a message of the user. */
export const inputSchema = z
  .custom<string | unknown[]>(
    (value) => typeof value === "string" || Array.isArray(value),
    "must be a string or an array of items",
  )
  .transform((value, context): InputItem[] => {
    if (typeof value === "string") return [{ type: "message", role: "user", content: [value] }];
    const parsed = parseWith(items, value);
    return parsed.success ? parsed.data : passOn(context, value, parsed.error);
  });
