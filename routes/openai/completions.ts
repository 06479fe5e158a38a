/** POST /completions: OpenAI's text completions, with token-id prompts, echo, and vLLM's sampling fields. */
import type { Context } from "hono";
import { FastgenError } from "../../src/errors.ts";
import { MAX_STREAMED_PROMPT_LOGPROBS } from "../../src/limits.ts";
import type { SamplingParams } from "../../src/params.ts";
import { readBody } from "../body/body.ts";
import {
  askForRollout,
  checkTogether,
  generateOptions,
  replyId,
  samplingParams,
  usageOptions,
} from "../body/fields.ts";
import { promptList } from "../body/prompts.ts";
import { completionSchema } from "../body/schemas.ts";
import { inCallersWords, structuredOutputs } from "../body/structured.ts";
import type { Env } from "../context.ts";
import { Echo, ListedText } from "../reply/echo.ts";
import { longCompletionLogprobs, promptLogprobs, tokenNames } from "../reply/logprobs.ts";
import { longJson } from "../reply/long-json.ts";
import { Rollouts } from "../reply/rollout.ts";
import { eventStream } from "../reply/sse.ts";
import { changedVersions } from "../reply/weight-versions.ts";
import { Run } from "../run.ts";
import type { Service } from "../service.ts";
import { CompletionFrames, type Fields } from "./completion-frames.ts";

/** OpenAI's default for completions; chat has none. */
export const DEFAULT_MAX_TOKENS = 16;

export function completions(service: Service) {
  return async (c: Context<Env>): Promise<Response> => {
    const { fields: read, given } = await readBody(c, service, completionSchema);
    const fields = { ...read, stream_options: usageOptions(read, service.options.forceIncludeUsage) };
    checkTogether(fields, fields.logprobs !== null);
    if (fields.request_id !== undefined) c.get("record").nameBy(fields.request_id);
    const prompts = promptList(fields.prompt);
    const params = completionParams(fields, given);
    askForRollout(params, fields);
    const options = { ...generateOptions(fields), default_max_tokens: DEFAULT_MAX_TOKENS };
    const run = await Run.start(c, service, prompts, params, options).catch((error) => {
      throw inCallersWords(error, fields);
    });
    const envelope = {
      id: replyId("cmpl", fields),
      object: "text_completion",
      created: Math.floor(Date.now() / 1000),
      model: service.modelName,
      system_fingerprint: service.fingerprint,
    };
    if (fields.stream) checkEchoedLogprobs(run, fields);
    const echo = fields.echo ? new Echo(run, fields) : null;
    if (fields.stream) return eventStream(service, run, new CompletionFrames(envelope, run, fields, echo));
    const nameOf = tokenNames(fields.return_tokens_as_token_ids);
    const rollouts = Rollouts.asked(fields, run);
    const choices = (await run.collect()).map((choice, index) => {
      const generation = run.generationOf(index);
      const echoed = echo?.text(index) ?? "";
      const own = fields.logprobs === null ? null : (choice.logprobs ?? []);
      rollouts?.add({ ...choice, index });
      const listed = own && new ListedText(echoed, choice.text, nameOf);
      const positions = listed && joined(echo ? listed.prompt(generation, run.fastgen) : [], listed.answer(own));
      return {
        index,
        text: echoed + choice.text,
        logprobs: positions && longCompletionLogprobs(positions, nameOf),
        finish_reason: choice.finish_reason,
        stop_reason: choice.stop_reason,
        ...changedVersions(choice, run.weightVersion),
        ...(given.prompt_logprobs !== undefined && {
          prompt_logprobs: promptLogprobs(generation.prompt_logprobs ?? []),
        }),
        ...(fields.return_token_ids && {
          token_ids: choice.token_ids,
          prompt_token_ids: Array.from(generation.prompt_token_ids),
        }),
        ...(rollouts && { rollout: rollouts.of(index) }),
      };
    });
    return longJson(run.record, { ...envelope, choices, weight_version: run.weightVersion, usage: run.usage() });
  };
}

/** Refuses a stream whose first frame would be too large, and ends its run. */
function checkEchoedLogprobs(run: Run, { echo, logprobs }: Fields): void {
  if (!echo || logprobs === null) return;
  for (const { prompt_token_ids } of run.generations) {
    if (prompt_token_ids.length * (1 + logprobs) <= MAX_STREAMED_PROMPT_LOGPROBS) continue;
    const message = `logprobs with echo, those of ${prompt_token_ids.length} prompt tokens, are too many for a stream; leave out stream`;
    const error = new FastgenError("invalid_request", message, { param: "logprobs" });
    run.end(error);
    throw error;
  }
}

/** `first`, then `second`; may be iterated again. */
function joined<T>(first: Iterable<T>, second: Iterable<T>): Iterable<T> {
  return {
    *[Symbol.iterator]() {
      yield* first;
      yield* second;
    },
  };
}

export function completionParams(fields: Fields, given: Record<string, unknown>): SamplingParams {
  const { best_of, echo, logprobs, n } = fields;
  if (best_of !== undefined && best_of !== 1 && best_of !== n) {
    const message = `best_of is supported only at 1 and at the value of n (${n}); leave it out`;
    throw new FastgenError("invalid_request", message, { param: "best_of" });
  }
  const params = samplingParams(given);
  const structured = structuredOutputs(fields);
  if (structured) params.structured_outputs = structured;
  if (params.max_tokens === -1) params.max_tokens = null;
  if (params.max_tokens === 0 && !echo) {
    throw new FastgenError("invalid_request", "max_tokens of 0 needs echo: true", { param: "max_tokens" });
  }
  // An echoed prompt has log probabilities too. Without new tokens they are all there is to compute.
  if (echo && (logprobs !== null || params.max_tokens === 0)) params.prompt_logprobs ??= logprobs ?? 0;
  return params;
}
