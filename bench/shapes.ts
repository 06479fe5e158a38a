#!/usr/bin/env bun
/**
 * Folders with the config.json of well-known models, for runs with random weights (--load-format dummy): speed depends on
 * a model's shape, not on its weights. The tokenizer is the built-in model's, filled up with made-up words to the
 * model's vocabulary, so that every token is some text.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";

const common = { torch_dtype: "bfloat16", hidden_act: "silu", tie_word_embeddings: false };
const llama3Scaling = {
  rope_type: "llama3",
  factor: 8,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 8192,
};

/** As published with mistralai/Mistral-7B-Instruct-v0.3, Qwen/Qwen2.5-*-Instruct and meta-llama/Llama-3.1-*-Instruct. */
export const SHAPES: Record<string, Record<string, unknown>> = {
  "mistral-7b": {
    ...common,
    architectures: ["MistralForCausalLM"],
    hidden_size: 4096,
    intermediate_size: 14336,
    max_position_embeddings: 32768,
    num_attention_heads: 32,
    num_hidden_layers: 32,
    num_key_value_heads: 8,
    rms_norm_eps: 1e-5,
    rope_theta: 1e6,
    sliding_window: null,
    vocab_size: 32768,
  },
  "qwen2.5-7b": {
    ...common,
    architectures: ["Qwen2ForCausalLM"],
    hidden_size: 3584,
    intermediate_size: 18944,
    max_position_embeddings: 32768,
    num_attention_heads: 28,
    num_hidden_layers: 28,
    num_key_value_heads: 4,
    rms_norm_eps: 1e-6,
    rope_theta: 1e6,
    use_sliding_window: false,
    vocab_size: 152064,
  },
  "qwen2.5-14b": {
    ...common,
    architectures: ["Qwen2ForCausalLM"],
    hidden_size: 5120,
    intermediate_size: 13824,
    max_position_embeddings: 32768,
    num_attention_heads: 40,
    num_hidden_layers: 48,
    num_key_value_heads: 8,
    rms_norm_eps: 1e-6,
    rope_theta: 1e6,
    use_sliding_window: false,
    vocab_size: 152064,
  },
  "llama-3.1-8b": {
    ...common,
    architectures: ["LlamaForCausalLM"],
    hidden_size: 4096,
    intermediate_size: 14336,
    max_position_embeddings: 131072,
    num_attention_heads: 32,
    num_hidden_layers: 32,
    num_key_value_heads: 8,
    rms_norm_eps: 1e-5,
    rope_theta: 500000,
    rope_scaling: llama3Scaling,
    vocab_size: 128256,
  },
  "llama-3.1-70b": {
    ...common,
    architectures: ["LlamaForCausalLM"],
    hidden_size: 8192,
    intermediate_size: 28672,
    max_position_embeddings: 131072,
    num_attention_heads: 64,
    num_hidden_layers: 80,
    num_key_value_heads: 8,
    rms_norm_eps: 1e-5,
    rope_theta: 500000,
    rope_scaling: llama3Scaling,
    vocab_size: 128256,
  },
};

export const MODEL_NAMES: Record<string, string> = {
  "mistral-7b": "Mistral 7B",
  "qwen2.5-7b": "Qwen2.5 7B",
  "qwen2.5-14b": "Qwen2.5 14B",
  "llama-3.1-8b": "Llama 3.1 8B",
  "llama-3.1-70b": "Llama 3.1 70B",
};

export function writeShapes(directory: string): void {
  const builtIn = join(import.meta.dir, "..", "models", "fastgen-tiny");
  for (const [name, config] of Object.entries(SHAPES)) {
    const tokenizer = JSON.parse(readFileSync(join(builtIn, "tokenizer.json"), "utf8"));
    const { vocab } = tokenizer.model;
    const first = Object.keys(vocab).length + tokenizer.added_tokens.length;
    for (let id = first; id < (config.vocab_size as number); id++) vocab[`w${id}`] = id;
    const write = (file: string, text: string) => writeFileSync(join(directory, name, file), text);
    mkdirSync(join(directory, name), { recursive: true });
    write("config.json", `${JSON.stringify(config, null, 2)}\n`);
    write("tokenizer.json", JSON.stringify(tokenizer));
    write("tokenizer_config.json", readFileSync(join(builtIn, "tokenizer_config.json"), "utf8"));
  }
}

if (import.meta.main) {
  const program = new Command("bun bench/shapes.ts")
    .description(
      `Writes a folder for each of ${Object.keys(SHAPES).join(", ")}: configuration and tokenizer, no weights.`,
    )
    .argument("<folder>", "where they go")
    .parse();
  writeShapes(program.args[0]!);
}
