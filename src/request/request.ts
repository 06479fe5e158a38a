/**
 * Sampling parameters against one model: generation_config.json's defaults filled in, ids checked against the
 * vocabulary, lengths against the context. What comes out needs no further check.
 */
import { randomBytes } from "node:crypto";
import { maskOf } from "../engine/masks/token-mask.ts";
import type { EngineGrammar, EngineRequest, ThinkingBudget } from "../engine/protocol.ts";
import type { EngineSampling } from "../engine-config.ts";
import { FastgenError } from "../errors.ts";
import { type ResolvedParams, type SamplingParams, samplingSchema } from "../params.ts";
import { parseWith, schemaError } from "../schema-error.ts";

export interface ModelLimits {
  vocabSize: number;
  /** The largest number of tokens in one sequence, prompt and output together. */
  maxContext: number;
  /** The model's own stop ids; ignore_eos sets them aside. */
  stopIds: readonly number[];
}

/** Validates `params` over `defaults`; any explicit value wins, even a falsy one. Throws FastgenError naming the field. */
export function resolveParams(params: SamplingParams | undefined, defaults: SamplingParams): ResolvedParams {
  const given = Object.entries(params ?? {}).filter(([, value]) => value !== undefined);
  const result = parseWith(samplingSchema, { ...defaults, ...Object.fromEntries(given) });
  if (result.success) return result.data;
  throw schemaError(result.error);
}

function invalid(param: string, message: string, code: string | null = null): never {
  throw new FastgenError("invalid_request", message, { param, code });
}

function checkIds(ids: Iterable<number>, vocabSize: number, param: string) {
  for (const id of ids) {
    if (!Number.isInteger(id) || id < 0 || id >= vocabSize) {
      invalid(param, `${param}: ${id} is not a token id of this model; they go from 0 to ${vocabSize - 1}`);
    }
  }
}

/** The least positive number that float32 holds at full precision. */
const LEAST_FLOAT32 = 2 ** -126;

/** The float32 that libfastgen computes with. A number too small for it counts as 0. */
function float32(value: number): number {
  return Math.abs(value) < LEAST_FLOAT32 ? 0 : Math.fround(value);
}

/** The same of a number above 0, which stays above 0: libfastgen refuses 0 where the schema does. */
function positiveFloat32(value: number): number {
  return Math.max(float32(value), LEAST_FLOAT32);
}

/** A tokenizer's normaliser may shorten a text: canonical composition (NFC) by a factor of at most three. */
const NORMALISER_SHRINKS = 3;

/** Refuses a text that cannot fit the context whatever its tokens are, before any time is spent on tokenising it. */
export function checkTextLength(text: string, longestToken: number, limits: ModelLimits, param: string): void {
  // A UTF-16 unit is at least one byte of UTF-8.
  if (text.length <= mostCharacters(limits.maxContext, longestToken)) return;
  tooLong(param, limits.maxContext, `the prompt has ${text.length} characters, more than they can hold: shorten it`);
}

/** Characters of a text, at most, that so many tokens can be made from. */
export function mostCharacters(tokens: number, longestToken: number): number {
  return tokens * longestToken * NORMALISER_SHRINKS;
}

/** Clients know these words: they then shorten the conversation. */
function tooLong(param: string, maxContext: number, what: string): never {
  const message = `This model's maximum context length is ${maxContext} tokens. However, ${what}`;
  invalid(param, message, "context_length_exceeded");
}

/** Checks a prompt given as ids. `param` is the field to name. */
export function checkPrompt(ids: readonly number[] | Int32Array, limits: ModelLimits, param: string): Int32Array {
  if (ids.length === 0) invalid(param, `${param} is empty: it needs at least one token`);
  checkIds(ids, limits.vocabSize, param);
  return ids instanceof Int32Array ? ids : Int32Array.from(ids);
}

/** How many tokens may be generated after a prompt of `promptLength`. Throws if the request cannot fit. */
function outputRoom(
  params: ResolvedParams,
  promptLength: number,
  maxContext: number,
  promptParam: string,
  isDefault: boolean,
): number {
  const wanted = params.max_tokens;
  const least = wanted === 0 ? 0 : 1;
  if (promptLength + least > maxContext) {
    // Of a long text no more has been tokenised than it takes to know.
    const count = `${promptLength > maxContext ? "at least " : ""}${promptLength}`;
    const what = `the prompt is ${count} tokens long, and the output needs at least ${least}: shorten the prompt`;
    tooLong(promptParam, maxContext, what);
  }
  if (wanted === null) return maxContext - promptLength;
  if (promptLength + wanted > maxContext) {
    if (isDefault) return maxContext - promptLength;
    const what =
      `you requested ${promptLength + wanted} tokens (${promptLength} in the prompt, ${wanted} in the completion, as ` +
      `max_tokens says): use at most ${maxContext - promptLength}, or shorten the prompt`;
    tooLong("max_tokens", maxContext, what);
  }
  return wanted;
}

