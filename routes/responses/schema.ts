/** The fields of POST /responses. items.ts has those of its input. */
import { z } from "zod";
import { boundedArray, boundedRecord, isObject } from "../../src/bounded-json.ts";
import * as limits from "../../src/limits.ts";
import { samplingSchema } from "../../src/params.ts";
import { streamOptions } from "../body/schemas.ts";
import { asFunction, customFields } from "../conversation/custom-tools.ts";
import { conversation } from "../conversation/messages.ts";
import { reasoningEffort } from "../conversation/thinking.ts";
import { toolName } from "../conversation/tool-name.ts";
import { toolFields } from "../conversation/tools.ts";
import { inputSchema } from "./items.ts";

const flag = z.boolean().optional();
const hint = z.string().optional();
const summary = z.enum(["auto", "concise", "detailed"]).optional();

/** What the reply may bring beside its text. The others are about tools that the server does not have. */
const INCLUDABLE = [
  "message.output_text.logprobs",
  "reasoning.encrypted_content",
  "file_search_call.results",
  "web_search_call.results",
  "web_search_call.action.sources",
  "message.input_image.image_url",
  "computer_call_output.output.image_url",
  "code_interpreter_call.outputs",
] as const;

export const functionTool = z.object({
  type: z.literal("function"),
  name: toolName,
  description: z.string().nullish(),
  parameters: z.custom<Record<string, unknown>>(isObject, "must be an object").nullish(),
  strict: z.boolean().nullish(),
});

export type FunctionTool = z.output<typeof functionTool>;

/** A custom tool as the function that it is to the model. */
export const customTool = customFields.transform((fields): FunctionTool => {
  const { type, function: called } = asFunction(fields);
  return { type, ...called, parameters: called.parameters as Record<string, unknown> };
});

const anyTool = z.looseObject({ type: z.string() });

/** Tools under one name. */
export const namespaceTool = z.object({
  name: toolName,
  tools: boundedArray(anyTool, limits.MAX_CONTENT_PARTS),
});

const format = z.discriminatedUnion(
  "type",
  [
    z.object({ type: z.literal("text") }),
    z.object({ type: z.literal("json_object") }),
    z.object({
      type: z.literal("json_schema"),
      name: z.string().min(1).max(limits.MAX_TOOL_NAME_LENGTH),
      schema: z.custom<Record<string, unknown>>(isObject, "must be an object"),
      description: z.string().nullish(),
      strict: z.boolean().nullish(),
    }),
  ],
  'must have the type "text", "json_object" or "json_schema"',
);

export type TextFormat = z.output<typeof format>;

/** Fields of fields: what other-fields.ts says of unknown ones holds for these too. */
export const nestedFields = {
  reasoning: {
    effort: reasoningEffort,
    /** The reasoning stands in the place of a summary. */
    summary,
    /** The older name of summary. */
    generate_summary: summary,
    context: z.literal("auto").optional(),
    mode: z.literal("standard").optional(),
  },
  text: { format: format.optional(), verbosity: conversation.verbosity },
};

const sampling = samplingSchema.omit({
  n: true,
  max_tokens: true,
  logprobs: true,
  logprob_token_ids: true,
  prompt_logprobs: true,
}).shape;

export const responseSchema = z.strictObject({
  ...sampling,
  /** Any name is accepted; the reply names the served model. */
  model: hint,
  input: inputSchema.optional(),
  instructions: hint,
  previous_response_id: hint,
  store: flag,
  stream: flag,
  stream_options: z.strictObject(streamOptions).optional(),
  max_output_tokens: z.int().min(1).optional(),
  /** Bounds calls of built-in tools, of which there are none. */
  max_tool_calls: z.int().min(1).optional(),
  top_logprobs: z.int().min(0).max(limits.MAX_LOGPROBS).optional(),
  include: boundedArray(z.enum(INCLUDABLE), INCLUDABLE.length).optional(),
  tools: boundedArray(anyTool, limits.MAX_CONTENT_PARTS).optional(),
  tool_choice: toolFields.tool_choice,
  parallel_tool_calls: flag,
  reasoning: z.strictObject(nestedFields.reasoning).optional(),
  text: z.strictObject(nestedFields.text).optional(),
  chat_template_kwargs: conversation.chat_template_kwargs,
  enable_thinking: conversation.enable_thinking,
  truncation: z.enum(["auto", "disabled"]).optional(),
  return_rollout: flag,
  cache_salt: z.string().min(1).max(limits.MAX_CACHE_SALT_LENGTH).optional(),
  priority: z.int().optional(),
  /** These four come back with the response. */
  metadata: boundedRecord(z.string(), z.unknown(), limits.MAX_METADATA_ENTRIES).optional(),
  user: hint,
  safety_identifier: hint,
  prompt_cache_key: hint,
});

export type ResponseFields = z.output<typeof responseSchema>;
