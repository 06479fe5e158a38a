import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { FastgenError } from "../errors.ts";
import { parseConfig, SUPPORTED_ARCHITECTURES } from "./config.ts";

const LLAMA = {
  architectures: ["LlamaForCausalLM"],
  hidden_size: 4096,
  num_hidden_layers: 4,
  num_attention_heads: 32,
  num_key_value_heads: 8,
  intermediate_size: 14336,
  vocab_size: 128256,
  max_position_embeddings: 131072,
  rms_norm_eps: 1e-5,
  hidden_act: "silu",
  torch_dtype: "bfloat16",
};
const parse = (changes: object = {}) => parseConfig(JSON.stringify({ ...LLAMA, ...changes }));
const windows = (changes: object) => [...parse(changes).shape.layerWindow];

describe("families", () => {
  test("Llama 3.1, in the old spelling and in the new", () => {
    const scaling = { factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };
    const old = parse({ rope_theta: 500000, rope_scaling: { ...scaling, rope_type: "llama3" } });
    const now = parse({ rope_parameters: { ...scaling, rope_type: "llama3", rope_theta: 500000 } });
    const older = parse({ rope_theta: 500000, rope_scaling: { ...scaling, type: "llama3" } });
    expect(now).toEqual(old);
    expect(older).toEqual(old);
    expect(old.shape.ropeInvFreq).not.toEqual(parse({ rope_theta: 500000 }).shape.ropeInvFreq);
    expect(old).toMatchObject({
      architecture: "LlamaForCausalLM",
      maxContext: 131072,
      dtype: "bfloat16",
      shape: {
        heads: 32,
        kvHeads: 8,
        headDim: 128,
        qkvBias: false,
        qkNorm: false,
        tiedEmbeddings: false,
        ropeScale: 1,
      },
    });
    expect(old.shape.ropeInvFreq.length).toBe(64);
  });

  test("Qwen2 has biases, Qwen3 norms and its own head_dim", () => {
    expect(parse({ architectures: ["Qwen2ForCausalLM"] }).shape).toMatchObject({ qkvBias: true, qkNorm: false });
    const qwen3 = parse({ architectures: ["Qwen3ForCausalLM"], hidden_size: 1024, num_attention_heads: 16 }).shape;
    expect(qwen3).toMatchObject({ qkvBias: false, qkNorm: true, headDim: 128 });
  });

  test("head_dim is its own (Ministral, Mistral Nemo) or follows from hidden_size; key-value heads default to heads", () => {
    expect(parse({ hidden_size: 5120, head_dim: 128 }).shape.headDim).toBe(128);
    expect(parse({ num_key_value_heads: undefined }).shape.kvHeads).toBe(32);
    expect(parse({ head_dim: null }).shape.headDim).toBe(128);
    const qwen3 = { architectures: ["Qwen3ForCausalLM"], hidden_size: 1024 };
    expect(parse({ ...qwen3, head_dim: 64 }).shape.headDim).toBe(64);
  });

  test("the architecture is known by model_type where none is named", () => {
    expect(parse({ architectures: undefined, model_type: "qwen3" }).architecture).toBe("Qwen3ForCausalLM");
  });

  test("missing keys have transformers' defaults", () => {
    expect(parse({ rms_norm_eps: undefined }).shape.rmsNormEps).toBe(1e-6);
    expect(parse({ tie_word_embeddings: undefined }).shape.tiedEmbeddings).toBe(false);
    expect(parse({ hidden_act: undefined }).shape.rmsNormEps).toBe(1e-5);
    expect(parse({ rope_theta: undefined })).toEqual(parse({ rope_theta: 10_000 }));
    const qwen = { architectures: ["Qwen2ForCausalLM"], sliding_window: 512, use_sliding_window: true };
    expect(windows({ ...qwen, num_hidden_layers: 30 })).toEqual([...Array(28).fill(0), 512, 512]);
  });

  test("of two keys for one thing, the newer counts", () => {
    const theta = { rope_theta: 10_000, rope_parameters: { rope_theta: 500_000 } };
    expect(parse(theta)).toEqual(parse({ rope_theta: 500_000 }));
    expect(parse({ torch_dtype: "bfloat16", dtype: "float16" }).dtype).toBe("float16");
    const yarn = { rope_type: "yarn", factor: 4, original_max_position_embeddings: 4096 };
    expect(parse({ rope_scaling: yarn }).maxContext).toBe(4 * 4096);
    expect(parse({ rope_scaling: yarn, original_max_position_embeddings: 8192 }).maxContext).toBe(4 * 8192);
  });

  test("RoPE with a scaling, in all spellings", () => {
    const scalings = {
      yarn: { factor: 4, original_max_position_embeddings: 32768, attention_factor: 1.5 },
      linear: { factor: 2 },
      llama3: { factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 },
    };
    for (const [name, scaling] of Object.entries(scalings)) {
      const now = parse({ rope_parameters: { rope_type: name, rope_theta: 1e6, ...scaling } });
      expect(now.shape.ropeInvFreq).not.toEqual(parse({ rope_theta: 1e6 }).shape.ropeInvFreq);
      const others = [
        { rope_theta: 1e6, rope_scaling: { rope_type: name, ...scaling } },
        { rope_theta: 1e6, rope_scaling: { type: name, ...scaling } },
        { rope_theta: 1e6, rope_scaling: { type: name, rope_type: name, ...scaling } },
        { rope_theta: 1e6, rope_parameters: { type: name, ...scaling } },
        { rope_theta: 5, rope_scaling: {}, rope_parameters: { rope_type: name, rope_theta: 1e6, ...scaling } },
        { rope_theta: 1e6, rope_scaling: { rope_type: name, ...scaling }, rope_parameters: { rope_type: "default" } },
      ];
      for (const other of others) expect(parse(other)).toEqual(now);
    }
  });

  test("a section of RoPE that asks for no scaling needs no type", () => {
    const plain = parse({ rope_theta: 1e6 });
    for (const section of [{ rope_theta: 1e6 }, { rope_theta: 1e6, factor: null }]) {
      expect(parse({ rope_parameters: section })).toEqual(plain);
      expect(parse({ rope_scaling: section })).toEqual(plain);
    }
    expect(parse({ rope_theta: 1e6, rope_scaling: {}, rope_parameters: null })).toEqual(plain);
  });

  test("silu's other name", () => {
    expect(parse({ hidden_act: "swish" })).toEqual(parse());
  });

  test("dtype in either spelling, or none", () => {
    expect(parse({ torch_dtype: undefined, dtype: "float16" }).dtype).toBe("float16");
    expect(parse({ torch_dtype: "torch.float32" }).dtype).toBe("float32");
    expect(parse({ torch_dtype: undefined }).dtype).toBeNull();
    expect(parse({ torch_dtype: "auto" }).dtype).toBeNull();
    expect(() => parse({ torch_dtype: "int8" })).toThrow(/dtype is "int8"; Fastgen supports float32/);
  });
});

