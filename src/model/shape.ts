/** A model as libfastgen sees it: fg_shape and fg_tensor of fastgen.h, in TypeScript. */

import type { WeightSource } from "../types.ts";

export type Dtype = "float32" | "float16" | "bfloat16";

/** What tensors of a checkpoint, and a KV cache, may be stored as. */
export type StoredDtype = Dtype | "float8_e4m3";

/** The scales of an FP8 matrix, as fg_tensor has them: weight = fp8 * scale. */
export interface Scale {
  /** [rows][cols] */
  values: Float32Array;
  rows: number;
  cols: number;
  /** The scale of every input; 0 = each token's own. */
  input: number;
  /** A token's scale comes from the lesser of its greatest magnitude and this; 0 = none. */
  inputBound: number;
}

export interface ModelShape {
  layers: number;
  hiddenSize: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  intermediateSize: number;
  vocabSize: number;
  qkvBias: boolean;
  qkNorm: boolean;
  tiedEmbeddings: boolean;
  rmsNormEps: number;
  /** Multiplies cos and sin: YaRN's attention factor, else 1. */
  ropeScale: number;
  /** [headDim / 2], scaling applied. */
  ropeInvFreq: Float32Array;
  /** [layers]: sliding window in tokens, 0 = full attention. */
  layerWindow: Int32Array;
}

/** fg_role of fastgen.h; the index is the role's number. */
// biome-ignore format: one role a line would hide the order
export const ROLES = [
  "embed", "finalNorm", "lmHead", "attnNorm", "q", "k", "v", "o", "qBias", "kBias", "vBias", "qNorm", "kNorm",
  "mlpNorm", "gate", "up", "down",
] as const;
export type Role = (typeof ROLES)[number];

/** One tensor of a checkpoint and where its bytes are. */
export interface TensorSource {
  role: Role;
  /** 0 for the tensors that belong to no layer. */
  layer: number;
  dtype: StoredDtype;
  /** Of float8_e4m3, and of nothing else. */
  scale?: Scale;
  /** [rows] or [rows, cols]. */
  dims: number[];
  /** A file and the place in it; bytes in memory (the embedded model); or device memory of another process, by its CUDA IPC
   * handle of 64 bytes. */
  where:
    | { path: string; offset: number; bytes: number }
    | { data: Uint8Array }
    | { ipcHandle: Uint8Array; offset: number; bytes: number };
}

/** A model ready to be opened: everything read from its folder but the weights themselves. */
export interface Model {
  /** As the caller named it: a directory or "org/name". */
  name: string;
  /** The directory of its files; null for the embedded model. */
  directory: string | null;
  /** "LlamaForCausalLM" */
  architecture: string;
  shape: ModelShape;
  /** max_position_embeddings, scaling included. */
  maxContext: number;
  /** The checkpoint's own dtype. */
  dtype: Dtype;
  /** "fbgemm_fp8"; null for a checkpoint that is not quantised. */
  quantization: string | null;
  tensors: TensorSource[];
  /**
   * The tensors of other weights of this model.
   * @throws FastgenError "model" naming what does not fit.
   */
  weightsIn(source: WeightSource): Promise<TensorSource[]>;
  files: ModelFiles;
}

/** The text of the files beside the weights; null for a file that the model lacks. */
export interface ModelFiles {
  tokenizer: string; // tokenizer.json
  tokenizerConfig: string | null;
  generationConfig: string | null;
  config: string;
  chatTemplate: string | null; // chat_template.jinja
  /** The files of older versions of transformers, beside which newer ones need not be there. */
  chatTemplateJson: string | null; // chat_template.json
  specialTokensMap: string | null; // special_tokens_map.json
  addedTokens: string | null; // added_tokens.json
  /** additional_chat_templates/NAME.jinja, by NAME. */
  namedTemplates: Record<string, string>;
}
