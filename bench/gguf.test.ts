import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openModel } from "../src/model/load.ts";
import type { TensorSource } from "../src/model/shape.ts";
import { MODELS_DIRECTORY } from "../test/golden/expected.ts";
import { writeGguf } from "./gguf.ts";

interface Tensor {
  dims: number[];
  type: number;
  offset: number;
}

/** An independent reader for the parts of the format that the writer uses. */
function readGguf(bytes: Buffer) {
  let at = 0;
  const take = (length: number) => {
    at += length;
    return bytes.subarray(at - length, at);
  };
  const u32 = () => take(4).readUInt32LE();
  const u64 = () => Number(take(8).readBigUInt64LE());
  const string = () => take(u64()).toString();
  const value = (type: number): unknown => {
    if (type === 4 || type === 5) return u32();
    if (type === 6) return take(4).readFloatLE();
    if (type === 8) return string();
    if (type !== 9) throw new Error(`type ${type}`);
    const element = u32();
    return Array.from({ length: u64() }, () => value(element));
  };
  expect([take(4).toString(), u32()]).toEqual(["GGUF", 3]);
  const [tensorCount, metaCount] = [u64(), u64()];
  const meta = new Map(Array.from({ length: metaCount }, () => [string(), value(u32())]));
  const tensors = new Map<string, Tensor>();
  for (let i = 0; i < tensorCount; i++) {
    tensors.set(string(), { dims: Array.from({ length: u32() }, u64), type: u32(), offset: u64() });
  }
  const data = bytes.subarray(Math.ceil(at / 32) * 32);
  return { meta, tensors, data };
}

test("weights as llama.cpp wants them: q and k interleaved, norms in float32, scaled RoPE as factors", async () => {
  const folder = mkdtempSync(join(tmpdir(), "fastgen-gguf-"));
  try {
    const model = await openModel(join(MODELS_DIRECTORY, "llama3-rope"));
    writeGguf(model, join(folder, "model.gguf"));
    const { meta, tensors, data } = readGguf(readFileSync(join(folder, "model.gguf")));
    const { shape } = model;
    expect(meta.get("general.architecture")).toBe("llama");
    expect(meta.get("llama.block_count")).toBe(shape.layers);
    expect(meta.get("llama.attention.head_count_kv")).toBe(shape.kvHeads);
    expect(meta.get("llama.rope.freq_base")).toBe(500000);
    expect((meta.get("tokenizer.ggml.tokens") as string[]).length).toBe(shape.vocabSize);
    expect(tensors.size).toBe(model.tensors.length + 1);

    const source = (role: string, layer: number): Buffer => {
      const { where } = model.tensors.find((t: TensorSource) => t.role === role && t.layer === layer)!;
      if (!("path" in where)) throw new Error("in memory");
      return readFileSync(where.path).subarray(where.offset, where.offset + where.bytes);
    };
    const k = tensors.get("blk.1.attn_k.weight")!;
    expect(k).toMatchObject({ dims: [shape.hiddenSize, shape.kvHeads * shape.headDim], type: 30 });
    const row = shape.hiddenSize * 2;
    const got = data.subarray(k.offset, k.offset + row * shape.headDim);
    const want = source("k", 1);
    for (let i = 0; i < shape.headDim; i++) {
      const from = (i % 2) * (shape.headDim / 2) + Math.floor(i / 2);
      expect(got.subarray(i * row, (i + 1) * row).equals(want.subarray(from * row, (from + 1) * row))).toBe(true);
    }
    const down = tensors.get("blk.0.ffn_down.weight")!;
    const original = source("down", 0);
    expect(data.subarray(down.offset, down.offset + original.length).equals(original)).toBe(true);

    const norm = tensors.get("output_norm.weight")!;
    expect(norm).toMatchObject({ dims: [shape.hiddenSize], type: 0 });
    expect(data.readUInt32LE(norm.offset) >>> 16).toBe(source("finalNorm", 0).readUInt16LE(0));
    const factors = tensors.get("rope_freqs.weight")!;
    expect(data.readFloatLE(factors.offset)).toBeCloseTo(1 / shape.ropeInvFreq[0]!, 5);
    expect(data.readFloatLE(factors.offset + 4 * (shape.headDim / 2 - 1))).toBeCloseTo(8, 4);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("models that llama.cpp would run differently are refused", async () => {
  for (const [name, reason] of [
    ["mistral-window", "sliding window"],
    ["llama-yarn", "YaRN"],
    ["llama-f32", "not float32"],
    ["ministral", "no GGUF for"],
  ] as const) {
    const model = await openModel(join(MODELS_DIRECTORY, name));
    expect(() => writeGguf(model, join(tmpdir(), "never-written.gguf"))).toThrow(reason);
  }
});
