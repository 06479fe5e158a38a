/** Content blocks of a message: what they are, and what they must have. */
import { z } from "zod";
import { boundedArray, isObject, passOn } from "../../src/bounded-json.ts";
import * as limits from "../../src/limits.ts";
import { parseWith } from "../../src/schema-error.ts";
import { document, searchResult, text, toolReference } from "./documents.ts";

const toolUse = z.object({
  type: z.literal("tool_use"),
  id: z.string(),
  name: z.string().min(1),
  input: z
    .custom<Record<string, unknown> | null>((value) => value == null || isObject(value), "must be an object")
    .transform((input) => input ?? {}),
});

const thinking = z.object({ type: z.literal("thinking"), thinking: z.string() });

/** What it says cannot be read here. */
const redacted = z.object({ type: z.literal("redacted_thinking") });

/** A text, or blocks of these kinds: their texts. */
function textsOf(kinds: Record<string, z.ZodType<z.output<typeof text>>>) {
  return z
    .custom<string | unknown[]>(
      (value) => typeof value === "string" || Array.isArray(value),
      "must be a string or an array of content blocks",
    )
    .transform((value, context): string[] => {
      if (typeof value === "string") return [value];
      const parsed = parseWith(boundedArray(blockOf(kinds), limits.MAX_CONTENT_PARTS), value);
      return parsed.success ? parsed.data.map((block) => block.text) : passOn(context, value, parsed.error);
    });
}

export const textContent = textsOf({ text });

const readable = { text, document, search_result: searchResult };

const toolResult = z.object({
  type: z.literal("tool_result"),
  tool_use_id: z.string(),
  content: textsOf({ ...readable, tool_reference: toolReference }).nullish(),
  is_error: z.boolean().nullish(),
});

/** One of these blocks, by its type. */
function blockOf<B>(kinds: Record<string, z.ZodType<B>>) {
  return z.custom<Record<string, unknown>>(isObject, "must be an object").transform((given, context): B => {
    const { type } = given;
    const schema = typeof type === "string" && Object.hasOwn(kinds, type) ? kinds[type] : undefined;
    if (!schema) {
      const what = typeof type === "string" ? `of type ${JSON.stringify(type)} is not supported here` : "needs a type";
      const message = `${what}: ${Object.keys(kinds).join(", ")} may be`;
      context.issues.push({ code: "custom", message, path: [], input: given });
      return z.NEVER;
    }
    const parsed = parseWith(schema, given);
    return parsed.success ? parsed.data : passOn(context, given, parsed.error);
  });
}

const kinds = { ...readable, tool_use: toolUse, tool_result: toolResult, thinking, redacted_thinking: redacted };

export type ContentBlock = z.output<(typeof kinds)[keyof typeof kinds]>;

const blocks = boundedArray(blockOf<ContentBlock>(kinds), limits.MAX_CONTENT_PARTS);

const content = z
  .custom<string | unknown[]>((value) => typeof value === "string" || Array.isArray(value), {
    error: ({ input }) => (input === undefined ? "is required" : "must be a string or an array of content blocks"),
  })
  .transform((value, context): ContentBlock[] => {
    if (typeof value === "string") return [{ type: "text", text: value }];
    const parsed = parseWith(blocks, value);
    return parsed.success ? parsed.data : passOn(context, value, parsed.error);
  });

export const message = z.object({ role: z.enum(["user", "assistant", "system"]), content });

export type AnthropicMessage = z.output<typeof message>;
