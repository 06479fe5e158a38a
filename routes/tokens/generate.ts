/**
 * POST /inference/v1/generate: tokens in, tokens out, as vLLM has it for trainers and disaggregated serving. What sampling_params
 * leave out has vLLM's own default and not the model's: a trainer knows what it samples from. Only max_tokens has the model's, and
 * logprobs_mode the server's.
 */
import type { Context } from "hono";
import type { z } from "zod";
import { FastgenError } from "../../src/errors.ts";
import { type SamplingParams, samplingSchema } from "../../src/params.ts";
import type { Choice } from "../../src/types.ts";
import { readBody } from "../body/body.ts";
import { askForRollout, checkTogether, freshId, generateOptions, samplingParams } from "../body/fields.ts";
import { tokenIds } from "../body/prompts.ts";
import { generateSchema } from "../body/schemas.ts";
import type { Env } from "../context.ts";
import { promptLogprobs } from "../reply/logprobs.ts";
import { longJson } from "../reply/long-json.ts";
import { Rollouts } from "../reply/rollout.ts";
import { eventStream } from "../reply/sse.ts";
import { longTokenLogprobs, type TokenFormat } from "../reply/token-logprobs.ts";
import { changedVersions } from "../reply/weight-versions.ts";
import { Run } from "../run.ts";
import type { Service } from "../service.ts";
import { GenerateFrames } from "./generate-frames.ts";

export type GenerateFields = z.output<typeof generateSchema>;

const NEUTRAL = samplingSchema.parse({}) as Record<string, unknown>;

export function generate(service: Service) {
  return async (c: Context<Env>): Promise<Response> => {
    const { fields, given } = await readBody(c, service, generateSchema, { sampling_params: samplingSchema.shape });
    const ids = tokenIds(fields.token_ids, "token_ids");
    const { sampling_params, request_id = freshId() } = fields;
    c.get("record").nameBy(request_id);
    const params = generateParams(service.fastgen.default_params, (given.sampling_params ?? {}) as SamplingParams);
    checkTogether({ ...fields, ...sampling_params }, sampling_params.logprobs !== null);
    if (params.max_tokens === 0 && sampling_params.prompt_logprobs === null) {
      throw refuse("sampling_params.max_tokens", "of 0 needs prompt_logprobs");
    }
    askForRollout(params, fields);
    const run = await Run.start(c, service, [ids], params, generateOptions(fields)).catch((error) => {
      throw inItsPlace(error);
    });
    const created = Math.floor(Date.now() / 1000);
    const output_mode = fields.output_mode ?? "tokens";
    const envelope = { request_id, model: service.modelName, created, output_mode };
    const format = { asText: output_mode === "text", ranked: !sampling_params.logprob_token_ids?.length };
    if (fields.stream) return eventStream(service, run, new GenerateFrames(envelope, run, fields, format));
    const generation = run.generations[0]!;
    const rollouts = Rollouts.asked(fields, run);
    const choices = (await run.collect()).map((choice) => replyChoice(run, choice, fields, format, rollouts));
    return longJson(run.record, {
      ...envelope,
      choices,
      weight_version: run.weightVersion,
      usage: run.usage(),
      prompt_logprobs:
        sampling_params.prompt_logprobs === null ? null : promptLogprobs(generation.prompt_logprobs ?? []),
      ...(fields.return_token_ids && { prompt_token_ids: Array.from(generation.prompt_token_ids) }),
      kv_transfer_params: null,
    });
  };
}

function replyChoice(run: Run, choice: Choice, fields: GenerateFields, format: TokenFormat, rollouts: Rollouts | null) {
  const { index, text, token_ids, logprobs, finish_reason, stop_reason } = choice;
  rollouts?.add(choice);
  return {
    index,
    token_ids,
    ...(format.asText && { text }),
    logprobs: fields.sampling_params.logprobs === null ? null : longTokenLogprobs(logprobs ?? [], format),
    finish_reason,
    stop_reason,
    ...changedVersions(choice, run.weightVersion),
    ...(rollouts && { rollout: rollouts.of(index) }),
  };
}

/** What was given, and the schema's own default of whatever else the model has one for. */
function generateParams(defaults: SamplingParams, given: SamplingParams): SamplingParams {
  const { max_tokens: _, logprobs_mode: __, ...replaced } = defaults;
  const neutral = Object.fromEntries(Object.keys(replaced).map((name) => [name, NEUTRAL[name]]));
  return { ...neutral, ...samplingParams(given as Record<string, unknown>) };
}

/** An error about a field of sampling_params, or about the prompt, by the name that it has in this request. */
function inItsPlace(error: unknown): unknown {
  if (!(error instanceof FastgenError) || error.param === null) return error;
  const { kind, message, param, code } = error;
  const name = param.split(/[.[]/)[0]!;
  if (name === "prompt") return new FastgenError(kind, message, { param: param.replace("prompt", "token_ids"), code });
  if (!Object.hasOwn(samplingSchema.shape, name)) return error;
  return new FastgenError(kind, message, { param: `sampling_params.${param}`, code });
}

function refuse(param: string, message: string): FastgenError {
  return new FastgenError("invalid_request", `${param} ${message}`, { param });
}