describe("sliding windows", () => {
  test("Mistral: all layers; v0.3 has none; without the key, 4096", () => {
    const mistral = { architectures: ["MistralForCausalLM"], max_position_embeddings: 32768 };
    expect(windows({ ...mistral, sliding_window: 1000 })).toEqual([1000, 1000, 1000, 1000]);
    expect(windows({ ...mistral, sliding_window: null })).toEqual([0, 0, 0, 0]);
    expect(windows(mistral)).toEqual([4096, 4096, 4096, 4096]);
  });

  test("a window as long as the context is none", () => {
    const ministral = { architectures: ["MistralForCausalLM"], sliding_window: 32768 };
    expect(windows({ ...ministral, max_position_embeddings: 32768 })).toEqual([0, 0, 0, 0]);
    expect(windows({ ...ministral, max_position_embeddings: 32769 })).toEqual([32768, 32768, 32768, 32768]);
  });

  test("layer_types choose the layers", () => {
    const layer_types = ["full_attention", "sliding_attention", "sliding_attention", "full_attention"];
    const ministral = { architectures: ["MinistralForCausalLM"], sliding_window: 512, layer_types };
    expect(windows(ministral)).toEqual([0, 512, 512, 0]);
    expect(() => windows({ ...ministral, sliding_window: null })).toThrow(
      /sliding_window is null, and layer 1 needs it/,
    );
    expect(() => windows({ ...ministral, layer_types: layer_types.slice(1) })).toThrow(
      /layer_types has 3 entries for 4 layers/,
    );
    expect(() => windows({ ...ministral, layer_types: ["chunked", ...layer_types.slice(1)] })).toThrow(
      /layer_types\[0\] is "chunked"/,
    );
  });

  test("Qwen: only with use_sliding_window, from max_window_layers on", () => {
    const qwen = { architectures: ["Qwen2ForCausalLM"], sliding_window: 512, max_window_layers: 2 };
    expect(windows(qwen)).toEqual([0, 0, 0, 0]);
    expect(windows({ ...qwen, use_sliding_window: true })).toEqual([0, 0, 512, 512]);
    expect(windows({ ...qwen, use_sliding_window: false, layer_types: Array(4).fill("sliding_attention") })).toEqual([
      0, 0, 0, 0,
    ]);
  });

  test("Llama has none", () => {
    expect(windows({ sliding_window: 512 })).toEqual([0, 0, 0, 0]);
  });
});

