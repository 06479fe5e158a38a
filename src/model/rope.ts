/**
 * Rotary position embeddings (RoPE, arXiv:2104.09864): the inverse frequencies and the factor on cos and sin, for the scalings
 * that transformers knows. Every operation is rounded to float32, in the order of transformers' modeling_rope_utils.py, so that
 * long contexts see the same angles.
 */
import { z } from "zod";
import type { FastgenError } from "../errors.ts";
import { fileError, readKeys } from "./config-json.ts";

const positive = z.number().positive();
const optional = positive.nullish();

const originalContext = z.int().positive().nullish();

const typeSchema = z.looseObject({ rope_type: z.string().nullish(), type: z.string().nullish() });

/** What each scaling uses. Other keys may hold anything. */
const factorSchema = z.looseObject({ factor: positive });
const llama3Schema = z.looseObject({
  factor: positive,
  low_freq_factor: positive,
  high_freq_factor: positive,
  original_max_position_embeddings: originalContext,
});
const yarnSchema = z.looseObject({
  factor: optional,
  original_max_position_embeddings: originalContext,
  beta_fast: z.number().min(0).nullish(),
  beta_slow: z.number().min(0).nullish(),
  mscale: z.number().min(0).nullish(),
  mscale_all_dim: z.number().min(0).nullish(),
  truncate: z.boolean().nullish(),
  attention_factor: optional,
  attn_factor: optional,
  apply_yarn_scaling: z.boolean().nullish(),
  extrapolation_factor: z.number().nullish(),
});

export interface RopeInput {
  headDim: number;
  /** The model's max_position_embeddings. */
  maxPositions: number;
  /** rope_parameters (transformers 5) or rope_scaling (earlier), and which of the two. */
  rope: Record<string, unknown>;
  section: "rope_parameters" | "rope_scaling";
  /** The whole of config.json. */
  beside: Record<string, unknown>;
}

export interface Rope {
  /** [headDim / 2] */
  invFreq: Float32Array;
  /** Multiplies cos and sin. */
  scale: number;
  /** The most tokens that the model is made for, scaling included (vLLM's max_model_len). */
  maxContext: number;
}

/** What a scaling is computed from. */
interface Scaling extends RopeInput {
  theta: number;
}

const FILE = "config.json";

const f = Math.fround;

/** @throws FastgenError "model" for an unknown rope_type, or a parameter that is missing or wrong. */
export function computeRope(input: RopeInput): Rope {
  const { rope, section, maxPositions } = input;
  for (const kind of ["full_attention", "sliding_attention"]) {
    if (kind in rope) throw refused(input, kind, "is set; a RoPE that differs between layers is not supported");
  }
  const theta = inOrBeside(input, "rope_theta", positive) ?? 10_000;
  if (theta <= 1) throw fileError(FILE, `rope_theta is ${theta}; it must be larger than 1`);
  const rotated = inOrBeside(input, "partial_rotary_factor", z.number()) ?? 1;
  if (rotated !== 1) throw refused(input, "partial_rotary_factor", `is ${rotated}; only 1 is supported`);
  const scaling = { ...input, theta };
  const type = ropeType(input);
  switch (type) {
    case "default":
    // Dynamic NTK changes the frequencies only past max_position_embeddings, where Fastgen does not go.
    case "dynamic":
      return { invFreq: plain(scaling), scale: 1, maxContext: maxPositions };
    case "linear": {
      const { factor } = readKeys(FILE, rope, factorSchema, `${section}.`);
      return {
        invFreq: plain(scaling).map((x) => f(x / f(factor))),
        scale: 1,
        maxContext: context(maxPositions * factor),
      };
    }
    case "llama3":
      return { invFreq: llama3(scaling), scale: 1, maxContext: maxPositions };
    case "yarn":
      return yarn(scaling);
    default:
      throw refused(
        input,
        "rope_type",
        `"${type}" is not supported; Fastgen supports default, linear, dynamic, llama3 and yarn`,
      );
  }
}

/** A key of the section, or else the key beside it, where older files have it. */
function inOrBeside<T>({ rope, beside, section }: RopeInput, key: string, schema: z.ZodType<T>): T | null | undefined {
  const [place, within] = rope[key] == null ? [beside, ""] : [rope, `${section}.`];
  return readKeys(FILE, place, z.object({ [key]: schema.nullish() }), within)[key];
}

/** The type of the scaling, under its newer or its older name. */
function ropeType({ rope, section }: RopeInput): string {
  const { rope_type, type } = readKeys(FILE, rope, typeSchema, `${section}.`);
  if (rope_type != null && type != null && rope_type !== type) {
    throw fileError(
      FILE,
      `${section}.rope_type is "${rope_type}" and ${section}.type is "${type}": keep the right one`,
    );
  }
  const named = rope_type ?? type;
  if (named != null) return named;
  const scaling = Object.keys(rope).find(
    (key) => rope[key] !== null && key !== "rope_theta" && key !== "partial_rotary_factor",
  );
  if (scaling === undefined) return "default";
  throw fileError(
    FILE,
    `${section} has ${scaling} but neither rope_type nor type: add "rope_type" (default, linear, dynamic, llama3 or yarn)`,
  );
}

