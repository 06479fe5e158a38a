/**
 * Writes a model's weights as bf16 GGUF, so that llama.cpp can run what libfastgen runs. For the bench only: prompts are
 * token ids, and the texts of the vocabulary are made up. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 */
import { closeSync, openSync, readSync, writeSync } from "node:fs";
import type { Model, Role, TensorSource } from "../src/model/shape.ts";

const NAMES: Record<Role, string> = {
  embed: "token_embd.weight",
  finalNorm: "output_norm.weight",
  lmHead: "output.weight",
  attnNorm: "attn_norm.weight",
  q: "attn_q.weight",
  k: "attn_k.weight",
  v: "attn_v.weight",
  o: "attn_output.weight",
  qBias: "attn_q.bias",
  kBias: "attn_k.bias",
  vBias: "attn_v.bias",
  qNorm: "attn_q_norm.weight",
  kNorm: "attn_k_norm.weight",
  mlpNorm: "ffn_norm.weight",
  gate: "ffn_gate.weight",
  up: "ffn_up.weight",
  down: "ffn_down.weight",
};
const GLOBAL: readonly Role[] = ["embed", "finalNorm", "lmHead"];
const ARCHITECTURES: Record<string, string> = {
  LlamaForCausalLM: "llama",
  MistralForCausalLM: "llama",
  Qwen2ForCausalLM: "qwen2",
  Qwen3ForCausalLM: "qwen3",
};
const ALIGNMENT = 32;
/** ggml's type numbers. */
const F32 = 0;
const BF16 = 30;

interface Entry {
  name: string;
  dims: number[];
  type: number;
  bytes: number;
  read: () => Uint8Array;
}

/** Writes `model` to `path`. Throws for what llama.cpp would compute differently: sliding windows, YaRN, other dtypes. */
export function writeGguf(model: Model, path: string): void {
  const { shape } = model;
  const arch = ARCHITECTURES[model.architecture];
  if (!arch) throw new Error(`no GGUF for ${model.architecture}`);
  if (shape.layerWindow.some((w) => w > 0)) throw new Error("no GGUF for models with a sliding window");
  if (shape.ropeScale !== 1) throw new Error("no GGUF for models with YaRN");
  const config: { rope_theta?: number; rope_parameters?: { rope_theta?: number } } = JSON.parse(model.files.config);
  const theta = config.rope_parameters?.rope_theta ?? config.rope_theta ?? 10000;

  const entries = model.tensors.map((tensor) => tensorEntry(tensor, model, arch));
  const factors = shape.ropeInvFreq.map((f, i) => theta ** ((-2 * i) / shape.headDim) / f);
  if (factors.some((f) => Math.abs(f - 1) > 1e-5)) {
    if (arch !== "llama") throw new Error(`no GGUF for ${model.architecture} with scaled RoPE`);
    const read = () => new Uint8Array(factors.buffer);
    entries.push({ name: "rope_freqs.weight", dims: [factors.length], type: F32, bytes: factors.byteLength, read });
  }

  const meta = new Metadata();
  meta.string("general.architecture", arch);
  meta.string("general.name", "bench");
  meta.u32("general.file_type", 32);
  meta.u32("general.alignment", ALIGNMENT);
  meta.u32(`${arch}.block_count`, shape.layers);
  meta.u32(`${arch}.context_length`, model.maxContext);
  meta.u32(`${arch}.embedding_length`, shape.hiddenSize);
  meta.u32(`${arch}.feed_forward_length`, shape.intermediateSize);
  meta.u32(`${arch}.attention.head_count`, shape.heads);
  meta.u32(`${arch}.attention.head_count_kv`, shape.kvHeads);
  meta.u32(`${arch}.attention.key_length`, shape.headDim);
  meta.u32(`${arch}.attention.value_length`, shape.headDim);
  meta.u32(`${arch}.rope.dimension_count`, shape.headDim);
  meta.u32(`${arch}.vocab_size`, shape.vocabSize);
  meta.f32(`${arch}.attention.layer_norm_rms_epsilon`, shape.rmsNormEps);
  meta.f32(`${arch}.rope.freq_base`, theta);
  meta.string("tokenizer.ggml.model", "gpt2");
  meta.string("tokenizer.ggml.pre", "gpt-2");
  meta.strings(
    "tokenizer.ggml.tokens",
    Array.from({ length: shape.vocabSize }, (_, i) => `t${i}`),
  );
  meta.i32s("tokenizer.ggml.token_type", new Array(shape.vocabSize).fill(1));
  meta.strings("tokenizer.ggml.merges", []);
  meta.u32("tokenizer.ggml.bos_token_id", 0);
  meta.u32("tokenizer.ggml.eos_token_id", 0);

  const header = new Bytes();
  header.raw("GGUF");
  header.u32(3);
  header.u64(entries.length);
  header.u64(meta.count);
  header.append(meta.bytes);
  let offset = 0;
  for (const entry of entries) {
    header.string(entry.name);
    header.u32(entry.dims.length);
    for (const dim of entry.dims.toReversed()) header.u64(dim);
    header.u32(entry.type);
    header.u64(offset);
    offset += padded(entry.bytes);
  }
  header.pad(ALIGNMENT);

  const file = openSync(path, "w");
  try {
    writeAll(file, header.done());
    for (const entry of entries) {
      const data = new Uint8Array(padded(entry.bytes));
      data.set(entry.read());
      writeAll(file, data);
    }
  } finally {
    closeSync(file);
  }
}

