/** The tensors of a checkpoint, in one file or many: which role each has, and whether all are there with the right shapes. */
import { FastgenError } from "../errors.ts";
import { MAX_SAFETENSORS_HEADER_BYTES } from "../limits.ts";
import { quantisedTensor } from "./quantised-tensors.ts";
import type { Quantization } from "./quantization.ts";
import { type ReadAt, readSafetensorsHeader, type StoredTensor } from "./safetensors.ts";
import { Scales } from "./scales.ts";
import type { ModelShape, Role, StoredDtype, TensorSource } from "./shape.ts";
import {
  INDEX_FILE,
  missingWeights,
  noNewWeights,
  noWeights,
  numberedShards,
  parseIndex,
  WEIGHTS_FILE,
} from "./weight-files.ts";

/** The files of a model, in a directory or in memory. */
export interface ModelStore {
  /** Names the model in errors. */
  label: string;
  /** The model is served already, and these are new values of its weights: errors say what a trainer can do. */
  isUpdate: boolean;
  /** The size of a file in bytes; null when there is no such file. */
  size(file: string): Promise<number | null>;
  read(file: string, offset: number, length: number): Promise<Uint8Array>;
  where(file: string, offset: number, bytes: number): TensorSource["where"];
  /** What is at the top level; names of folders end in "/", those of broken links in "@". */
  list(): Promise<string[]>;
  /** Paths of the chat templates that have a name. */
  templates(): Promise<string[]>;
}

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
    ["lmHead", [vocabSize, hiddenSize]],
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

export interface Tensors {
  tensors: TensorSource[];
  /** Whether the embedding is also the LM head: what config.json says, unless the checkpoint says otherwise. */
  tied: boolean;
  /** What the user should know of the checkpoint. */
  notices: string[];
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
): Promise<Tensors> {
  return tensorTable(await storedTensors(store), store, shape, architecture, quantization);
}

/** The same of tensors that have been found: `file` is what the store knows each by. */
export async function tensorTable(
  all: readonly Stored[],
  store: ModelStore,
  shape: ModelShape,
  architecture: string,
  quantization: Quantization | null = null,
): Promise<Tensors> {
  const scales = new Scales(quantization, store.label, store.read);
  const expected = expectedDims(shape);
  const found = new Map<string, PlacedTensor>();
  for (const stored of all) {
    const { name } = stored.tensor;
    if (IGNORED.test(name) || scales.take(stored.file, stored.tensor)) continue;
    const placed = place(store, shape, architecture, expected, stored);
    const key = `${placed.role} ${placed.layer}`;
    if (found.has(key)) throw new FastgenError("model", `${store.label}: ${name} is there twice`);
    found.set(key, placed);
  }
  const { tied, notices } = await settleHead(store, shape, found);
  if (tied) expected.delete("lmHead");
  for (const placed of found.values()) {
    if (placed.dtype === "float8_e4m3") placed.scale = await scales.of(placed.name, placed.dims);
  }
  const perLayer = new Set(Object.values(ROLE_OF_LAYER_NAME));
  for (const role of expected.keys()) {
    const layers = perLayer.has(role) ? shape.layers : 1;
    for (let layer = 0; layer < layers; layer++) {
      if (!found.has(`${role} ${layer}`)) throw missing(store, role, layer);
    }
  }
  const tensors = [...found.values()].map(({ name: _, file, offset, bytes, ...rest }) => ({
    ...rest,
    where: store.where(file, offset, bytes),
  }));
  return { tensors, tied, notices };
}

/** A tensor of the model and its place in a file. */
interface PlacedTensor extends Omit<TensorSource, "where"> {
  name: string;
  file: string;
  offset: number;
  bytes: number;
}

/** The role of a stored tensor. @throws FastgenError "model" for one that the model does not have in this form. */
function place(
  store: ModelStore,
  shape: ModelShape,
  architecture: string,
  expected: Map<Role, number[]>,
  { file, tensor }: Stored,
): PlacedTensor {
  const { name, offset, bytes } = tensor;
  const refused = (problem: string) => new FastgenError("model", `${store.label}: ${problem}`);
  const where = parseName(name);
  const dims = where && expected.get(where.role);
  if (!dims || where.layer >= shape.layers) {
    const quantised = quantisedTensor(name);
    if (quantised) throw new FastgenError("model", `${store.label} ${quantised}`);
    throw refused(`${file} has the tensor ${name}, which ${architecture} does not have`);
  }
  const dtype = Object.hasOwn(DTYPES, tensor.dtype) ? DTYPES[tensor.dtype]! : null;
  if (!dtype)
    throw refused(
      `${name} is stored as ${tensor.dtype}; Fastgen reads F32, F16, BF16 and, with scales, F8_E4M3: use the original model in one of these`,
    );
  if (tensor.dims.length !== dims.length || tensor.dims.some((n, i) => n !== dims[i])) {
    const wants = store.isUpdate ? "the model that is served has" : "by config.json it must be";
    throw refused(`${name} has the shape [${tensor.dims}]; ${wants} [${dims}]`);
  }
  return { ...where, dtype, dims: tensor.dims, name, file, offset, bytes };
}