test("a section of quantisation that says nothing is none", () => {
  for (const nothing of [{}, null]) {
    expect(() => parse({ quantization_config: nothing, compression_config: nothing })).not.toThrow();
  }
});

describe("refused by name", () => {
  const cases: [object, RegExp][] = [
    [
      { architectures: ["GPT2LMHeadModel"] },
      /GPT2LMHeadModel is not supported; Fastgen supports LlamaForCausalLM, Mistral/,
    ],
    [{ architectures: [] }, /no architecture is named/],
    [{ architectures: ["__proto__"] }, /__proto__ is not supported/],
    [{ quantization_config: { quant_method: "gptq" } }, /quantization_config.*"gptq".*use the original model/],
    [{ quantization_config: { quant_method: "awq", group_size: 128, bits: 4 } }, /quant_method "awq"/],
    [{ quantization_config: { quant_method: "bitsandbytes", load_in_4bit: true } }, /"bitsandbytes"/],
    [{ quantization_config: { load_in_8bit: true } }, /"bitsandbytes"/],
    [{ quantization: { group_size: 64, bits: 4 } }, /quantization \(MLX's format\).*use the original model/],
    [{ quantization_config: { group_size: 64, bits: 4 } }, /quantization_config \(MLX's format\)/],
    [{ compression_config: { format: "pack-quantized" } }, /compression_config.*is not supported/],
    [{ hidden_act: "gelu" }, /hidden_act is "gelu"; only silu/],
    [{ mlp_bias: true }, /mlp_bias is true/],
    [{ attention_bias: true }, /attention_bias is true.*o_proj/],
    [{ architectures: ["Qwen3ForCausalLM"], attention_bias: true }, /attention_bias/],
    [{ hidden_size: -1 }, /hidden_size is -1/],
    [{ hidden_size: 1e30 }, /hidden_size is 1e\+30/],
    [{ hidden_size: "4096" }, /hidden_size is "4096"/],
    [{ hidden_size: undefined }, /hidden_size is missing/],
    [{ num_hidden_layers: 0 }, /num_hidden_layers is 0/],
    [{ num_hidden_layers: 1e9 }, /num_hidden_layers is 1000000000/],
    [{ vocab_size: 3.5 }, /vocab_size is 3.5/],
    [{ num_key_value_heads: 5 }, /num_key_value_heads is 5, which does not divide num_attention_heads \(32\)/],
    [{ num_key_value_heads: 64 }, /num_key_value_heads is 64/],
    [{ head_dim: 80 }, /head_dim is 80; Fastgen supports 32, 64, 128/],
    [{ hidden_size: 4100 }, /head_dim is 128.125 \(hidden_size \/ num_attention_heads\)/],
    [{ rms_norm_eps: 0 }, /rms_norm_eps is 0/],
    [{ rms_norm_eps: 1.5 }, /rms_norm_eps is 1.5/],
    [{ rope_theta: -3 }, /rope_theta is -3/],
    [{ rope_theta: 0.5 }, /rope_theta is 0.5; it must be larger than 1/],
    [{ rope_scaling: { type: "longrope" } }, /rope_type "longrope"/],
    [{ rope_scaling: { factor: 4 } }, /rope_scaling has factor but neither rope_type nor type: add "rope_type"/],
    [
      { rope_parameters: { rope_theta: 1e6, beta_fast: 2 } },
      /rope_parameters has beta_fast but neither rope_type nor type/,
    ],
    [{ rope_scaling: { type: "yarn", rope_type: "default" } }, /rope_type is "default" and .*type is "yarn"/],
    [{ rope_scaling: { type: 3 } }, /rope_scaling.type is 3/],
    [{ rope_scaling: "yarn" }, /rope_scaling is "yarn"/],
    [{ rope_parameters: { rope_theta: "1e6" } }, /rope_parameters.rope_theta is "1e6"/],
    [
      { rope_scaling: { type: "yarn", factor: 4, attn_factor: 0.5, attention_factor: 1 } },
      /attn_factor stands beside attention_factor/,
    ],
    [{ rope_scaling: { type: "yarn", factor: 4, attn_factor: -1 } }, /rope_scaling.attn_factor is -1/],
    [{ rope_scaling: { type: "yarn", factor: 4, extrapolation_factor: 0.5 } }, /extrapolation_factor is 0.5; only 1/],
    [{ rope_scaling: { rope_type: "linear", factor: -2 } }, /rope_scaling.factor is -2/],
    [{ rope_parameters: { full_attention: {}, sliding_attention: {} } }, /a RoPE that differs between layers/],
    [{ partial_rotary_factor: 0.5 }, /partial_rotary_factor is 0.5/],
    [{ max_position_embeddings: null }, /max_position_embeddings is null/],
  ];
  for (const [changes, message] of cases) {
    test(JSON.stringify(changes), () => {
      expect(() => parse(changes)).toThrow(message);
      expect(() => parse(changes)).toThrow(FastgenError);
    });
  }

  test("in a message of bounded length, whatever the file holds", () => {
    const long = "x".repeat(3_000_000);
    for (const changes of [
      { architectures: [long] },
      { hidden_act: long },
      { dtype: long },
      { [long]: NaN },
      { vocab_size: long },
    ]) {
      const text = JSON.stringify({ ...LLAMA, ...changes });
      let message = "";
      try {
        parseConfig(text);
      } catch (error) {
        message = (error as Error).message;
      }
      expect(message.length).toBeLessThan(1000);
    }
  });

  test("an unsupported architecture, for what it is", () => {
    const kinds: [string, object, string][] = [
      ["T5ForConditionalGeneration", { is_encoder_decoder: true }, "an encoder-decoder"],
      ["LlavaForConditionalGeneration", { vision_config: {} }, "a model of images"],
      ["Qwen2_5_VLForConditionalGeneration", {}, "a model of images"],
      ["ViTForImageClassification", {}, "a model of images"],
      ["WhisperForConditionalGeneration", { is_encoder_decoder: true }, "a model of sound"],
      ["BertForMaskedLM", {}, "an encoder, which writes no text"],
      ["XLMRobertaModel", {}, "an encoder, which writes no text"],
      ["LlamaForSequenceClassification", {}, "a classifier or reward model, which writes no text"],
      ["Qwen3Model", {}, "a model without a language-model head, which writes no text"],
      ["MixtralForCausalLM", { num_local_experts: 8 }, "a mixture of experts"],
      ["Qwen3MoeForCausalLM", {}, "a mixture of experts"],
      ["MambaForCausalLM", {}, "a state-space or recurrent model"],
    ];
    for (const [name, config, kind] of kinds) {
      expect(() => parse({ architectures: [name], ...config })).toThrow(
        `config.json: this is ${kind}: the architecture ${name} is not supported; Fastgen supports LlamaForCausalLM`,
      );
    }
    expect(() => parse({ architectures: undefined, _class_name: "UNet2DConditionModel" })).toThrow(
      "this is a diffusion model: no architecture is named",
    );
    expect(() => parse({ architectures: ["FalconForCausalLM"] })).toThrow(
      "config.json: the architecture FalconForCausalLM is not supported",
    );
  });

  test("what is not JSON", () => {
    const text = JSON.stringify(LLAMA).replace('"rms_norm_eps":0.00001', '"rms_norm_eps": NaN');
    expect(() => parseConfig(text)).toThrow("config.json: rms_norm_eps is NaN; it must be a finite number");
    expect(() => parseConfig("")).toThrow(/not valid JSON/);
    expect(() => parseConfig("[]")).toThrow(/is not an object/);
    expect(() => parseConfig(JSON.stringify(LLAMA).replace("4096", "1e999"))).toThrow(/hidden_size/);
  });

  test("a biased Qwen2 is what Qwen2 is", () => {
    expect(parse({ architectures: ["Qwen2ForCausalLM"], attention_bias: true }).shape.qkvBias).toBe(true);
  });
});

test("keys that are not used may hold anything", () => {
  const plain = parse();
  const anything = ["NaN", "-Infinity", "1e999", "123456789012345678901234567890", "null", '"x"', "[[]]", '{"a":NaN}'];
  const unused = [
    "initializer_range",
    "transformers_version",
    "model_type",
    "sliding_window", // Llama has none
    "max_window_layers",
    "layer_types",
    "use_sliding_window",
    "original_max_position_embeddings", // a scaling needs it
    "bos_token_id",
  ];
  for (const value of anything) {
    for (const key of unused) {
      expect(parseConfig(`${JSON.stringify(LLAMA).slice(0, -1)}, "${key}": ${value}}`)).toEqual(plain);
    }
    const qwen = (key: string) =>
      `${JSON.stringify({ ...LLAMA, architectures: ["Qwen2ForCausalLM"], use_sliding_window: false }).slice(0, -1)}, "${key}": ${value}}`;
    expect([...parseConfig(qwen("sliding_window")).shape.layerWindow]).toEqual([0, 0, 0, 0]);
    const rope = JSON.stringify({ ...LLAMA, rope_scaling: { rope_type: "linear", factor: 2 } });
    const more = rope.replace('"factor":2', `"factor":2,"beta_fast":${value},"attn_factor":${value}`);
    expect(parseConfig(more)).toEqual(parseConfig(rope));
  }
});

test("any value for any key gives a sound shape or a FastgenError", () => {
  const keys = fc.constantFrom(
    ...Object.keys(LLAMA),
    "head_dim",
    "rope_scaling",
    "rope_theta",
    "sliding_window",
    "layer_types",
    "rope_parameters",
  );
  const values = fc.oneof(
    fc.jsonValue(),
    fc.integer(),
    fc.double(),
    fc.constantFrom(0, 1, -1, 1e308, 2 ** 31, 2 ** 53),
  );
  fc.assert(
    fc.property(
      fc.constantFrom(...SUPPORTED_ARCHITECTURES),
      fc.dictionary(keys, values, { maxKeys: 3 }),
      (name, changes) => {
        let config: ReturnType<typeof parseConfig>;
        try {
          config = parse({ architectures: [name], ...changes });
        } catch (error) {
          expect(error).toBeInstanceOf(FastgenError);
          return;
        }
        const { shape, maxContext } = config;
        expect(shape.ropeInvFreq.every((x) => Number.isFinite(x) && x >= 0)).toBe(true);
        expect(Number.isInteger(maxContext) && maxContext > 0).toBe(true);
        expect(shape.heads % shape.kvHeads).toBe(0);
      },
    ),
    { numRuns: 1000 },
  );
});
