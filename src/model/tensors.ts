/** The tensors of a checkpoint, in one file or many: which role each has, and whether all are there with the right shapes. */
import { z } from "zod";
import { FastgenError } from "../errors.ts";
import type { Quantization } from "./quantization.ts";
import { type ReadAt, readSafetensorsHeader, type StoredTensor } from "./safetensors.ts";
import { Scales } from "./scales.ts";
import type { ModelShape, Role, StoredDtype, TensorSource } from "./shape.ts";

/** The files of a model, in a directory or in memory. */
export interface ModelStore {
  /** Names the model in errors. */
  label: string;
  /** The size of a file in bytes; null when there is no such file. */
  size(file: string): Promise<number | null>;
  read(file: string, offset: number, length: number): Promise<Uint8Array>;
  where(file: string, offset: number, bytes: number): TensorSource["where"];
  list(): Promise<string[]>;
}

export const WEIGHTS_FILE = "model.safetensors";
export const INDEX_FILE = "model.safetensors.index.json";

const DTYPES: Record<string, StoredDtype> = {
  F32: "float32",
  F16: "float16",
  BF16: "bfloat16",
  F8_E4M3: "float8_e4m3",
};

const ROLE_OF_NAME: Record<string, Role> = {
  "embed_tokens.weight": "embed",
  "norm.weight": "finalNorm",
  "lm_head.weight": "lmHead",
};

const ROLE_OF_LAYER_NAME: Record<string, Role> = {
  "input_layernorm.weight": "attnNorm",
  "self_attn.q_proj.weight": "q",
  "self_attn.k_proj.weight": "k",
  "self_attn.v_proj.weight": "v",
  "self_attn.o_proj.weight": "o",
  "self_attn.q_proj.bias": "qBias",
  "self_attn.k_proj.bias": "kBias",
  "self_attn.v_proj.bias": "vBias",
  "self_attn.q_norm.weight": "qNorm",
  "self_attn.k_norm.weight": "kNorm",
  "post_attention_layernorm.weight": "mlpNorm",
  "mlp.gate_proj.weight": "gate",
  "mlp.up_proj.weight": "up",
  "mlp.down_proj.weight": "down",
};

/** Frequencies that older checkpoints also saved. config.json determines them. */
const IGNORED = /(^|\.)rotary_emb\.inv_freq$/;

/** The dimensions of each role in a model of this shape. Roles that the model lacks are absent. */
function expectedDims(shape: ModelShape): Map<Role, number[]> {
  const { hiddenSize, headDim, intermediateSize, vocabSize } = shape;
  const q = shape.heads * headDim;
  const kv = shape.kvHeads * headDim;
  const dims: [Role, number[]][] = [
    ["embed", [vocabSize, hiddenSize]],
    ["finalNorm", [hiddenSize]],
    ["attnNorm", [hiddenSize]],
    ["q", [q, hiddenSize]],
    ["k", [kv, hiddenSize]],
    ["v", [kv, hiddenSize]],
    ["o", [hiddenSize, q]],
    ["mlpNorm", [hiddenSize]],
    ["gate", [intermediateSize, hiddenSize]],
    ["up", [intermediateSize, hiddenSize]],
    ["down", [hiddenSize, intermediateSize]],
  ];
  if (!shape.tiedEmbeddings) dims.push(["lmHead", [vocabSize, hiddenSize]]);
  if (shape.qkvBias) dims.push(["qBias", [q]], ["kBias", [kv]], ["vBias", [kv]]);
  if (shape.qkNorm) dims.push(["qNorm", [headDim]], ["kNorm", [headDim]]);
  return new Map(dims);
}

function parseName(name: string): { role: Role; layer: number } | null {
  const own = (table: Record<string, Role>, key: string) => (Object.hasOwn(table, key) ? table[key]! : null);
  const bare = name.startsWith("model.") ? name.slice(6) : name;
  const match = /^layers\.(\d{1,4})\.(.+)$/.exec(bare);
  const role = match ? own(ROLE_OF_LAYER_NAME, match[2]!) : own(ROLE_OF_NAME, bare);
  return role ? { role, layer: match ? Number(match[1]) : 0 } : null;
}

/**
 * The tensor table of a checkpoint: every tensor that `shape` needs, exactly once.
 * @throws FastgenError "model" naming the file and the tensor.
 */