/** What an engine request needs beside its parameters. */
export interface RequestExtras {
  /** Further ids that end the output: those of stop strings that are special tokens. */
  stopIds?: Iterable<number>;
  /** bad_words as ids. */
  badWords?: Int32Array[];
  /**
   * The grammar that the output follows; null = none. Each choice gets a matcher of its own, once all else is checked; null
   * while the grammar is being compiled.
   */
  grammar?: { newMatcher(): EngineGrammar["matcher"]; after: EngineGrammar["after"] } | null;
  thinking?: ThinkingBudget | null;
  cacheSalt?: string;
  priority?: number;
  /** The first prompt token that has a log probability; at least 1. */
  firstScored?: number;
}

/** Refuses parameters that exclude each other. */
function checkTogether({ logprob_token_ids, logprobs, prompt_logprobs }: ResolvedParams): void {
  if (!logprob_token_ids?.length) return;
  if (logprobs === null) invalid("logprob_token_ids", "logprob_token_ids needs logprobs");
  // The logits of every row of a prompt would come back from the device.
  if (prompt_logprobs !== null) {
    invalid("logprob_token_ids", "logprob_token_ids cannot be combined with log probabilities of the prompt");
  }
}

/**
 * One EngineRequest per choice, with id 0. `params` must come from resolveParams and `prompt` from checkPrompt. A max_tokens
 * that exceeds the context is cut to what fits if it is only a default, and refused otherwise.
 */
export function engineRequests(
  params: ResolvedParams,
  prompt: Int32Array,
  limits: ModelLimits,
  promptParam: string,
  maxTokensIsDefault = false,
  extras: RequestExtras = {},
): EngineRequest[] {
  const maxTokens = outputRoom(params, prompt.length, limits.maxContext, promptParam, maxTokensIsDefault);
  if (params.min_tokens > maxTokens) {
    invalid(
      "min_tokens",
      `min_tokens is ${params.min_tokens}, more than the ${maxTokens} tokens that may be generated`,
    );
  }
  checkTogether(params);
  checkIds(params.stop_token_ids, limits.vocabSize, "stop_token_ids");
  const allowedIds = params.allowed_token_ids ?? [];
  checkIds(allowedIds, limits.vocabSize, "allowed_token_ids");
  const allowed = allowedIds.length > 0 ? maskOf(allowedIds, limits.vocabSize) : null;
  const logprobIds = Int32Array.from(params.logprob_token_ids ?? []);
  checkIds(logprobIds, limits.vocabSize, "logprob_token_ids");
  const biasIds = Object.keys(params.logit_bias).map(Number);
  checkIds(biasIds, limits.vocabSize, "logit_bias");

  const sampling: Omit<EngineSampling, "seed"> = {
    temperature: float32(params.temperature),
    topP: positiveFloat32(params.top_p),
    topK: Math.min(Math.max(params.top_k, 0), limits.vocabSize),
    minP: float32(params.min_p),
    repetitionPenalty: positiveFloat32(params.repetition_penalty),
    presencePenalty: float32(params.presence_penalty),
    frequencyPenalty: float32(params.frequency_penalty),
    biasIds: Int32Array.from(biasIds),
    bias: Float32Array.from(Object.values(params.logit_bias)),
    processedLogprobs: params.logprobs_mode === "processed_logprobs",
  };
  const ownStopIds = params.ignore_eos ? [] : limits.stopIds;
  const stopIds = Int32Array.from(new Set([...ownStopIds, ...params.stop_token_ids, ...(extras.stopIds ?? [])]));
  // -1 asks for a random seed, as in vLLM. Other negative seeds are seeds.
  const isRandom = params.seed === null || Number(params.seed) === -1;
  const { grammar = null, thinking = null, firstScored = 1 } = extras;
  if (!Number.isInteger(firstScored) || firstScored < 1 || firstScored >= Math.max(prompt.length, 2)) {
    invalid(
      "first_scored_token",
      `first_scored_token is ${firstScored}: it must be a token of the prompt after the first`,
    );
  }
  // A token's log probability is computed at the position before it.
  const scoreFrom = firstScored - 1;
  const seed = isRandom ? randomBytes(8).readBigUInt64LE() : BigInt(params.seed!);
  return Array.from({ length: params.n }, (_, choice) => ({
    id: 0,
    prompt,
    sampling: { ...sampling, seed: BigInt.asUintN(64, seed + BigInt(choice)) },
    maxTokens,
    minTokens: params.min_tokens,
    stopIds,
    logprobs: params.logprobs ?? -1,
    logprobIds,
    allowed,
    badWords: extras.badWords ?? [],
    grammar: grammar && { matcher: grammar.newMatcher(), after: grammar.after },
    thinking,
    cacheSalt: extras.cacheSalt ?? "",
    priority: extras.priority ?? 0,
    // Every choice has the same prompt: only the first reports it.
    promptLogprobs: choice === 0 ? (params.prompt_logprobs ?? -1) : -1,
    scoreFrom,
  }));
}
