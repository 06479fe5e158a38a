/** The real tokenizers that tests run on: three from npm, and the small model's where it is there. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { ModelFiles } from "../model/shape.ts";
import { Tokenizer } from "./tokenizer.ts";

const root = join(import.meta.dir, "../..");
const npm = (name: string) => join(root, "node_modules/@lenml", name, "models");

const DIRECTORIES: Record<string, string> = {
  llama3_1: npm("tokenizer-llama3_1"),
  qwen2_5: npm("tokenizer-qwen2_5"),
  mistral_nemo: npm("tokenizer-mistral_nemo"),
  smollm2: process.env.FASTGEN_TEST_MODEL ?? join(root, ".cache/models/SmolLM2-135M-Instruct"),
};

/** Names as in test/golden/text.json. */
export const TEST_TOKENIZERS = Object.keys(DIRECTORIES);

/** Null where the model is not on this machine. */
export function testTokenizerFiles(name: string): ModelFiles | null {
  const read = (file: string) => {
    const path = join(DIRECTORIES[name]!, file);
    return existsSync(path) ? readFileSync(path, "utf8") : null;
  };
  const tokenizer = read("tokenizer.json");
  if (tokenizer === null) return null;
  return {
    tokenizer,
    tokenizerConfig: read("tokenizer_config.json"),
    generationConfig: read("generation_config.json"),
    config: read("config.json") ?? "{}",
    chatTemplate: read("chat_template.jinja"),
    chatTemplateJson: read("chat_template.json"),
    specialTokensMap: read("special_tokens_map.json"),
    addedTokens: read("added_tokens.json"),
    namedTemplates: {},
  };
}

const loaded = new Map<string, Promise<Tokenizer>>();

/** Loaded once: the large ones take half a second. */
export function testTokenizer(name: string): Promise<Tokenizer> {
  let tokenizer = loaded.get(name);
  if (!tokenizer) {
    tokenizer = Tokenizer.load(testTokenizerFiles(name)!);
    loaded.set(name, tokenizer);
  }
  return tokenizer;
}