export async function readTensors(
  store: ModelStore,
  shape: ModelShape,
  architecture: string,
  quantization: Quantization | null = null,
): Promise<TensorSource[]> {
  const scales = new Scales(quantization, store.label, store.read);
  const fp8: { source: TensorSource; name: string }[] = [];
  const expected = expectedDims(shape);
  const perLayer = new Set(Object.values(ROLE_OF_LAYER_NAME));
  const found = new Map<string, TensorSource>();
  for (const { file, tensor } of await storedTensors(store)) {
    const { name } = tensor;
    if (IGNORED.test(name) || scales.take(file, tensor)) continue;
    const place = parseName(name);
    if (place?.role === "lmHead" && shape.tiedEmbeddings) continue;
    const dims = place && expected.get(place.role);
    if (!dims || place.layer >= shape.layers) {
      throw new FastgenError(
        "model",
        `${store.label}: ${file} has the tensor ${name}, which ${architecture} does not have`,
      );
    }
    const dtype = Object.hasOwn(DTYPES, tensor.dtype) ? DTYPES[tensor.dtype]! : null;
    if (!dtype) {
      throw new FastgenError(
        "model",
        `${store.label}: ${name} is stored as ${tensor.dtype}; Fastgen reads F32, F16, BF16 and, with scales, F8_E4M3: use the original model in one of these`,
      );
    }
    if (tensor.dims.length !== dims.length || tensor.dims.some((n, i) => n !== dims[i])) {
      throw new FastgenError(
        "model",
        `${store.label}: ${name} has the shape [${tensor.dims}]; by config.json it must be [${dims}]`,
      );
    }
    const key = `${place.role} ${place.layer}`;
    if (found.has(key)) throw new FastgenError("model", `${store.label}: ${name} is there twice`);
    const where = store.where(file, tensor.offset, tensor.bytes);
    const source: TensorSource = { ...place, dtype, dims: tensor.dims, where };
    if (dtype === "float8_e4m3") fp8.push({ source, name });
    found.set(key, source);
  }
  for (const { source, name } of fp8) source.scale = await scales.of(name, source.dims);
  for (const role of expected.keys()) {
    const layers = perLayer.has(role) ? shape.layers : 1;
    for (let layer = 0; layer < layers; layer++) {
      if (!found.has(`${role} ${layer}`)) throw missing(store.label, role, layer);
    }
  }
  return [...found.values()];
}

function missing(label: string, role: Role, layer: number): FastgenError {
  const layerName = Object.keys(ROLE_OF_LAYER_NAME).find((name) => ROLE_OF_LAYER_NAME[name] === role);
  const name = layerName
    ? `model.layers.${layer}.${layerName}`
    : role === "lmHead"
      ? "lm_head.weight"
      : `model.${Object.keys(ROLE_OF_NAME).find((key) => ROLE_OF_NAME[key] === role)}`;
  return new FastgenError(
    "model",
    `${label}: the tensor ${name} is missing; the checkpoint is incomplete, or config.json belongs to another model`,
  );
}

const indexSchema = z.looseObject({ weight_map: z.record(z.string(), z.string()) });

/** From tensor names to the files of an index. The files have no folders: an index must not point outside its model. */
export function parseIndex(text: string): Map<string, string> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new FastgenError("model", `${INDEX_FILE} is not valid JSON: ${(error as Error).message}`);
  }
  const parsed = indexSchema.safeParse(json);
  if (!parsed.success) throw new FastgenError("model", `${INDEX_FILE}: weight_map: ${parsed.error.issues[0]!.message}`);
  for (const file of Object.values(parsed.data.weight_map)) {
    if (!/^[\w.-]+\.safetensors$/.test(file)) {
      throw new FastgenError("model", `${INDEX_FILE}: ${JSON.stringify(file)} is not the name of a safetensors file`);
    }
  }
  return new Map(Object.entries(parsed.data.weight_map));
}

async function storedTensors(store: ModelStore): Promise<{ file: string; tensor: StoredTensor }[]> {
  const header = async (file: string) => {
    const bytes = await store.size(file);
    if (bytes === null) return null;
    const read: ReadAt = (offset, length) => store.read(file, offset, length);
    return readSafetensorsHeader(`${store.label}: ${file}`, bytes, read);
  };
  const single = await header(WEIGHTS_FILE);
  if (single) return single.map((tensor) => ({ file: WEIGHTS_FILE, tensor }));

  const indexBytes = await store.size(INDEX_FILE);
  if (indexBytes === null) throw noWeights(store.label, await store.list());
  const weightMap = parseIndex(new TextDecoder().decode(await store.read(INDEX_FILE, 0, indexBytes)));
  const result: { file: string; tensor: StoredTensor }[] = [];
  const absent: string[] = [];
  const seen = new Set<string>();
  for (const file of new Set(weightMap.values())) {
    const tensors = await header(file);
    if (!tensors) absent.push(file);
    for (const tensor of tensors ?? []) {
      const owner = weightMap.get(tensor.name);
      if (owner !== undefined && owner !== file) continue;
      seen.add(tensor.name);
      result.push({ file, tensor });
    }
  }
  if (absent.length > 0) {
    throw new FastgenError(
      "model",
      `${store.label}: ${absent.join(", ")} ${absent.length > 1 ? "are" : "is"} missing, though ${INDEX_FILE} names ${absent.length > 1 ? "them" : "it"}: download the model again`,
    );
  }
  for (const [name, file] of weightMap) {
    if (!seen.has(name))
      throw new FastgenError(
        "model",
        `${store.label}: ${INDEX_FILE} places ${name} in ${file}, which does not have it`,
      );
  }
  return result;
}

function noWeights(label: string, files: string[]): FastgenError {
  const other = files.find((file) => /\.(bin|pth|pt|gguf)$/.test(file));
  const hint = other
    ? `; ${other} is there, but only safetensors can be read: use a revision of the model that has them`
    : ": download the model again, or use --load-format dummy for random weights";
  return new FastgenError("model", `${label}: neither ${WEIGHTS_FILE} nor ${INDEX_FILE} is there${hint}`);
}