function refused({ section }: Pick<RopeInput, "section">, key: string, problem: string): FastgenError {
  return fileError(FILE, `${section}.${key} ${problem}`);
}

function context(tokens: number): number {
  return Math.min(Math.floor(tokens), 2 ** 31 - 1);
}

/** theta^(2i / headDim), i < headDim / 2: wavelength of each pair of dimensions, over 2 pi. */
function wavelengths({ headDim, theta }: Scaling): Float32Array {
  return Float32Array.from({ length: headDim / 2 }, (_, i) => theta ** f((2 * i) / headDim));
}

function plain(input: Scaling): Float32Array {
  return wavelengths(input).map((x) => f(1 / x));
}

/** Llama 3.1's scaling: long wavelengths are stretched by `factor`, short ones kept, those in between interpolated. */
function llama3(input: Scaling): Float32Array {
  const { rope, section } = input;
  const keys = readKeys(FILE, rope, llama3Schema, `${section}.`);
  const { factor, low_freq_factor: low, high_freq_factor: high } = keys;
  if (high <= low) {
    throw refused(input, "high_freq_factor", `is ${high}; it must be larger than low_freq_factor (${low})`);
  }
  const original = originalPositions(input, keys);
  const longest = f(original / low);
  const shortest = f(original / high);
  return plain(input).map((freq) => {
    const wavelength = f(f(2 * Math.PI) / freq);
    if (wavelength < shortest) return freq;
    if (wavelength > longest) return f(freq / f(factor));
    const smooth = f(f(f(f(original) / wavelength) - f(low)) / f(high - low));
    return f(f(f(f(1 - smooth) * freq) / f(factor)) + f(smooth * freq));
  });
}

/** Positions before scaling. As in transformers, a key beside the section comes first. */
function originalPositions(
  { beside, maxPositions }: Scaling,
  keys: { original_max_position_embeddings?: number | null },
) {
  const outer = readKeys(FILE, beside, z.looseObject({ original_max_position_embeddings: originalContext }));
  return outer.original_max_position_embeddings ?? keys.original_max_position_embeddings ?? maxPositions;
}

/** YaRN (arXiv:2309.00071). */
function yarn(input: Scaling): Rope {
  const { headDim, theta, section, maxPositions } = input;
  const rope = readKeys(FILE, input.rope, yarnSchema, `${section}.`);
  const original = originalPositions(input, rope);
  const factor = rope.factor ?? maxPositions / original;
  const scale = yarnScale(input, rope, factor);

  /** The dimension that makes this many turns over the original context. */
  const dimension = (turns: number) => (headDim * Math.log(original / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  const round = rope.truncate ?? true;
  let low = dimension(rope.beta_fast || 32);
  let high = dimension(rope.beta_slow || 1);
  if (round) {
    low = Math.floor(low);
    high = Math.ceil(high);
  }
  low = Math.max(low, 0);
  high = Math.min(high, headDim - 1);
  if (low === high) high += 0.001;

  const invFreq = wavelengths(input).map((wavelength, i) => {
    const ramp = Math.min(Math.max(f(f(i - f(low)) / f(high - low)), 0), 1);
    const keep = f(1 - ramp);
    const extrapolated = f(1 / wavelength);
    const interpolated = f(1 / f(f(factor) * wavelength));
    return f(f(interpolated * f(1 - keep)) + f(extrapolated * keep));
  });
  return { invFreq, scale, maxContext: context(original * factor) };
}

/**
 * The factor on cos and sin. attention_factor is the whole of it, as in transformers. attn_factor is vLLM's, which transformers
 * does not know: it multiplies what follows from `factor`, or stands alone where apply_yarn_scaling is false.
 */
function yarnScale(input: Scaling, rope: z.output<typeof yarnSchema>, factor: number): number {
  const { attention_factor, attn_factor, mscale, mscale_all_dim } = rope;
  if (rope.extrapolation_factor != null && rope.extrapolation_factor !== 1) {
    throw refused(input, "extrapolation_factor", `is ${rope.extrapolation_factor}; only 1 is supported`);
  }
  if (attention_factor != null && attn_factor != null && attn_factor !== 1) {
    throw refused(input, "attn_factor", "stands beside attention_factor: keep the one that the model was made with");
  }
  if (attention_factor != null) return attention_factor;
  if (rope.apply_yarn_scaling === false) return attn_factor ?? 1;
  const magnitude = (m: number) => (factor <= 1 ? 1 : 0.1 * m * Math.log(factor) + 1);
  const derived = mscale && mscale_all_dim ? magnitude(mscale) / magnitude(mscale_all_dim) : magnitude(1);
  return derived * (attn_factor ?? 1);
}
