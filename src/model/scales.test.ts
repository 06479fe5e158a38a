/** FP8 tensors and their scales in whole checkpoints: what is read of them, and what is refused. */
import { describe, expect, test } from "bun:test";
import { openModelFromMemory } from "./load.ts";
import { safetensors, tinyModel, tinyShapes } from "./test-files.ts";

const Q = "model.layers.1.self_attn.q_proj";
const BYTES: Record<string, number> = { F32: 4, F16: 2, BF16: 2, F8_E4M3: 1, F8_E5M2: 1 };

interface Part {
  dtype: string;
  shape: number[];
  /** Of a scale; weights stay zero. */
  values?: number[];
}

/** A file with these tensors. */
function file(parts: Record<string, Part>): Uint8Array {
  let end = 0;
  const header = Object.entries(parts).map(([name, { dtype, shape }]) => {
    const begin = end;
    end += shape.reduce((product, dim) => product * dim, BYTES[dtype]!);
    return [name, { dtype, shape, data_offsets: [begin, end] }] as const;
  });
  const bytes = safetensors(Object.fromEntries(header), end);
  const view = new DataView(bytes.buffer, bytes.length - end);
  for (const [name, { data_offsets }] of header) {
    const { dtype, values = [] } = parts[name]!;
    for (const [i, value] of values.entries()) {
      const at = data_offsets[0] + i * BYTES[dtype]!;
      if (dtype === "F32") view.setFloat32(at, value, true);
      if (dtype === "F16") view.setFloat16(at, value, true);
      if (dtype === "BF16") view.setUint16(at, new Uint32Array(Float32Array.of(value).buffer)[0]! >>> 16, true);
    }
  }
  return bytes;
}

const COMPRESSED = {
  quant_method: "compressed-tensors",
  config_groups: {
    group_0: {
      targets: ["Linear"],
      weights: { num_bits: 8, type: "float", strategy: "channel" },
      input_activations: { num_bits: 8, type: "float", strategy: "token", dynamic: true },
    },
  },
  ignore: ["lm_head"],
};
const STATIC = { quant_method: "fp8", activation_scheme: "static" };
const FBGEMM = { quant_method: "fbgemm_fp8", activation_scale_ub: 1200 };

/** The tiny model with q_proj of layer 1 as `changes` say; null removes a tensor. */
function model(quantization: object | null, changes: Record<string, Part | null>) {
  const parts: Record<string, Part | null> = {};
  for (const [name, shape] of Object.entries(tinyShapes())) parts[name] = { dtype: "BF16", shape };
  Object.assign(parts, { [`${Q}.weight`]: { dtype: "F8_E4M3", shape: [64, 64] } }, changes);
  const there = Object.fromEntries(Object.entries(parts).filter(([, part]) => part)) as Record<string, Part>;
  const files = tinyModel(undefined, { quantization_config: quantization });
  files.set("model.safetensors", file(there));
  return openModelFromMemory("tiny", files);
}

const scale = (values: number[], shape = [values.length], dtype = "F32"): Part => ({ dtype, shape, values });
const one = { [`${Q}.weight_scale`]: scale([0.5]) };

