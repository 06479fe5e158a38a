/** Checkpoints of random bfloat16 weights in Hugging Face's layout, as large as a real model's and written fast. */
import { existsSync } from "node:fs";
import { type FileHandle, open, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ModelShape } from "../src/model/shape.ts";
import { INDEX_FILE } from "../src/model/weight-files.ts";
import { randomFrom } from "./stats.ts";

const SHARD_BYTES = 5e9;
/** Values that are made, then written repeatedly. The number is odd, so that no two rows of a matrix are equal. */
const BLOCK = 2 ** 25 + 9;
const ONE = 0x3f80;

interface Tensor {
  name: string;
  dims: number[];
}

function listTensors(shape: ModelShape): Tensor[] {
  const { hiddenSize: hidden, intermediateSize: inter, vocabSize: vocab, headDim } = shape;
  const [q, kv] = [shape.heads * headDim, shape.kvHeads * headDim];
  const tensors: Tensor[] = [];
  const add = (name: string, ...dims: number[]) => tensors.push({ name: `${name}.weight`, dims });
  add("model.embed_tokens", vocab, hidden);
  for (let i = 0; i < shape.layers; i++) {
    const layer = `model.layers.${i}`;
    add(`${layer}.input_layernorm`, hidden);
    for (const [name, rows] of [
      ["q", q],
      ["k", kv],
      ["v", kv],
    ] as const) {
      add(`${layer}.self_attn.${name}_proj`, rows, hidden);
      if (shape.qkvBias) tensors.push({ name: `${layer}.self_attn.${name}_proj.bias`, dims: [rows] });
      if (shape.qkNorm && name !== "v") add(`${layer}.self_attn.${name}_norm`, headDim);
    }
    add(`${layer}.self_attn.o_proj`, hidden, q);
    add(`${layer}.post_attention_layernorm`, hidden);
    add(`${layer}.mlp.gate_proj`, inter, hidden);
    add(`${layer}.mlp.up_proj`, inter, hidden);
    add(`${layer}.mlp.down_proj`, hidden, inter);
  }
  add("model.norm", hidden);
  if (!shape.tiedEmbeddings) add("lm_head", vocab, hidden);
  return tensors;
}

const bytesOf = ({ dims }: Tensor) => 2 * dims.reduce((a, b) => a * b, 1);

/** Uniform values in [-range, range), as bfloat16. */
function randomBlock(length: number, range: number): Uint16Array {
  const random = randomFrom(0);
  const float = new Float32Array(1);
  const bits = new Uint32Array(float.buffer);
  return Uint16Array.from({ length }, () => {
    float[0] = range * (2 * random() - 1);
    return bits[0]! >>> 16;
  });
}

/** Writes a model's shards into `directory`, unless its index is there: the index is written last. */
export async function writeCheckpoint(directory: string, shape: ModelShape): Promise<void> {
  const index = join(directory, INDEX_FILE);
  if (existsSync(index)) return;
  const tensors = listTensors(shape);
  const total = tensors.reduce((sum, tensor) => sum + bytesOf(tensor), 0);
  // With this range linear layers keep the scale of their inputs; libfastgen's own random weights do the same.
  const values = randomBlock(Math.min(BLOCK, total / 2), Math.sqrt(3 / shape.hiddenSize));
  const block = new Uint8Array(values.buffer);
  const ones = new Uint8Array(new Uint16Array(Math.max(shape.hiddenSize, shape.headDim)).fill(ONE).buffer);

  const shards: Tensor[][] = [[]];
  let filled = 0;
  for (const tensor of tensors) {
    if (filled > 0 && filled + bytesOf(tensor) > SHARD_BYTES) {
      shards.push([]);
      filled = 0;
    }
    shards.at(-1)!.push(tensor);
    filled += bytesOf(tensor);
  }
  const names = shards.map((_, i) => `model-${number(i + 1)}-of-${number(shards.length)}.safetensors`);
  await Promise.all(shards.map((shard, i) => writeShard(join(directory, names[i]!), shard, block, ones)));
  const weightMap = shards.flatMap((shard, i) => shard.map(({ name }) => [name, names[i]!]));
  await writeFile(
    index,
    JSON.stringify({ metadata: { total_size: total }, weight_map: Object.fromEntries(weightMap) }),
  );
}

const number = (n: number) => String(n).padStart(5, "0");

async function writeShard(path: string, tensors: Tensor[], block: Uint8Array, ones: Uint8Array): Promise<void> {
  let end = 0;
  const entries = tensors.map((tensor) => {
    const begin = end;
    end += bytesOf(tensor);
    return [tensor.name, { dtype: "BF16", shape: tensor.dims, data_offsets: [begin, end] }];
  });
  const json = JSON.stringify(Object.fromEntries(entries));
  const header = new TextEncoder().encode(json.padEnd(Math.ceil(json.length / 8) * 8));
  const prefix = new Uint8Array(8);
  new DataView(prefix.buffer).setBigUint64(0, BigInt(header.length), true);

  const file = await open(path, "w");
  try {
    await write(file, prefix);
    await write(file, header);
    let at = 0;
    for (const tensor of tensors) {
      if (/norm\.weight$/.test(tensor.name)) {
        await write(file, ones.subarray(0, bytesOf(tensor)));
        continue;
      }
      for (let left = bytesOf(tensor); left > 0; ) {
        const n = Math.min(left, block.length - at);
        await write(file, block.subarray(at, at + n));
        at = (at + n) % block.length;
        left -= n;
      }
    }
  } finally {
    await file.close();
  }
}

async function write(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; ) done += (await file.write(bytes, done, bytes.length - done)).bytesWritten;
}
