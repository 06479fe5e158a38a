/**
 * POST /generate: SGLang's own route for trainers, as far as whole replies to texts and token ids go. What sampling_params leave out
 * has SGLang's default, not the model's. Log probabilities are what --logprobs-mode says.
 */
import type { Context } from "hono";
import { z } from "zod";
import { FastgenError } from "../../src/errors.ts";
import { type SamplingParams, samplingSchema } from "../../src/params.ts";
import type { Choice } from "../../src/types.ts";
import { readBody } from "../body/body.ts";
import { freshId, samplingParams } from "../body/fields.ts";
import { promptList } from "../body/prompts.ts";
import { structuredOutputs } from "../body/structured.ts";
import type { Env } from "../context.ts";
import { longJson } from "../reply/long-json.ts";
import { Run } from "../run.ts";
import type { Service } from "../service.ts";
import { neutralParams } from "./generate.ts";

const DEFAULT_NEW_TOKENS = 128;

/** Those of our own parameters that SGLang has by the same name. */
const shared = z.object(samplingSchema.shape).pick({
  n: true,
  temperature: true,
  top_p: true,
  top_k: true,
  min_p: true,
  repetition_penalty: true,
  presence_penalty: true,
  frequency_penalty: true,
  logit_bias: true,
  stop: true,
  stop_token_ids: true,
  ignore_eos: true,
  skip_special_tokens: true,
}).shape;

const sampling = {
  ...shared,
  max_new_tokens: z.int().min(1).optional(),
  min_new_tokens: samplingSchema.shape.min_tokens.optional(),
  sampling_seed: z.int().optional(),
  /** Keep the stop string in the text. */
  no_stop_trim: z.boolean().optional(),
  /** Schemas, patterns and grammars: structuredOutputs checks them. */
  json_schema: z.unknown().optional(),
  regex: z.unknown().optional(),
  ebnf: z.unknown().optional(),
  structural_tag: z.unknown().optional(),
};

export const sglangGenerateSchema = z.strictObject({
  text: z.unknown().optional(),
  /** Checked, as text is, by promptList. */
  input_ids: z.unknown().optional(),
  sampling_params: z.strictObject(sampling).prefault({}),
  return_logprob: z.boolean().optional(),
  rid: z.string().optional(),
});

type Fields = z.output<typeof sglangGenerateSchema>;

export function sglangGenerate(service: Service) {
  return async (c: Context<Env>): Promise<Response> => {
    const { fields, given } = await readBody(c, service, sglangGenerateSchema, { sampling_params: sampling });
    const { text, input_ids, rid = freshId() } = fields;
    if ((text === undefined) === (input_ids === undefined)) throw refuse("text", "or input_ids is needed, not both");
    const [prompts, field] = text === undefined ? [input_ids, "input_ids"] : [text, "text"];
    const list = promptList(prompts, field);
    const start = async () => {
      const own = ownParams(fields, (given.sampling_params ?? {}) as Record<string, unknown>);
      return await Run.start(c, service, list, { ...neutralParams(service.fastgen.default_params), ...own });
    };
    const run = await start().catch((error) => {
      throw inItsWords(error, field);
    });
    const choices = await run.collect();
    const answers = choices.map((choice, index) => {
      const prompt_tokens = run.generationOf(index).prompt_token_ids.length;
      return answer(
        choice,
        { id: rid, prompt_tokens, weight_version: run.weightVersion },
        fields.return_logprob ?? false,
      );
    });
    // One prompt has one answer; a list of prompts, or several choices, have a list.
    const isList = answers.length > 1 || (Array.isArray(prompts) && typeof prompts[0] !== "number");
    return longJson(run.record, isList ? answers : answers[0]!);
  };
}

/** The parameters in our own words. */
function ownParams({ sampling_params, return_logprob }: Fields, given: Record<string, unknown>): SamplingParams {
  const { max_new_tokens = DEFAULT_NEW_TOKENS, min_new_tokens, sampling_seed, no_stop_trim } = sampling_params;
  const { json_schema, regex, ebnf, structural_tag } = sampling_params;
  return {
    ...samplingParams(given),
    max_tokens: max_new_tokens,
    min_tokens: min_new_tokens,
    seed: sampling_seed,
    include_stop_str_in_output: no_stop_trim,
    structured_outputs: structuredOutputs({ json_schema, regex, ebnf, structural_tag }),
    ...(return_logprob && { logprobs: 0 }),
  };
}

function answer(choice: Choice, common: object, withLogprobs: boolean) {
  const { text, token_ids, logprobs } = choice;
  const outputs = (logprobs ?? []).map(({ id, logprob }) => [logprob, id, null]);
  return {
    text,
    output_ids: token_ids,
    meta_info: {
      ...common,
      finish_reason: finishReason(choice),
      completion_tokens: token_ids.length,
      ...(withLogprobs && { output_token_logprobs: outputs, input_token_logprobs: [] }),
    },
  };
}

function finishReason({ finish_reason, stop_reason, token_ids }: Choice) {
  if (finish_reason === "length") return { type: "length", length: token_ids.length };
  if (finish_reason === "abort") return { type: "abort", message: "an operator has ended the request" };
  return { type: "stop", matched: stop_reason ?? token_ids.at(-1) ?? null };
}

const THEIR_NAMES: Record<string, string> = {
  max_tokens: "max_new_tokens",
  min_tokens: "min_new_tokens",
  seed: "sampling_seed",
  include_stop_str_in_output: "no_stop_trim",
};

/** An error about a parameter, or about the prompt (`field`), by the name that it has in this request. */
function inItsWords(error: unknown, field: string): unknown {
  if (!(error instanceof FastgenError) || error.param === null) return error;
  const { kind, message, param, code } = error;
  const [, name, rest] = /^(\w+)(.*)$/s.exec(param)!;
  if (name === "prompt") return new FastgenError(kind, message, { param: field + rest, code });
  const own = THEIR_NAMES[name!] ?? name!;
  if (!Object.hasOwn(sampling, own)) return error;
  const text = own === name ? message : message.replaceAll(name!, own);
  return new FastgenError(kind, text, { param: `sampling_params.${own}${rest}`, code });
}

function refuse(param: string, message: string): FastgenError {
  return new FastgenError("invalid_request", `${param} ${message}`, { param });
}
