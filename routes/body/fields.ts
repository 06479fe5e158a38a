/** Fields that chat and completions share, from a body to what the library and the replies need. */
import { FastgenError } from "../../src/errors.ts";
import { type SamplingParams, samplingSchema } from "../../src/params.ts";
import type { GenerateOptions } from "../../src/types.ts";

export interface CommonFields {
  stream?: boolean;
  stream_options?: { include_usage?: boolean; continuous_usage_stats?: boolean };
  usage?: boolean;
  prompt_logprobs: number | null;
  logprob_token_ids: readonly number[] | null;
  add_special_tokens?: boolean;
  truncate_prompt_tokens?: number;
  truncation_side?: "left" | "right";
  cache_salt?: string;
  priority?: number;
  request_id?: string;
}

/** What of a stream's frames tells usage. */
export interface StreamUsage {
  /** A last frame that sums up the request. */
  final: boolean;
  /** Every frame: of its choice, so far. */
  continuous: boolean;
}

/** vLLM's rule: continuous statistics include the last frame unless that is declined. */
export function streamUsage({ stream_options }: Pick<CommonFields, "stream_options">): StreamUsage {
  const { include_usage, continuous_usage_stats } = stream_options ?? {};
  const final = include_usage ?? continuous_usage_stats ?? false;
  return { final, continuous: final && (continuous_usage_stats ?? false) };
}

/**
 * stream_options of a request: a last frame with usage is also what OpenRouter's `usage` asks for, and what the server may have
 * for all streams (`force`).
 */
export function usageOptions(fields: Pick<CommonFields, "stream" | "stream_options" | "usage">, force: boolean) {
  const { stream, stream_options, usage } = fields;
  if (stream && force) return { ...stream_options, include_usage: true };
  return stream && usage ? { include_usage: true, ...stream_options } : stream_options;
}

/** Rules about two fields together, which the schema cannot express. `withLogprobs`: does the request ask for any? */
export function checkTogether(fields: CommonFields, withLogprobs: boolean): void {
  const refuse = (param: string, message: string) =>
    new FastgenError("invalid_request", `${param} ${message}`, { param });
  const { stream, prompt_logprobs, logprob_token_ids } = fields;
  if (!stream && streamUsage(fields).final) throw refuse("stream_options", "needs stream: true");
  if (stream && prompt_logprobs !== null) throw refuse("prompt_logprobs", "is not available with stream: true");
  if (logprob_token_ids?.length && !withLogprobs) throw refuse("logprob_token_ids", "needs logprobs");
}

/** The sampling fields that the caller gave; the library fills in the rest. */
export function samplingParams(given: Record<string, unknown>): SamplingParams {
  const params: Record<string, unknown> = {};
  for (const key of Object.keys(samplingSchema.shape)) if (given[key] !== undefined) params[key] = given[key];
  return params as SamplingParams;
}

/** Has the engine report what a rollout consists of. */
export function askForRollout(params: SamplingParams, { return_rollout }: { return_rollout?: boolean }): void {
  if (return_rollout) params.logprobs ??= 0;
}

/** What the library is to do with the prompt and the sequence. */
export function generateOptions(fields: Omit<CommonFields, "prompt_logprobs" | "logprob_token_ids">): GenerateOptions {
  const { stream, add_special_tokens, truncate_prompt_tokens, truncation_side, cache_salt, priority } = fields;
  return { stream, add_special_tokens, truncate_prompt_tokens, truncation_side, cache_salt, priority };
}

/** An id without its prefix. It cannot be guessed: whoever knows that of a stored response can read it. */
export function freshId(): string {
  return crypto.randomUUID().replaceAll("-", "");
}

/** The id of a reply: `prefix` and the request's own id, or a fresh one. */
export function replyId(prefix: string, { request_id }: Pick<CommonFields, "request_id">): string {
  return `${prefix}-${request_id ?? freshId()}`;
}
