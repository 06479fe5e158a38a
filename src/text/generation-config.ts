/**
 * generation_config.json: the ids that end an answer, and the model's sampling defaults.
 *
 * Defaults follow vLLM's `--generation-config auto`: temperature, top_p, top_k, min_p, repetition_penalty and max_new_tokens
 * are taken where the file has them; do_sample is ignored.
 */
import { z } from "zod";
import type { LoadOptions } from "../load-options.ts";
import type { ModelFiles } from "../model/shape.ts";
import { type SamplingParams, samplingSchema } from "../params.ts";
import { parseWith, schemaError } from "../schema-error.ts";
import { parseModelJson } from "./model-json.ts";
import type { Tokenizer } from "./tokenizer.ts";
import { readTokenizerSettings, type SettingsFiles } from "./tokenizer-settings.ts";

const tokenIds = z
  .union([z.int().min(0), z.array(z.int().min(0)).max(64)])
  .nullish()
  .transform((ids) => (ids == null ? [] : typeof ids === "number" ? [ids] : ids));

const eosSchema = z.looseObject({ eos_token_id: tokenIds });

const sampling = {
  temperature: samplingSchema.shape.temperature.unwrap().nullish(),
  top_p: samplingSchema.shape.top_p.unwrap().nullish(),
  top_k: samplingSchema.shape.top_k.unwrap().nullish(),
  min_p: samplingSchema.shape.min_p.unwrap().nullish(),
  repetition_penalty: samplingSchema.shape.repetition_penalty.unwrap().nullish(),
  max_new_tokens: z.int().min(1).nullish(),
};

const generationSchema = eosSchema.extend(sampling);

const overrideSchema = z.strictObject(sampling);

export interface GenerationDefaults {
  /** Ids that end an answer, ascending. */
  stopIds: number[];
  /** Only what the file sets. */
  params: SamplingParams;
}

/**
 * The ids that end an answer are those of generation_config.json; where it has none, those of config.json. The tokenizer's
 * eos_token ends one too, and so does the special token that the chat template writes next after an answer.
 * @param afterAnswer what the chat template writes after an answer (ChatTemplate.afterAnswer).
 * @throws FastgenError "model" naming the file and the key that is wrong.
 */
export function readGenerationConfig(
  files: Pick<ModelFiles, "config" | "generationConfig"> & SettingsFiles,
  tokenizer: Pick<Tokenizer, "tokenToId" | "leadingSpecial">,
  afterAnswer = "",
): GenerationDefaults {
  const generation = parseModelJson("generation_config.json", files.generationConfig, generationSchema);
  const config = parseModelJson("config.json", files.config, eosSchema);
  const { eos_token } = readTokenizerSettings(files).specialTokens;
  const stopIds = new Set(generation.eos_token_id.length > 0 ? generation.eos_token_id : config.eos_token_id);
  const eos = eos_token === undefined ? null : tokenizer.tokenToId(eos_token);
  for (const id of [eos, tokenizer.leadingSpecial(afterAnswer.trimStart())]) if (id !== null) stopIds.add(id);

  return { stopIds: [...stopIds].sort((a, b) => a - b), params: samplingParams(generation) };
}

function samplingParams(given: z.output<typeof overrideSchema>): SamplingParams {
  const params: SamplingParams = {};
  for (const key of ["temperature", "top_p", "top_k", "min_p", "repetition_penalty"] as const) {
    const value = given[key];
    if (value != null) params[key] = value;
  }
  if (given.max_new_tokens != null) params.max_tokens = given.max_new_tokens;
  return params;
}

/**
 * What becomes of a model's sampling defaults: kept or, with generation_config "vllm", dropped; then those that
 * override_generation_config sets take their place.
 * @throws FastgenError "invalid_request" naming the key of the option that is wrong; at once, before there is a model.
 */
export function samplingDefaults({
  generation_config,
  override_generation_config = {},
}: Pick<LoadOptions, "generation_config" | "override_generation_config">): (ofModel: SamplingParams) => SamplingParams {
  const parsed = parseWith(overrideSchema, override_generation_config);
  if (!parsed.success) throw schemaError(parsed.error, ["override_generation_config"]);
  const override = samplingParams(parsed.data);
  return (ofModel) => ({ ...(generation_config !== "vllm" && ofModel), ...override });
}
