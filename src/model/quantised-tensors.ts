/** Tensors of quantised checkpoints that Fastgen does not read, known by their names. */
import { CURE } from "./quantization.ts";

const TENSORS: [pattern: RegExp, format: string][] = [
  [/\.(qweight|qzeros|g_idx)$/, "GPTQ or AWQ"],
  [/\.weight\.(absmax|quant_map|nested_absmax|quant_state\..*)$|\.SCB$/, "bitsandbytes"],
  [/\.(q_weight|q_scale|q_perm|q_groups|trellis|suh|svh)$/, "ExLlama"],
  [/\.(scales|biases)$/, "MLX"],
  [
    /\.(weight_packed|weight_shape|weight_scale|weight_scale_inv|weight_zero_point|input_scale)$/,
    "compressed tensors or FP8",
  ],
];

/** What a tensor with a name that no model has says of its checkpoint; null when it says nothing. */
export function quantisedTensor(name: string): string | null {
  const format = TENSORS.find(([pattern]) => pattern.test(name))?.[1];
  return format ? `is quantised in a way that is not supported (${format}: it has ${name}). ${CURE}` : null;
}
