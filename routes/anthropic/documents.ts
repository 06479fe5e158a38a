/** Blocks that are more than a text, but can be read as one: documents of text, search results, names of tools. */
import { z } from "zod";
import { boundedArray, isObject, passOn } from "../../src/bounded-json.ts";
import * as limits from "../../src/limits.ts";
import { parseWith } from "../../src/schema-error.ts";

export const text = z.object({ type: z.literal("text"), text: z.string() });

/** What the block says, a line or paragraph each. */
function asText(...lines: (string | null | undefined)[]) {
  return { type: "text" as const, text: lines.filter((line) => line).join("\n") };
}

const texts = boundedArray(text, limits.MAX_CONTENT_PARTS).transform((blocks) => blocks.map((block) => block.text));

/** Nothing is cited here: whoever asks for it is told. */
const citations = z
  .object({ enabled: z.literal(false, "must be false: answers have no citations").nullish() })
  .nullish();

const sources: Record<string, z.ZodType<string[]>> = {
  text: z.object({ data: z.string() }).transform(({ data }) => [data]),
  content: z
    .object({ content: z.union([z.string().transform((one) => [one]), texts], "must be a string or text blocks") })
    .transform(({ content }) => content),
};

const source = z.custom<Record<string, unknown>>(isObject, "must be an object").transform((given, context) => {
  const { type } = given;
  const schema = typeof type === "string" && Object.hasOwn(sources, type) ? sources[type]! : null;
  if (!schema) {
    const found = typeof type === "string" ? `, not ${JSON.stringify(type)}` : "";
    const message = `must be "text" or "content"${found}: send the document's text`;
    context.issues.push({ code: "custom", message, path: ["type"], input: given });
    return z.NEVER;
  }
  const parsed = parseWith(schema, given);
  return parsed.success ? parsed.data : passOn(context, given, parsed.error);
});

export const document = z
  .object({ source, title: z.string().nullish(), context: z.string().nullish(), citations })
  .transform(({ title, context, source: body }) => asText(title, context, ...body));

export const searchResult = z
  .object({ source: z.string(), title: z.string(), content: texts, citations })
  .transform(({ source: from, title, content }) => asText(title, from, ...content));

/** A tool that a search has found: the model knows all tools of a request anyway. */
export const toolReference = z.object({ tool_name: z.string() }).transform(({ tool_name }) => asText(tool_name));
