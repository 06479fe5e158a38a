/** Quantised checkpoints that Fastgen does not read: known by config.json, or by the names of their tensors. */
import { fileError } from "./config-json.ts";

const CURE = "quantised checkpoints are not supported; use the original model in bfloat16, float16 or float32";

/** @throws FastgenError "model" naming the format and the key. */
export function refuseQuantised(config: Record<string, unknown>): void {
  for (const key of ["quantization_config", "quantization", "compression_config"]) {
    const section = config[key];
    if (typeof section !== "object" || section === null || Object.keys(section).length === 0) continue;
    const { quant_method, group_size, bits, ...rest } = section as Record<string, unknown>;
    const isMlx = quant_method == null && group_size !== undefined && bits !== undefined;
    const unnamed = "load_in_4bit" in rest || "load_in_8bit" in rest ? "bitsandbytes" : "unknown";
    const format = isMlx ? "MLX's format" : `quant_method ${JSON.stringify(quant_method ?? unnamed)}`;
    throw fileError("config.json", `${key} (${format}): ${CURE}`);
  }
}

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
  return format ? `is quantised (${format}: it has ${name}); ${CURE}` : null;
}