function tensorEntry(tensor: TensorSource, model: Model, arch: string): Entry {
  const { shape } = model;
  const matrix = tensor.dims.length === 2;
  if (matrix && tensor.dtype !== "bfloat16") throw new Error(`the bench compares bf16 weights, not ${tensor.dtype}`);
  const name = (GLOBAL.includes(tensor.role) ? "" : `blk.${tensor.layer}.`) + NAMES[tensor.role];
  const elements = tensor.dims.reduce((a, b) => a * b, 1);
  const heads = tensor.role === "q" ? shape.heads : tensor.role === "k" ? shape.kvHeads : 0;
  // llama.cpp keeps norms and biases in float32. For "llama" its RoPE pairs neighbouring rows, not the halves of a head.
  const read = () => {
    const bytes = readTensor(tensor);
    if (!matrix) return toFloat32(bytes, tensor);
    return arch === "llama" && heads > 0 ? interleaveHalves(bytes, heads, shape.headDim) : bytes;
  };
  return { name, dims: tensor.dims, type: matrix ? BF16 : F32, bytes: elements * (matrix ? 2 : 4), read };
}

function readTensor({ where }: TensorSource): Uint8Array {
  if ("data" in where) return where.data;
  if (!("path" in where)) throw new Error("the bench reads weights from files");
  const bytes = new Uint8Array(where.bytes);
  const file = openSync(where.path, "r");
  try {
    for (let at = 0; at < bytes.length; ) {
      const got = readSync(file, bytes, at, bytes.length - at, where.offset + at);
      if (got === 0) throw new Error(`${where.path} ends early`);
      at += got;
    }
  } finally {
    closeSync(file);
  }
  return bytes;
}

function toFloat32(bytes: Uint8Array, tensor: TensorSource): Uint8Array {
  if (tensor.dtype === "float32") return bytes;
  if (tensor.dtype !== "bfloat16") throw new Error(`the bench compares bf16 weights, not ${tensor.dtype}`);
  const out = new Uint8Array(bytes.length * 2);
  for (let i = 0; i < bytes.length; i += 2) out.set(bytes.subarray(i, i + 2), i * 2 + 2);
  return out;
}

/** Reorders the rows of each head: the first and second half alternate, row by row. */
function interleaveHalves(bytes: Uint8Array, heads: number, headDim: number): Uint8Array {
  const row = bytes.length / (heads * headDim);
  const out = new Uint8Array(bytes.length);
  for (let head = 0; head < heads; head++) {
    for (let i = 0; i < headDim; i++) {
      const from = head * headDim + (i % 2) * (headDim / 2) + (i >> 1);
      out.set(bytes.subarray(from * row, (from + 1) * row), (head * headDim + i) * row);
    }
  }
  return out;
}

function writeAll(file: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
}

function padded(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}

/** A growing buffer of little-endian values. */
class Bytes {
  private readonly parts: Uint8Array[] = [];
  private length = 0;

  append(bytes: Uint8Array): void {
    this.parts.push(bytes);
    this.length += bytes.length;
  }
  raw(text: string): void {
    this.append(new TextEncoder().encode(text));
  }
  u32(value: number): void {
    this.append(new Uint8Array(Uint32Array.of(value).buffer));
  }
  f32(value: number): void {
    this.append(new Uint8Array(Float32Array.of(value).buffer));
  }
  u64(value: number): void {
    this.append(new Uint8Array(BigUint64Array.of(BigInt(value)).buffer));
  }
  string(text: string): void {
    const bytes = new TextEncoder().encode(text);
    this.u64(bytes.length);
    this.append(bytes);
  }
  pad(multiple: number): void {
    this.append(new Uint8Array((multiple - (this.length % multiple)) % multiple));
  }
  done(): Uint8Array {
    return Buffer.concat(this.parts);
  }
}

/** GGUF's key-value pairs; the numbers are its type codes. */
class Metadata {
  private readonly out = new Bytes();
  count = 0;

  get bytes(): Uint8Array {
    return this.out.done();
  }
  private key(name: string, ...types: number[]): void {
    this.count++;
    this.out.string(name);
    for (const type of types) this.out.u32(type);
  }
  u32(name: string, value: number): void {
    this.key(name, 4);
    this.out.u32(value);
  }
  f32(name: string, value: number): void {
    this.key(name, 6);
    this.out.f32(value);
  }
  string(name: string, value: string): void {
    this.key(name, 8);
    this.out.string(value);
  }
  strings(name: string, values: string[]): void {
    this.key(name, 9, 8);
    this.out.u64(values.length);
    for (const value of values) this.out.string(value);
  }
  i32s(name: string, values: number[]): void {
    this.key(name, 9, 5);
    this.out.u64(values.length);
    this.out.append(new Uint8Array(Int32Array.from(values).buffer));
  }
}
