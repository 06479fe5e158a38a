import { describe, expect, test } from "bun:test";
import { parseQuantization } from "./quantization.ts";

const Q = "model.layers.0.self_attn.q_proj";
const DOWN = "model.layers.11.mlp.down_proj";
const HEAD = "lm_head";

const fp8 = { num_bits: 8, type: "float", symmetric: true };
const weights = { ...fp8, strategy: "channel", dynamic: false };
const inputs = { ...fp8, strategy: "token", dynamic: true };
const group = { targets: ["Linear"], weights, input_activations: inputs };
const compressed = (changes: object = {}, groups: object = { group_0: group }) => ({
  quant_method: "compressed-tensors",
  format: "float-quantized",
  config_groups: groups,
  ignore: [HEAD],
  ...changes,
});

/** The static flag and the bound of a layer's inputs; null where it is plain. */
function inputsOf(config: object, layer: string, modelopt: object | null = null) {
  const scheme = parseQuantization(config, modelopt && JSON.stringify(modelopt))!.inputs(layer);
  return scheme && [scheme.static, scheme.bound];
}

test("no quantisation", () => {
  expect(parseQuantization({}, null)).toBeNull();
  expect(parseQuantization({ quantization_config: null }, null)).toBeNull();
  expect(parseQuantization({ quantization_config: {} }, null)).toBeNull();
});