describe("scales as the library takes them", () => {
  const q = async (quantization: object, changes: Record<string, Part | null>) => {
    const { tensors } = await model(quantization, changes);
    expect(tensors.filter((tensor) => tensor.scale).length).toBe(1);
    return tensors.find((tensor) => tensor.role === "q" && tensor.layer === 1)!.scale!;
  };
  const rows = Array.from({ length: 64 }, (_, i) => (i + 1) / 64);

  test("per tensor, per channel, in every dtype, spelling and form", async () => {
    for (const dtype of ["F32", "F16", "BF16"]) {
      for (const shape of [[64], [64, 1]]) {
        const found = await q(COMPRESSED, { [`${Q}.weight_scale`]: scale(rows, shape, dtype) });
        expect([found.rows, found.cols, found.input, found.inputBound]).toEqual([64, 1, 0, 0]);
        expect([...found.values]).toEqual(rows);
      }
      for (const shape of [[], [1], [1, 1]]) {
        const found = await q(COMPRESSED, { [`${Q}.weight_scale_inv`]: scale([0.25], shape, dtype) });
        expect([found.rows, found.cols, ...found.values]).toEqual([1, 1, 0.25]);
      }
    }
  });

  test("static inputs where the format says so, and fbgemm's bound", async () => {
    const both = { ...one, [`${Q}.input_scale`]: scale([0.125], []) };
    expect((await q(STATIC, both)).input).toBe(0.125);
    expect((await q(STATIC, { ...one, [`${Q}.activation_scale`]: scale([0.25]) })).input).toBe(0.25);
    expect((await q(COMPRESSED, both)).input).toBe(0);
    expect((await q(FBGEMM, { ...one, [`${Q}.input_scale_ub`]: scale([1200]) })).inputBound).toBe(1200);
  });

  test("scales of an FP8 cache are passed over, in all spellings", async () => {
    const base = "model.layers.1.self_attn";
    const names = [
      "k_scale",
      "v_scale",
      "q_scale",
      "attn.k_scale",
      "k_proj.k_scale",
      "v_proj.v_scale",
      "v_proj.output_scale",
      "kv_cache_scale",
    ];
    const cache = Object.fromEntries(names.map((name) => [`${base}.${name}`, scale([0.5])]));
    expect((await q(COMPRESSED, { ...one, ...cache })).input).toBe(0);
  });
});

describe("refused, with what to do", () => {
  const weight = `${Q}.weight`;
  const cases: [string, object | null, Record<string, Part | null>, RegExp][] = [
    [
      "FP8 that config.json does not mention",
      null,
      {},
      /q_proj.weight is FP8 \(F8_E4M3\), and config.json names no quantisation: take/,
    ],
    [
      "FP8 in a layer that is ignored",
      { ...COMPRESSED, ignore: [Q] },
      one,
      /q_proj.weight is FP8.*compressed-tensors.*not quantised/,
    ],
    ["no scale", COMPRESSED, {}, /q_proj.weight is FP8.*q_proj.weight_scale is missing/],
    [
      "a scale of another shape",
      COMPRESSED,
      { [`${Q}.weight_scale`]: scale([1, 1]) },
      /weight_scale has the shape \[2\]; for .* it must be \[1\], \[64,1\] or, by blocks of 128 x 128, \[1,1\]/,
    ],
    ["no input scale", STATIC, one, /q_proj has no input_scale, though/],
    [
      "input scales for each row",
      STATIC,
      { ...one, [`${Q}.input_scale`]: scale([1, 1]) },
      /input_scale has the shape \[2\]; it must be one number/,
    ],
    [
      "a scale of integers",
      COMPRESSED,
      { [`${Q}.weight_scale`]: { dtype: "F8_E4M3", shape: [1] } },
      /weight_scale is stored as F8_E4M3; scales must be/,
    ],
    [
      "E5M2",
      COMPRESSED,
      { [weight]: { dtype: "F8_E5M2", shape: [64, 64] }, ...one },
      /stored as F8_E5M2; Fastgen reads F32, F16, BF16 and, with scales, F8_E4M3/,
    ],
    [
      "an FP8 norm",
      COMPRESSED,
      { "model.norm.weight": { dtype: "F8_E4M3", shape: [64] }, ...one },
      /model.norm.weight is FP8.*only the weights of linear layers/,
    ],
    ...[Number.NaN, -1, 0, Number.POSITIVE_INFINITY].map((bad): [string, object, Record<string, Part>, RegExp] => [
      `a scale of ${bad}`,
      COMPRESSED,
      { [`${Q}.weight_scale`]: scale([bad]) },
      new RegExp(`weight_scale holds ${bad} \\(number 0\\); a scale must be finite and above 0`),
    ]),
    ["an input scale of 0", STATIC, { ...one, [`${Q}.input_scale`]: scale([0]) }, /input_scale holds 0/],
  ];
  test.each(cases)("%s", async (_name, quantization, changes, message) => {
    await expect(model(quantization, changes)).rejects.toThrow(message);
  });
});
