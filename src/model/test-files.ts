/** For tests: safetensors files and whole models of a few kilobytes. */

/** A file with this header, and `dataBytes` after it. */
export function safetensors(header: string | object, dataBytes: number): Uint8Array {
  const json = new TextEncoder().encode(typeof header === "string" ? header : JSON.stringify(header));
  const file = new Uint8Array(8 + json.length + dataBytes);
  new DataView(file.buffer).setBigUint64(0, BigInt(json.length), true);
  file.set(json, 8);
  return file;
}

export const TINY_CONFIG = {
  architectures: ["LlamaForCausalLM"],
  hidden_size: 64,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  intermediate_size: 96,
  vocab_size: 50,
  max_position_embeddings: 128,
  torch_dtype: "float16",
};

export type Shapes = Record<string, number[]>;

/** The tensors of TINY_CONFIG, in the names that transformers gives them. */
export function tinyShapes(): Shapes {
  const shapes: Shapes = {
    "model.embed_tokens.weight": [50, 64],
    "model.norm.weight": [64],
    "lm_head.weight": [50, 64],
  };
  for (let layer = 0; layer < 2; layer++) {
    const add = (name: string, ...shape: number[]) => {
      shapes[`model.layers.${layer}.${name}.weight`] = shape;
    };
    add("input_layernorm", 64);
    add("self_attn.q_proj", 64, 64);
    add("self_attn.k_proj", 32, 64);
    add("self_attn.v_proj", 32, 64);
    add("self_attn.o_proj", 64, 64);
    add("post_attention_layernorm", 64);
    add("mlp.gate_proj", 96, 64);
    add("mlp.up_proj", 96, 64);
    add("mlp.down_proj", 64, 96);
  }
  return shapes;
}

/** A file of tensors of two-byte elements, all zero. */
export function tensorFile(shapes: Shapes, dtype = "F16"): Uint8Array {
  let end = 0;
  const header = Object.entries(shapes).map(([name, shape]) => {
    const begin = end;
    end += shape.reduce((product, dim) => product * dim, 2);
    return [name, { dtype, shape, data_offsets: [begin, end] }];
  });
  return safetensors(Object.fromEntries(header), end);
}

/** A model in memory. */
export function tinyModel(shapes: Shapes = tinyShapes(), config: object = {}): Map<string, Uint8Array> {
  const text = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
  return new Map([
    ["config.json", text({ ...TINY_CONFIG, ...config })],
    ["tokenizer.json", text({ stands: "for one" })],
    ["model.safetensors", tensorFile(shapes)],
  ]);
}