describe("compressed-tensors", () => {
  test("static and dynamic inputs, ignored layers, older keys", () => {
    for (const key of ["quantization_config", "compression_config"]) {
      expect(parseQuantization({ [key]: compressed() }, null)!.format).toBe("compressed-tensors");
      expect(inputsOf({ [key]: compressed() }, Q)).toEqual([false, 0]);
      expect(inputsOf({ [key]: compressed() }, HEAD)).toBeNull();
    }
    const fixed = { ...group, input_activations: { ...fp8, strategy: "tensor", dynamic: false } };
    expect(inputsOf({ quantization_config: compressed({}, { group_0: fixed }) }, Q)).toEqual([true, 0]);
    const { quant_method: _, ...unnamed } = compressed();
    expect(inputsOf({ quantization_config: unnamed }, Q)).toEqual([false, 0]);
    const weightsOnly = { ...group, input_activations: null };
    expect(inputsOf({ quantization_config: compressed({}, { group_0: weightsOnly }) }, Q)).toEqual([false, 0]);
  });

  test("patterns match from the start of a name; names match whole", () => {
    const with_ = (ignore: string[]) => ({ quantization_config: compressed({ ignore }) });
    expect(inputsOf(with_(["re:.*down_proj$"]), DOWN)).toBeNull();
    expect(inputsOf(with_(["re:.*down_proj$"]), Q)).not.toBeNull();
    expect(inputsOf(with_(["re:down_proj"]), DOWN)).not.toBeNull();
    expect(inputsOf(with_(["re:model\\.layers\\.(0|1)\\."]), Q)).toBeNull();
    expect(inputsOf(with_(["re:model\\.layers\\.(0|1)\\."]), DOWN)).not.toBeNull();
    expect(inputsOf(with_([Q]), Q)).toBeNull();
    expect(inputsOf(with_(["q_proj"]), Q)).not.toBeNull();
    expect(() => parseQuantization(with_(["re:(a+)+$"]), null)).toThrow(/the pattern re:\(a\+\)\+\$: cannot be used/);
    expect(() => parseQuantization(with_(["re:("]), null)).toThrow(/the pattern re:\(: cannot be used/);
  });

  test("groups by their targets; a layer in none is plain", () => {
    const fixed = { ...group, targets: ["re:.*mlp.*"], input_activations: { ...fp8, strategy: "tensor" } };
    const config = { quantization_config: compressed({}, { a: { ...group, targets: [Q] }, b: fixed }) };
    expect(inputsOf(config, Q)).toEqual([false, 0]);
    expect(inputsOf(config, DOWN)).toEqual([true, 0]);
    expect(inputsOf(config, "model.layers.0.self_attn.k_proj")).toBeNull();
  });
});

test("fbgemm_fp8: a bound on the inputs' scales; modules left as they are", () => {
  const config = {
    quantization_config: {
      quant_method: "fbgemm_fp8",
      activation_scale_ub: 1200,
      modules_to_not_convert: ["model.layers.0.self_attn", "lm_head", "down_proj"],
    },
  };
  expect(inputsOf(config, "model.layers.1.self_attn.q_proj")).toEqual([false, 1200]);
  for (const layer of [Q, HEAD, DOWN]) expect(inputsOf(config, layer)).toBeNull();
  expect(inputsOf(config, "model.layers.0.self_attn_.q_proj")).not.toBeNull();
});

test("fp8: blocks, dynamic, static", () => {
  const config = (rest: object) => ({ quantization_config: { quant_method: "fp8", ...rest } });
  expect(inputsOf(config({ weight_block_size: [128, 128], fmt: "e4m3", activation_scheme: "dynamic" }), Q)).toEqual([
    false,
    0,
  ]);
  expect(inputsOf(config({ activation_scheme: "static", weight_block_size: null }), Q)).toEqual([true, 0]);
  expect(inputsOf(config({ ignored_layers: [Q], modules_to_not_convert: ["lm_head"] }), Q)).toBeNull();
});

test("ModelOpt, in either file; wildcards", () => {
  const modelopt = { quant_method: "modelopt", quant_algo: "FP8", kv_cache_quant_algo: "FP8" };
  expect(inputsOf({ quantization_config: { ...modelopt, ignore: ["lm_head"] } }, Q)).toEqual([true, 0]);
  const file = {
    producer: { name: "modelopt" },
    quantization: { ...modelopt, exclude_modules: ["lm_head", "model.layers.11.*"] },
  };
  expect(inputsOf({}, Q, file)).toEqual([true, 0]);
  expect(inputsOf({}, DOWN, file)).toBeNull();
  expect(inputsOf({}, HEAD, file)).toBeNull();
  const perToken = { ...file, quantization: { quant_algo: "FP8_PER_CHANNEL_PER_TOKEN" } };
  expect(inputsOf({}, Q, perToken)).toEqual([false, 0]);
  expect(() => parseQuantization({}, "{")).toThrow(/hf_quant_config.json is not valid JSON/);
  expect(() => parseQuantization({}, "{}")).toThrow(/hf_quant_config.json.*quantization/);
});

describe("refused by name, with what to do", () => {
  const of = (section: object) => ({ quantization_config: section });
  const int8 = { ...group, weights: { ...weights, type: "int" } };
  const cases: [object, RegExp][] = [
    [of({ quant_method: "gptq", bits: 4 }), /quant_method "gptq"/],
    [of({ quant_method: "awq" }), /quant_method "awq"/],
    [of({ quant_method: "bitsandbytes" }), /quant_method "bitsandbytes"/],
    [of({ load_in_4bit: true }), /"bitsandbytes"/],
    [of({ quant_method: "mxfp4" }), /quant_method "mxfp4"/],
    [of({ quant_method: "something" }), /quant_method "something"/],
    [{ quantization: { group_size: 64, bits: 4 } }, /MLX's format/],
    [of(compressed({ format: "int-quantized" }, { group_0: int8 })), /int-quantized.*weights of 8-bit int by channel/],
    [
      of(
        compressed(
          { format: "pack-quantized" },
          { g: { ...int8, weights: { num_bits: 4, type: "int", strategy: "group" } } },
        ),
      ),
      /pack-quantized.*4-bit int/,
    ],
    [
      of(
        compressed(
          { format: "nvfp4-pack-quantized" },
          { g: { ...group, weights: { num_bits: 4, type: "float", strategy: "tensor_group" } } },
        ),
      ),
      /nvfp4-pack-quantized.*4-bit float/,
    ],
    [
      of(compressed({}, { g: { ...group, weights: { ...weights, strategy: "block", block_structure: [64, 64] } } })),
      /blocks of 128 x 128/,
    ],
    [
      of(compressed({}, { g: { ...group, input_activations: { ...inputs, num_bits: 4 } } })),
      /input_activations of 4-bit/,
    ],
    [of(compressed({}, { g: { ...group, output_activations: inputs } })), /output_activations/],
    [of(compressed({ sparsity_config: { format: "sparse-24-bitmask" } })), /sparse-24-bitmask/],
    [of(compressed({ transform_config: { config_groups: { R1: {} } } })), /transform_config/],
    [
      of({ quant_method: "fp8", weight_block_size: [64, 128] }),
      /weight_block_size: is \[64,128\]; blocks of 128 x 128/,
    ],
    [of({ quant_method: "fp8", fmt: "e5m2" }), /fmt: is "e5m2"/],
    [of({ quant_method: "fp8", activation_scheme: "odd" }), /activation_scheme: is "odd"/],
    [of({ quant_method: "modelopt", quant_algo: "NVFP4" }), /modelopt, quant_algo "NVFP4"/],
    [of({ quant_method: "modelopt_fp4" }), /"modelopt_fp4"/],
    [of({ quant_method: "fbgemm_fp8", activation_scale_ub: -1 }), /activation_scale_ub/],
    [of(compressed({ config_groups: 7 })), /config_groups/],
    [{ quantization_config: "yes" }, /quantization_config/],
  ];
  for (const [config, message] of cases) {
    test(String(message), () => {
      expect(() => parseQuantization(config, null)).toThrow(message);
      expect(() => parseQuantization(config, null)).toThrow(/config\.json/);
    });
  }
});
