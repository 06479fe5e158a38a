/**
 * Sampling parameters, in vLLM's and OpenAI's spelling: the one vocabulary of the HTTP API, the library and the chat.
 * The schema is the boundary: what passed it needs no second check, except against the model (vocabulary, context).
 */
import { z } from "zod";
import { boundedArray, boundedRecord } from "./bounded-json.ts";
import * as limits from "./limits.ts";
import { structuredOutputsSchema } from "./structured-outputs.ts";

const finite = z.number();
const tokenId = z.int().min(0);

const LEAST_INT64 = -(2n ** 63n);

/** A whole number of 64 bits: a bigint where a double would round it. */
const int64 = z.custom<number | bigint>(
  (value) => (typeof value === "bigint" ? value >= LEAST_INT64 && value < -LEAST_INT64 : Number.isSafeInteger(value)),
  "must be a whole number from -2^63 to 2^63 - 1",
);

/** Ids, checked by hand: there may be as many as the vocabulary has, and a schema takes a millisecond for a few thousand. */
function tokenIds(most: number) {
  return z.custom<readonly number[]>(
    (value) => Array.isArray(value) && value.length <= most && value.every((id) => Number.isInteger(id) && id >= 0),
    `must be an array of at most ${most} token ids`,
  );
}

export const samplingSchema = z.strictObject({
  /** Choices to generate for each prompt. */
  n: z.int().min(1).max(limits.MAX_CHOICES).default(1),
  /** Most tokens to generate; null = up to the end of the context. */
  max_tokens: z.int().min(0).nullable().default(null),
  /** Stop ids cannot be sampled before this many tokens. */
  min_tokens: z.int().min(0).default(0),
  /** 0 = greedy. */
  temperature: finite.min(0).max(100).default(1),
  /** Sample from the most probable tokens that make up this share of the probability; 0 = the most probable one alone. */
  top_p: finite.min(0).max(1).default(1),
  /** Sample from this many tokens, the most probable ones; 0 or -1 = off. */
  top_k: z.int().min(-1).default(0),
  /** Leave out tokens less probable than this share of the most probable one; 0 = off. */
  min_p: finite.min(0).max(1).default(0),
  /** Above 1: logits of tokens that the prompt or the output has are divided (negative ones multiplied) by it; 1 = off. */
  repetition_penalty: finite.gt(0).max(100).default(1),
  /** Subtracted from the logits of tokens that the output has; 0 = off. */
  presence_penalty: finite.min(-2).max(2).default(0),
  /** The same, for each time that it has them; 0 = off. */
  frequency_penalty: finite.min(-2).max(2).default(0),
  /** Token id → value added to its logit. */
  logit_bias: boundedRecord(
    z.string().regex(/^\d+$/, "must be a token id"),
    finite.min(-100).max(100),
    limits.MAX_LOGIT_BIAS,
  ).default({}),
  /**
   * The draw depends on (seed, position) alone; null or -1 = a fresh random seed. Choice i uses seed + i. A bigint where a
   * double would round it.
   */
  seed: int64.nullable().default(null),
  /** Text that ends the output and is left out of it. */
  stop: z
    .custom<string | string[] | null>()
    .default(null)
    .transform((stop) => (stop === null ? [] : typeof stop === "string" ? [stop] : stop))
    .pipe(boundedArray(z.string().min(1).max(limits.MAX_STOP_STRING_LENGTH), limits.MAX_STOP_STRINGS)),
  /** Ids that end the output, beside the model's own. */
  stop_token_ids: boundedArray(tokenId, limits.MAX_STOP_TOKEN_IDS).default([]),
  /** Ids to sample from; null or none = all. */
  allowed_token_ids: tokenIds(limits.MAX_ALLOWED_TOKEN_IDS).nullable().default(null),
  /** Words that are never generated, with and without a space before them. */
  bad_words: boundedArray(z.string().min(1).max(limits.MAX_BAD_WORD_LENGTH), limits.MAX_BAD_WORDS)
    .nullable()
    .default(null),
  /** What the answer must look like; null = anything. */
  structured_outputs: structuredOutputsSchema.nullable().default(null),
  /** Generate on past the model's stop ids. */
  ignore_eos: z.boolean().default(false),
  /** Keep the stop string in the output. */
  include_stop_str_in_output: z.boolean().default(false),
  /** Alternatives to report for each generated token; 0 = the sampled token's own log probability; null = none. */
  logprobs: z.int().min(0).max(limits.MAX_LOGPROBS).nullable().default(null),
  /**
   * What log probabilities of generated tokens are of: the model's own distribution, or the one that the token was drawn from,
   * after masks, logit_bias, penalties, temperature and filters. With temperature 0, as if it were 1 and no filter were on.
   */
  logprobs_mode: z.enum(["raw_logprobs", "processed_logprobs"]).default("raw_logprobs"),
  /** Ids whose log probabilities are reported for each generated token, in place of the most probable ones; needs logprobs. */
  logprob_token_ids: tokenIds(limits.MAX_LOGPROB_TOKEN_IDS).nullable().default(null),
  /** As `logprobs`, for every prompt token. */
  prompt_logprobs: z.int().min(0).max(limits.MAX_LOGPROBS).nullable().default(null),
  /** Leave special tokens out of the text. */
  skip_special_tokens: z.boolean().default(true),
});

/** What a caller writes: every field optional. */
export type SamplingParams = z.input<typeof samplingSchema>;
/** What the schema makes of it: every field present, `stop` an array. */
export type ResolvedParams = z.output<typeof samplingSchema>;
