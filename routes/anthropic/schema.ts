/** The fields of POST /messages and /messages/count_tokens. blocks.ts has those of their messages. */
import { z } from "zod";
import { boundedArray, boundedRecord, isObject } from "../../src/bounded-json.ts";
import * as limits from "../../src/limits.ts";
import { samplingSchema } from "../../src/params.ts";
import { conversation } from "../conversation/messages.ts";
import { reasoningEffort } from "../conversation/thinking.ts";
import { toolName } from "../conversation/tool-name.ts";
import { message, textContent } from "./blocks.ts";

const flag = z.boolean().optional();

/** A tool of the client's. cache_control and the like ask for nothing. */
export const customTool = z.object({
  type: z.literal("custom").nullish(),
  name: toolName,
  description: z.string().nullish(),
  input_schema: z.custom<Record<string, unknown>>(isObject, "must be an object"),
  strict: z.boolean().nullish(),
});

export type CustomTool = z.output<typeof customTool>;

const jsonSchema = z.object({
  type: z.literal("json_schema"),
  schema: z.custom<Record<string, unknown>>(isObject, "must be an object"),
});

/** Fields of fields: what other-fields.ts says of unknown ones holds for these too. */
export const nestedFields = {
  thinking: {
    type: z.enum(["enabled", "disabled", "adaptive", "between_tools"]),
    budget_tokens: z.int().min(1).optional(),
    /** omitted = the reply leaves the thinking out. It is never summarised. */
    display: z.enum(["summarized", "omitted"]).optional(),
  },
  output_config: { effort: reasoningEffort, format: jsonSchema.optional() },
  tool_choice: {
    type: z.enum(["auto", "any", "tool", "none"]),
    name: z.string().optional(),
    disable_parallel_tool_use: flag,
  },
};

const sampling = samplingSchema.omit({
  n: true,
  stop: true,
  max_tokens: true,
  logprobs: true,
  logprobs_mode: true,
  logprob_token_ids: true,
  prompt_logprobs: true,
}).shape;

export const messageSchema = z.strictObject({
  ...sampling,
  /** Any name is accepted; the reply names the served model. */
  model: z.string().optional(),
  messages: boundedArray(message, limits.MAX_MESSAGES, 1),
  system: textContent.optional(),
  /** 0 = only compute the prompt. */
  max_tokens: z.int().min(0),
  stop_sequences: samplingSchema.shape.stop,
  stream: flag,
  thinking: z.strictObject(nestedFields.thinking).optional(),
  output_config: z.strictObject(nestedFields.output_config).optional(),
  /** The older name of output_config.format. */
  output_format: jsonSchema.optional(),
  tools: boundedArray(z.looseObject({}), limits.MAX_CONTENT_PARTS).optional(),
  tool_choice: z.strictObject(nestedFields.tool_choice).optional(),
  chat_template_kwargs: conversation.chat_template_kwargs,
  enable_thinking: conversation.enable_thinking,
  return_rollout: flag,
  cache_salt: z.string().min(1).max(limits.MAX_CACHE_SALT_LENGTH).optional(),
  priority: z.int().optional(),
  /** About the request; no effect on the answer. */
  metadata: boundedRecord(z.string(), z.unknown(), limits.MAX_METADATA_ENTRIES).optional(),
});

/** Counting takes every field of a message that is sent. */
export const countSchema = messageSchema.extend({ max_tokens: z.int().min(0).optional() });

export type MessageFields = z.output<typeof countSchema>;
