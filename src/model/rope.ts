/**
 * Rotary position embeddings (RoPE, arXiv:2104.09864): the inverse frequencies and the factor on cos and sin, for the scalings
 * that transformers knows. Every operation is rounded to float32, in the order of transformers' modeling_rope_utils.py, so that
 * long contexts see the same angles.
 */
import { z } from "zod";
import { FastgenError } from "../errors.ts";

const positive = z.number().positive();
const positiveInt = z.int().positive();

/** rope_parameters (transformers 5) or rope_scaling (earlier). The older spelling of rope_type is `type`. */
export const ropeSchema = z.looseObject({
  rope_type: z.string().nullish(),
  type: z.string().nullish(),
  rope_theta: positive.nullish(),
  partial_rotary_factor: z.number().nullish(),
  factor: positive.nullish(),
  original_max_position_embeddings: positiveInt.nullish(),
  low_freq_factor: positive.nullish(),
  high_freq_factor: positive.nullish(),
  attention_factor: positive.nullish(),
  beta_fast: positive.nullish(),
  beta_slow: positive.nullish(),
  mscale: z.number().min(0).nullish(),
  mscale_all_dim: z.number().min(0).nullish(),
  truncate: z.boolean().nullish(),
});

export type RopeConfig = z.output<typeof ropeSchema>;

export interface RopeInput {
  headDim: number;
  theta: number;
  /** The model's max_position_embeddings. */
  maxPositions: number;
  rope: RopeConfig;
}

export interface Rope {
  /** [headDim / 2] */
  invFreq: Float32Array;
  /** Multiplies cos and sin. */
  scale: number;
  /** The most tokens that the model is made for, scaling included (vLLM's max_model_len). */
  maxContext: number;
}

const f = Math.fround;

/** @throws FastgenError "model" for an unknown rope_type or a missing parameter. */
export function computeRope(input: RopeInput): Rope {
  const { rope, maxPositions } = input;
  if (rope.partial_rotary_factor != null && rope.partial_rotary_factor !== 1) {
    throw refused("partial_rotary_factor", `is ${rope.partial_rotary_factor}; only 1 is supported`);
  }
  const type = rope.rope_type ?? rope.type ?? "default";
  switch (type) {
    case "default":
    // Dynamic NTK changes the frequencies only past max_position_embeddings, where Fastgen does not go.
    case "dynamic":
      return { invFreq: plain(input), scale: 1, maxContext: maxPositions };
    case "linear": {
      const factor = need(rope, "factor", type);
      return {
        invFreq: plain(input).map((x) => f(x / f(factor))),
        scale: 1,
        maxContext: context(maxPositions * factor),
      };
    }
    case "llama3":
      return { invFreq: llama3(input), scale: 1, maxContext: maxPositions };
    case "yarn":
      return yarn(input);
    default:
      throw refused(
        "rope_type",
        `"${type}" is not supported; Fastgen supports default, linear, dynamic, llama3 and yarn`,
      );
  }
}

function refused(key: string, problem: string): FastgenError {
  return new FastgenError("model", `config.json: rope_parameters.${key} ${problem}`);
}

function need(rope: RopeConfig, key: "factor" | "low_freq_factor" | "high_freq_factor", type: string): number {
  const value = rope[key];
  if (value == null) throw refused(key, `is missing; rope_type "${type}" needs it`);
  return value;
}

function context(tokens: number): number {
  return Math.min(Math.floor(tokens), 2 ** 31 - 1);
}

/** theta^(2i / headDim), i < headDim / 2: wavelength of each pair of dimensions, over 2 pi. */
function wavelengths({ headDim, theta }: RopeInput): Float32Array {
  return Float32Array.from({ length: headDim / 2 }, (_, i) => theta ** f((2 * i) / headDim));
}

function plain(input: RopeInput): Float32Array {
  return wavelengths(input).map((x) => f(1 / x));
}

/** Llama 3.1's scaling: long wavelengths are stretched by `factor`, short ones kept, those in between interpolated. */
function llama3(input: RopeInput): Float32Array {
  const { rope, maxPositions } = input;
  const factor = need(rope, "factor", "llama3");
  const low = need(rope, "low_freq_factor", "llama3");
  const high = need(rope, "high_freq_factor", "llama3");
  if (high <= low) throw refused("high_freq_factor", `is ${high}; it must be larger than low_freq_factor (${low})`);
  const original = rope.original_max_position_embeddings ?? maxPositions;
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

/** YaRN (arXiv:2309.00071). */
function yarn(input: RopeInput): Rope {
  const { rope, headDim, theta, maxPositions } = input;
  const original = rope.original_max_position_embeddings ?? maxPositions;
  const factor = rope.factor ?? maxPositions / original;
  const attentionScale = (mscale: number) => (factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1);
  const scale =
    rope.attention_factor ??
    (rope.mscale && rope.mscale_all_dim
      ? attentionScale(rope.mscale) / attentionScale(rope.mscale_all_dim)
      : attentionScale(1));

  /** The dimension that makes this many turns over the original context. */
  const dimension = (turns: number) => (headDim * Math.log(original / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  const round = rope.truncate ?? true;
  let low = dimension(rope.beta_fast ?? 32);
  let high = dimension(rope.beta_slow ?? 1);
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
