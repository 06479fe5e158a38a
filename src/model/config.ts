/**
 * From config.json to the shape of the model. What Fastgen cannot compute is refused here, by the name of its key, before the
 * weights are downloaded or memory is allocated. Missing keys get transformers' defaults where real checkpoints rely on them.
 */
import { z } from "zod";
import type { FastgenError } from "../errors.ts";
import { architectureKind } from "./architecture-kind.ts";
import { fileError, parseConfigJson, readKeys } from "./config-json.ts";
import { parseQuantization, type Quantization } from "./quantization.ts";
import { computeRope, type Rope } from "./rope.ts";
import type { Dtype, ModelShape } from "./shape.ts";

interface Family {
  modelType: string;
  qkvBias: boolean;
  qkNorm: boolean;
  /** How a sliding window is switched on: never, by sliding_window, or by sliding_window and use_sliding_window. */
  window: "none" | "plain" | "switched";
  /** head_dim when the file does not say; null = hidden_size / num_attention_heads. */
  headDim: number | null;
}

const FAMILIES: Record<string, Family> = {
  LlamaForCausalLM: { modelType: "llama", qkvBias: false, qkNorm: false, window: "none", headDim: null },
  MistralForCausalLM: { modelType: "mistral", qkvBias: false, qkNorm: false, window: "plain", headDim: null },
  MinistralForCausalLM: { modelType: "ministral", qkvBias: false, qkNorm: false, window: "plain", headDim: null },
  Qwen2ForCausalLM: { modelType: "qwen2", qkvBias: true, qkNorm: false, window: "switched", headDim: null },
  Qwen3ForCausalLM: { modelType: "qwen3", qkvBias: false, qkNorm: true, window: "switched", headDim: 128 },
};

export const SUPPORTED_ARCHITECTURES = Object.keys(FAMILIES);

/** The head sizes that libfastgen has kernels for. */
const HEAD_DIMS = [32, 64, 128];

const size = z.int().min(1);

/** What every model uses. Keys that it does not use may hold anything. */
const configSchema = z.looseObject({
  hidden_size: size.max(1 << 17),
  num_hidden_layers: size.max(1024),
  num_attention_heads: size.max(4096),
  num_key_value_heads: size.max(4096).nullish(),
  head_dim: size.nullish(),
  intermediate_size: size.max(1 << 20),
  vocab_size: size.max(1 << 22),
  max_position_embeddings: size.max(2 ** 31 - 1),
  rms_norm_eps: z.number().positive().max(1).default(1e-6),
  hidden_act: z.string().default("silu"),
  tie_word_embeddings: z.boolean().nullish(),
  dtype: z.string().nullish(),
  torch_dtype: z.string().nullish(),
});

const ropeSections = z.looseObject({
  rope_scaling: z.looseObject({}).nullish(),
  rope_parameters: z.looseObject({}).nullish(),
});

const windowSchema = z.looseObject({
  sliding_window: z.int().min(0).nullable().optional(),
  max_window_layers: z.int().min(0).nullish(),
  layer_types: z.array(z.string()).nullish(),
});

type Config = z.output<typeof configSchema>;

export interface ParsedConfig {
  architecture: string;
  shape: ModelShape;
  maxContext: number;
  /** What the file says; null when it says nothing. */
  dtype: Dtype | null;
  /** null for a checkpoint that is not quantised. */
  quantization: Quantization | null;
}

function refused(key: string, problem: string): FastgenError {
  return fileError("config.json", `${key} ${problem}`);
}

/** @throws FastgenError "model" for a config.json of a model that is not supported, whatever else it says. */
export function checkArchitecture(text: string): void {
  chooseFamily(parseConfigJson("config.json", text));
}

/**
 * @param modelopt the text of hf_quant_config.json, where the model has one.
 * @throws FastgenError "model" naming the key.
 */
