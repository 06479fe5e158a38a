/**
 * The fields of each request. The sampling fields are those of src/params.ts. other-fields.ts decides about the fields that
 * are not here.
 */
import { z } from "zod";
import { boundedRecord, isObject } from "../../src/bounded-json.ts";
import * as limits from "../../src/limits.ts";
import { samplingSchema } from "../../src/params.ts";
import { conversation } from "../conversation/messages.ts";
import { oldFunctionFields } from "../conversation/old-functions.ts";
import { reasoningFields } from "../conversation/thinking.ts";
import { toolFields } from "../conversation/tools.ts";
import { structuredFields } from "./structured.ts";

const flag = z.boolean().optional();
const hint = z.string().optional();

/** Obfuscation would pad the frames; it is left out. */
export const streamOptions = { include_usage: flag, continuous_usage_stats: flag, include_obfuscation: flag };

const truncation = {
  /** Only so many of the prompt's tokens are used; -1 = as many as fit. */
  truncate_prompt_tokens: z
    .int()
    .min(-1)
    .refine((count) => count !== 0, "must be above 0, or -1")
    .optional(),
  /** The side that is cut off. */
  truncation_side: z.enum(["left", "right"]).optional(),
};

/** What every request for tokens may ask of the server. */
const request = {
  /** Any name is accepted; the reply names the served model. */
  model: hint,
  /** Becomes part of the reply's id. */
  request_id: z.string().min(1).max(limits.MAX_REQUEST_ID_LENGTH).optional(),
  /** Keeps this prompt's cached pages to requests with the same salt. */
  cache_salt: z.string().min(1).max(limits.MAX_CACHE_SALT_LENGTH).optional(),
  /** Lower is sooner. */
  priority: z.int().optional(),
};

/** How an answer comes. */
const reply = {
  stream: flag,
  stream_options: z.strictObject(streamOptions).optional(),
  return_token_ids: flag,
  /** A record of each choice for trainers: rollout.ts. */
  return_rollout: flag,
};

/** What is asked of the server rather than the model; the same in chat and completions. */
const common = {
  ...request,
  ...reply,
  return_tokens_as_token_ids: flag,
  add_special_tokens: flag,
  echo: flag,
  ...truncation,
  ...structuredFields,
  /** OpenRouter's way to ask for a stream's usage. Other values ask for nothing. */
  usage: z
    .unknown()
    .transform((value) => isObject(value) && value.include === true)
    .optional(),
  /** About the request; no effect on the answer. */
  metadata: boundedRecord(z.string(), z.unknown(), limits.MAX_METADATA_ENTRIES).optional(),
};

const { logprobs: _chatHasItsOwn, ...sampling } = samplingSchema.shape;

/** -1, as llama.cpp and LM Studio have it, is the rest of the context. */
const tokenLimit = z
  .int()
  .min(-1)
  .refine((limit) => limit !== 0, "must be above 0, or -1 for no limit")
  .optional();

export const chatSchema = z.strictObject({
  ...common,
  ...sampling,
  ...conversation,
  ...toolFields,
  ...oldFunctionFields,
  ...reasoningFields,
  max_tokens: tokenLimit,
  /** The newer name of max_tokens: it counts where both are given. */
  max_completion_tokens: tokenLimit,
  /** Mistral's name of seed. */
  random_seed: z.int().optional(),
  logprobs: flag,
  top_logprobs: z.int().min(0).max(limits.MAX_LOGPROBS).optional(),
});

export const completionSchema = z.strictObject({
  ...common,
  ...samplingSchema.shape,
  max_tokens: z.int().min(-1).optional(),
  /** Checked by promptList. */
  prompt: z.unknown(),
  best_of: z.int().optional(),
});

/** vLLM's /inference/v1/generate. */
export const generateSchema = z.strictObject({
  ...request,
  ...reply,
  /** Checked by tokenIds. */
  token_ids: z.unknown(),
  /** The text of token_ids, which /render adds for people. */
  prompt: z.unknown().optional(),
  sampling_params: z.strictObject(samplingSchema.shape).prefault({}),
  /** text: the answer's text too, and tokens by their texts. */
  output_mode: z.enum(["tokens", "text"]).optional(),
});

export const scoreSchema = z.strictObject({
  ...request,
  /** Checked by hand: [{ prompt_token_ids, token_ids }]. */
  sequences: z.unknown(),
  /** Most probable tokens to report at each position. */
  top_logprobs: z.int().min(0).max(limits.MAX_LOGPROBS).optional(),
});

/** vLLM's /tokenize: a text, or a conversation. */
export const tokenizeSchema = z.strictObject({
  ...conversation,
  model: hint,
  messages: conversation.messages.optional(),
  prompt: z.string().optional(),
  add_special_tokens: flag,
  return_token_strs: flag,
});

export const detokenizeSchema = z.strictObject({
  model: hint,
  /** Checked by tokenIds: there may be as many as in a prompt. */
  tokens: z.unknown(),
  skip_special_tokens: flag,
});
