import { expect, test } from "bun:test";
import type { DeviceTensor } from "../types.ts";
import { deviceTensors } from "./device-tensors.ts";
import type { ModelShape } from "./shape.ts";

const shape: ModelShape = {
  layers: 1,
  hiddenSize: 64,
  heads: 2,
  kvHeads: 1,
  headDim: 32,
  intermediateSize: 96,
  vocabSize: 128,
  qkvBias: false,
  qkNorm: false,
  tiedEmbeddings: true,
  rmsNormEps: 1e-6,
  ropeScale: 1,
  ropeInvFreq: new Float32Array(16),
  layerWindow: new Int32Array(1),
};

const DIMS: Record<string, number[]> = {
  "model.embed_tokens.weight": [128, 64],
  "model.norm.weight": [64],
  "model.layers.0.input_layernorm.weight": [64],
  "model.layers.0.self_attn.q_proj.weight": [64, 64],
  "model.layers.0.self_attn.k_proj.weight": [32, 64],
  "model.layers.0.self_attn.v_proj.weight": [32, 64],
  "model.layers.0.self_attn.o_proj.weight": [64, 64],
  "model.layers.0.post_attention_layernorm.weight": [64],
  "model.layers.0.mlp.gate_proj.weight": [96, 64],
  "model.layers.0.mlp.up_proj.weight": [96, 64],
  "model.layers.0.mlp.down_proj.weight": [64, 96],
};

/** All tensors of the shape, each in memory of its own. */
const all: DeviceTensor[] = Object.entries(DIMS).map(([name, dims], i) => ({
  name,
  dtype: i % 2 ? "torch.bfloat16" : "float32",
  shape: dims,
  ipc_handle: new Uint8Array(64).fill(i),
  offset: 512 * i,
}));

const table = (tensors: DeviceTensor[], of = shape) => deviceTensors(tensors, of, "LlamaForCausalLM");

test("each tensor has its role, and its bytes their place in the memory that is shared", async () => {
  const tensors = await table(all);
  expect(tensors).toHaveLength(all.length);
  expect(tensors.find(({ role }) => role === "finalNorm")).toEqual({
    role: "finalNorm",
    layer: 0,
    dtype: "bfloat16",
    dims: [64],
    where: { ipcHandle: new Uint8Array(64).fill(1), offset: 512, bytes: 128 },
  });
  expect(tensors.find(({ role }) => role === "gate")?.where).toMatchObject({ offset: 512 * 8, bytes: 96 * 64 * 4 });
});

test("a head that is tied is the embedding, whatever it is called; one of its own is its own", async () => {
  const head = { ...all[0]!, name: "lm_head.weight", ipc_handle: new Uint8Array(64).fill(99) };
  expect((await table([...all, head])).map(({ role }) => role)).not.toContain("lmHead");
  const [embed] = await table([...all.slice(1), head]).then((found) => found.filter(({ role }) => role === "embed"));
  expect(embed?.where).toMatchObject({ ipcHandle: head.ipc_handle });
  const untied = await table([...all, head], { ...shape, tiedEmbeddings: false });
  expect(untied.find(({ role }) => role === "lmHead")?.where).toMatchObject({ ipcHandle: head.ipc_handle });
});

test("what is missing, twice, of another shape, unknown or of another dtype is named", async () => {
  const change = (fields: Partial<DeviceTensor>) => [...all.slice(0, -1), { ...all.at(-1)!, ...fields }];
  for (const [tensors, named] of [
    [all.slice(0, -1), "down"],
    [[...all, all[3]!], "q_proj.weight is there twice"],
    [change({ shape: [96, 64] }), "down_proj.weight has the shape [96,64]"],
    [change({ name: "model.layers.1.mlp.down_proj.weight" }), "model.layers.1.mlp.down_proj.weight"],
    [change({ dtype: "float8_e4m3fn" }), "down_proj.weight is float8_e4m3fn"],
  ] as const) {
    expect(await table([...tensors]).catch((error) => error)).toMatchObject({
      kind: "model",
      message: expect.stringContaining(named),
    });
  }
});