export function parseConfig(text: string, modelopt: string | null = null): ParsedConfig {
  const json = parseConfigJson("config.json", text);
  // First of all: the keys of an unknown architecture may mean something else.
  const { architecture, family } = chooseFamily(json);
  const quantization = parseQuantization(json, modelopt);
  const config = readKeys("config.json", json, configSchema);
  refuseUnsupported(architecture, config);

  const heads = config.num_attention_heads;
  const kvHeads = config.num_key_value_heads ?? heads;
  if (heads % kvHeads !== 0) {
    throw refused("num_key_value_heads", `is ${kvHeads}, which does not divide num_attention_heads (${heads})`);
  }
  const headDim = config.head_dim ?? family.headDim ?? config.hidden_size / heads;
  if (!HEAD_DIMS.includes(headDim)) {
    const derived = config.head_dim == null && family.headDim === null ? " (hidden_size / num_attention_heads)" : "";
    throw refused("head_dim", `is ${headDim}${derived}; Fastgen supports ${HEAD_DIMS.join(", ")}`);
  }
  const { invFreq, scale, maxContext } = readRope(config, headDim);
  return {
    architecture,
    maxContext,
    quantization,
    dtype: readDtype(config.dtype ?? config.torch_dtype),
    shape: {
      layers: config.num_hidden_layers,
      hiddenSize: config.hidden_size,
      heads,
      kvHeads,
      headDim,
      intermediateSize: config.intermediate_size,
      vocabSize: config.vocab_size,
      qkvBias: family.qkvBias,
      qkNorm: family.qkNorm,
      tiedEmbeddings: config.tie_word_embeddings ?? false,
      rmsNormEps: config.rms_norm_eps,
      ropeScale: scale,
      ropeInvFreq: invFreq,
      layerWindow: layerWindows(config, family, maxContext),
    },
  };
}

function chooseFamily(json: Record<string, unknown>): { architecture: string; family: Family } {
  const { architectures, model_type } = json;
  const named = Array.isArray(architectures) ? architectures[0] : undefined;
  const architecture =
    named ?? SUPPORTED_ARCHITECTURES.find((name) => FAMILIES[name]!.modelType === model_type) ?? model_type;
  const family = typeof architecture === "string" && Object.hasOwn(FAMILIES, architecture) && FAMILIES[architecture];
  if (family) return { architecture: architecture as string, family };
  const name = typeof architecture === "string" ? architecture : "";
  const kind = architectureKind(name, json);
  const what = name ? `the architecture ${name} is not supported` : "no architecture is named";
  const known = SUPPORTED_ARCHITECTURES.join(", ");
  throw fileError("config.json", `${kind ? `this is ${kind}: ` : ""}${what}; Fastgen supports ${known}`);
}

function refuseUnsupported(architecture: string, config: Config): void {
  if (config.hidden_act !== "silu" && config.hidden_act !== "swish") {
    throw refused("hidden_act", `is "${config.hidden_act}"; only silu is supported`);
  }
  if (config.mlp_bias) throw refused("mlp_bias", "is true; a bias in the MLP is not supported");
  // Qwen2 has biases on q, k and v whatever this key says. In the other families it also puts one on o_proj.
  if (config.attention_bias && architecture !== "Qwen2ForCausalLM") {
    throw refused("attention_bias", `is true; ${architecture} with a bias on o_proj is not supported`);
  }
}

function readRope(config: Config, headDim: number): Rope {
  const sections = readKeys("config.json", config, ropeSections);
  // As in transformers, an older rope_scaling that says something comes first.
  const section = Object.keys(sections.rope_scaling ?? {}).length > 0 ? "rope_scaling" : "rope_parameters";
  const rope = sections[section] ?? {};
  return computeRope({ headDim, maxPositions: config.max_position_embeddings, section, rope, beside: config });
}

function layerWindows(config: Config, family: Family, maxContext: number): Int32Array {
  const layers = config.num_hidden_layers;
  const windows = new Int32Array(layers);
  if (family.window === "none" || (family.window === "switched" && !config.use_sliding_window)) return windows;
  const { sliding_window, max_window_layers, layer_types: types } = readKeys("config.json", config, windowSchema);
  // The default of transformers, which Mistral checkpoints without the key rely on.
  const set = sliding_window === undefined ? 4096 : sliding_window;
  if (types && types.length !== layers) {
    throw refused("layer_types", `has ${types.length} entries for ${layers} layers (num_hidden_layers)`);
  }
  for (let layer = 0; layer < layers; layer++) {
    const type = types?.[layer];
    if (type !== undefined && type !== "full_attention" && type !== "sliding_attention") {
      throw refused(`layer_types[${layer}]`, `is "${type}"; Fastgen supports full_attention and sliding_attention`);
    }
    const firstSliding = family.window === "switched" ? (max_window_layers ?? 28) : 0;
    const sliding = type === undefined ? layer >= firstSliding : type === "sliding_attention";
    if (!sliding || (set === null && type === undefined)) continue;
    if (set === null || set === 0) throw refused("sliding_window", `is ${set}, and layer ${layer} needs it`);
    // A window as long as the context changes nothing, and full attention costs less.
    windows[layer] = set >= maxContext ? 0 : set;
  }
  return windows;
}

function readDtype(name: string | null | undefined): Dtype | null {
  const dtype = name?.replace(/^torch\./, "");
  if (dtype == null || dtype === "auto") return null;
  if (dtype === "float32" || dtype === "float16" || dtype === "bfloat16") return dtype;
  throw refused("dtype", `is "${name}"; Fastgen supports float32, float16 and bfloat16`);
}
