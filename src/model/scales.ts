/** The scales of an FP8 checkpoint: which stored tensors they are, and what they say of each weight. */
import { FastgenError } from "../errors.ts";
import { BLOCK, type Quantization } from "./quantization.ts";
import type { StoredTensor } from "./safetensors.ts";
import type { Scale } from "./shape.ts";

/** Reads bytes of a file of the model. */
type Read = (file: string, offset: number, length: number) => Promise<Uint8Array>;

interface Stored {
  file: string;
  tensor: StoredTensor;
}

/** Spellings of compressed-tensors, fbgemm_fp8, ModelOpt and transformers; all multiply. */
const WEIGHT_SCALES = ["weight_scale", "weight_scale_inv"];
const INPUT_SCALES = ["input_scale", "activation_scale"];
/** fbgemm_fp8's copy of what config.json says. */
const IGNORED = "input_scale_ub";
const SUFFIX = new RegExp(`^(.+)\\.(${[...WEIGHT_SCALES, ...INPUT_SCALES, IGNORED].join("|")})$`);

/**
 * Scales for an FP8 KV cache, in all their spellings. They are not used: a scale for each token and head, which the library
 * computes, is more precise than one for all (ARCHITECTURE.md).
 */
const CACHE_SCALES =
  /\.self_attn\.(?:attn\.|(?:[qkvo]|qkv)_proj\.)?(?:(?:q|k|v|kv|prob|qk)_(?:cache_)?(?:scale|zero_point)|kv_cache_scale)$|\.self_attn\.(?:[qkv]|qkv)_proj\.output_(?:scale|zero_point)$/;

/** Only F32, BF16 and F16 hold scales. */
const FLOATS: Record<string, (bytes: Uint8Array) => Float32Array> = {
  F32: (bytes) => new Float32Array(bytes.slice().buffer),
  BF16: (bytes) => {
    const halves = new Uint16Array(bytes.slice().buffer);
    return new Float32Array(Uint32Array.from(halves, (half) => half << 16).buffer);
  },
  F16: (bytes) => Float32Array.from(new Float16Array(bytes.slice().buffer)),
};

export class Scales {
  private readonly found = new Map<string, Stored>();

  /** @param label names the model in errors. */
  constructor(
    private readonly quantization: Quantization | null,
    private readonly label: string,
    private readonly read: Read,
  ) {}

  private refused(problem: string): FastgenError {
    return new FastgenError("model", `${this.label}: ${problem}`);
  }

  /** Takes a tensor that is a scale; false for any other. */
  take(file: string, tensor: StoredTensor): boolean {
    if (!this.quantization) return false;
    if (CACHE_SCALES.test(tensor.name)) return true;
    if (!SUFFIX.test(tensor.name)) return false;
    if (this.found.has(tensor.name)) throw this.refused(`${tensor.name} is there twice`);
    this.found.set(tensor.name, { file, tensor });
    return true;
  }

  /**
   * The scales of an FP8 weight, after all tensors have been taken.
   * @param weight its name, which ends in ".weight"
   * @throws FastgenError "model" when they are missing, have another shape, or are not positive numbers.
   */
  async of(weight: string, [rows = 0, cols]: readonly number[]): Promise<Scale> {
    const { quantization } = this;
    if (cols === undefined) throw this.refused(`${weight} is FP8 (F8_E4M3); only the weights of linear layers may be`);
    const layer = weight.replace(/\.weight$/, "");
    if (!quantization) {
      const cure = "take a copy of the model that has its quantization_config, or the original model";
      throw this.refused(`${weight} is FP8 (F8_E4M3), and config.json names no quantisation: ${cure}`);
    }
    const scheme = quantization.inputs(layer);
    if (!scheme) {
      throw this.refused(
        `${weight} is FP8 (F8_E4M3), but by config.json (${quantization.format}) the layer is not quantised`,
      );
    }
    const stored = this.one(layer, WEIGHT_SCALES);
    if (!stored)
      throw this.refused(`${weight} is FP8 (F8_E4M3) and has no scale: ${layer}.${WEIGHT_SCALES[0]} is missing`);
    const dims = scaleDims(stored.tensor.dims, rows, cols);
    if (!dims) {
      const blocks = `[${Math.ceil(rows / BLOCK)},${Math.ceil(cols / BLOCK)}]`;
      throw this.refused(
        `${stored.tensor.name} has the shape [${stored.tensor.dims}]; for ${weight} [${rows},${cols}] it must be [1], [${rows},1] or, by blocks of ${BLOCK} x ${BLOCK}, ${blocks}`,
      );
    }
    const values = await this.values(stored);
    const byBlock = dims[1] > 1 || (dims[0] > 1 && dims[0] < rows);
    const input = scheme.static && !byBlock ? await this.inputScale(layer) : 0;
    return { values, rows: dims[0], cols: dims[1], input, inputBound: byBlock ? 0 : scheme.bound };
  }

  private async inputScale(layer: string): Promise<number> {
    const stored = this.one(layer, INPUT_SCALES);
    if (!stored) {
      throw this.refused(`${layer} has no ${INPUT_SCALES[0]}, though its activations are quantised with static scales`);
    }
    const values = await this.values(stored);
    if (values.length !== 1)
      throw this.refused(`${stored.tensor.name} has the shape [${stored.tensor.dims}]; it must be one number`);
    return values[0]!;
  }

  private one(layer: string, names: readonly string[]): Stored | null {
    for (const name of names) {
      const stored = this.found.get(`${layer}.${name}`);
      if (stored) return stored;
    }
    return null;
  }

  private async values({ file, tensor }: Stored): Promise<Float32Array> {
    const { name, dtype, offset, bytes } = tensor;
    const convert = FLOATS[dtype];
    if (!convert) throw this.refused(`${name} is stored as ${dtype}; scales must be F32, F16 or BF16`);
    const data = await this.read(file, offset, bytes);
    if (data.length < bytes) throw this.refused(`${file} ended while ${name} was read: download it again`);
    const values = convert(data);
    const bad = values.findIndex((value) => !(value > 0 && value < Number.POSITIVE_INFINITY));
    if (bad >= 0)
      throw this.refused(`${name} holds ${values[bad]} (number ${bad}); a scale must be finite and above 0`);
    return values;
  }
}

/** [rows, cols] of the scales, as fg_tensor has them; null for a shape that fits no granularity. */
function scaleDims(dims: readonly number[], rows: number, cols: number): [number, number] | null {
  const is = (...wanted: number[]) => dims.length === wanted.length && dims.every((n, i) => n === wanted[i]);
  if (dims.length <= 2 && dims.every((n) => n === 1)) return [1, 1];
  if (is(rows) || is(rows, 1)) return [rows, 1];
  const blocks = [Math.ceil(rows / BLOCK), Math.ceil(cols / BLOCK)] as const;
  return is(...blocks) ? [...blocks] : null;
}
