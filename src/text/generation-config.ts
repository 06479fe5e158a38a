/**
 * generation_config.json: the ids that end an answer, and the model's sampling defaults.
 *
 * Defaults follow vLLM's `--generation-config auto`: temperature, top_p, top_k, min_p, repetition_penalty and max_new_tokens
 * are taken where the file has them; do_sample is ignored.
 */
import { z } from "zod";
import { FastgenError } from "../errors.ts";
import { parseConfigJson } from "../model/config-json.ts";
import type { ModelFiles } from "../model/shape.ts";
import { type SamplingParams, samplingSchema } from "../params.ts";
import type { Tokenizer } from "./tokenizer.ts";

const tokenIds = z
  .union([z.int().min(0), z.array(z.int().min(0)).max(64)])
  .nullish()
  .transform((ids) => (ids == null ? [] : typeof ids === "number" ? [ids] : ids));

const eosSchema = z.looseObject({ eos_token_id: tokenIds });

const generationSchema = eosSchema.extend({
  temperature: samplingSchema.shape.temperature.unwrap().nullish(),
  top_p: samplingSchema.shape.top_p.unwrap().nullish(),
  top_k: samplingSchema.shape.top_k.unwrap().nullish(),
  min_p: samplingSchema.shape.min_p.unwrap().nullish(),
  repetition_penalty: samplingSchema.shape.repetition_penalty.unwrap().nullish(),
  max_new_tokens: z.int().min(1).nullish(),
});

const tokenizerConfigSchema = z.looseObject({
  eos_token: z.union([z.string(), z.looseObject({ content: z.string() }).transform((t) => t.content)]).nullish(),
});

export interface GenerationDefaults {
  /** Ids that end an answer, ascending. */
  stopIds: number[];
  /** Only what the file sets. */
  params: SamplingParams;
}

/** @throws FastgenError "model" naming the file and the key that is wrong. */
export function readGenerationConfig(
  files: Pick<ModelFiles, "config" | "generationConfig" | "tokenizerConfig">,
  tokenizer: Pick<Tokenizer, "tokenToId">,
): GenerationDefaults {
  const generation = parse("generation_config.json", files.generationConfig, generationSchema);
  const config = parse("config.json", files.config, eosSchema);
  const { eos_token } = parse("tokenizer_config.json", files.tokenizerConfig, tokenizerConfigSchema);
  const stopIds = new Set([...generation.eos_token_id, ...config.eos_token_id]);
  const eos = typeof eos_token === "string" ? tokenizer.tokenToId(eos_token) : null;
  if (eos !== null) stopIds.add(eos);

  const params: SamplingParams = {};
  for (const key of ["temperature", "top_p", "top_k", "min_p", "repetition_penalty"] as const) {
    const value = generation[key];
    if (value != null) params[key] = value;
  }
  if (generation.max_new_tokens != null) params.max_tokens = generation.max_new_tokens;
  return { stopIds: [...stopIds].sort((a, b) => a - b), params };
}

function parse<T extends z.ZodType>(name: string, text: string | null, schema: T): z.output<T> {
  const json = text === null ? {} : parseConfigJson(name, text);
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw new FastgenError("model", `${name}: ${issue.path.join(".") || "the file"}: ${issue.message}`);
}