/**
 * Whether an embedding that config.json ties to the LM head is. As in transformers, both stored with different values are
 * both taken, and one alone is taken for both.
 */
async function settleHead(store: ModelStore, shape: ModelShape, found: Map<string, PlacedTensor>) {
  const [embed, head] = [found.get("embed 0"), found.get("lmHead 0")];
  const notices: string[] = [];
  if (!shape.tiedEmbeddings || !head) return { tied: shape.tiedEmbeddings, notices };
  if (embed && !(await sameValues(store, embed, head))) {
    notices.push(
      `${store.label}: config.json ties the LM head to the embedding (tie_word_embeddings), but the weights have an lm_head.weight with other values: lm_head.weight is taken, as in transformers 5. To tie them, remove it; else set tie_word_embeddings to false.`,
    );
    return { tied: false, notices };
  }
  found.delete("lmHead 0");
  if (!embed) found.set("embed 0", { ...head, role: "embed" });
  return { tied: true, notices };
}

/** Places at which two tensors are compared. A trained LM head differs nearly everywhere. */
const SAMPLES = 64;
const SAMPLE_BYTES = 4096;

/** Whether two tensors of one shape hold the same, by samples from the first byte to the last. */
async function sameValues(store: ModelStore, a: PlacedTensor, b: PlacedTensor): Promise<boolean> {
  if (a.dtype !== b.dtype) return false;
  const length = Math.min(SAMPLE_BYTES, a.bytes);
  const same = async (_: unknown, i: number) => {
    const at = Math.floor(((a.bytes - length) * i) / (SAMPLES - 1));
    const [x, y] = await Promise.all([a, b].map(({ file, offset }) => store.read(file, offset + at, length)));
    return Buffer.compare(x!, y!) === 0;
  };
  return (await Promise.all(Array.from({ length: SAMPLES }, same))).every(Boolean);
}

function missing({ label, isUpdate }: ModelStore, role: Role, layer: number): FastgenError {
  const layerName = Object.keys(ROLE_OF_LAYER_NAME).find((name) => ROLE_OF_LAYER_NAME[name] === role);
  const name = layerName
    ? `model.layers.${layer}.${layerName}`
    : role === "lmHead"
      ? "lm_head.weight"
      : `model.${Object.keys(ROLE_OF_NAME).find((key) => ROLE_OF_NAME[key] === role)}`;
  const why = isUpdate
    ? "an update brings every tensor of the model"
    : "the checkpoint is incomplete, or config.json belongs to another model";
  return new FastgenError("model", `${label}: the tensor ${name} is missing; ${why}`);
}

interface Stored {
  file: string;
  tensor: StoredTensor;
}

/** Every tensor in the files of weights. */
async function storedTensors(store: ModelStore): Promise<Stored[]> {
  const header = async (file: string): Promise<Stored[] | null> => {
    const bytes = await store.size(file);
    if (bytes === null) return null;
    const read: ReadAt = (offset, length) => store.read(file, offset, length);
    const tensors = await readSafetensorsHeader(`${store.label}: ${file}`, bytes, read);
    return tensors.map((tensor) => ({ file, tensor }));
  };
  const headers = async (files: readonly string[], named: string): Promise<Stored[]> => {
    const read = await Promise.all(files.map(header));
    const absent = files.filter((_, i) => read[i] === null);
    if (absent.length > 0) throw missingWeights(store, absent, files.length, named);
    return read.flatMap((tensors) => tensors ?? []);
  };

  const single = await header(WEIGHTS_FILE);
  if (single) return single;
  const indexBytes = await store.size(INDEX_FILE);
  if (indexBytes === null) {
    const shards = numberedShards(await store.list());
    const what = shards ? "" : (store.isUpdate ? noNewWeights : noWeights)(await store.list());
    if (!shards) throw new FastgenError("model", `${store.label} ${what}`);
    return headers(shards, "their numbers name");
  }
  if (indexBytes > MAX_SAFETENSORS_HEADER_BYTES) {
    throw new FastgenError(
      "model",
      `${store.label}: ${INDEX_FILE} has ${indexBytes} bytes; at most ${MAX_SAFETENSORS_HEADER_BYTES} are allowed`,
    );
  }
  const weightMap = parseIndex(new TextDecoder().decode(await store.read(INDEX_FILE, 0, indexBytes)));
  const stored = await headers([...new Set(weightMap.values())], `${INDEX_FILE} names`);
  // A shard may hold a tensor that the index places in another one.
  const owned = stored.filter(({ file, tensor }) => (weightMap.get(tensor.name) ?? file) === file);
  const seen = new Set(owned.map(({ tensor }) => tensor.name));
  for (const [name, file] of weightMap) {
    if (seen.has(name)) continue;
    throw new FastgenError("model", `${store.label}: ${INDEX_FILE} places ${name} in ${file}, which does not have it`);
  }
  return owned;
}
