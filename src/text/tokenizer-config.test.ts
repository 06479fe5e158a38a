import { expect, test } from "bun:test";
import { tokenizerConfig } from "./tokenizer-config.ts";

test("the file's own fields, and the template that is in use", () => {
  const tokenizer = JSON.stringify({ tokenizer_class: "LlamaTokenizer", bos_token: "<s>", chat_template: "own" });
  const read = (chatTemplate: string | null, override?: string) =>
    tokenizerConfig({ tokenizerConfig: tokenizer, chatTemplate }, override);
  expect(read(null)).toEqual({ tokenizer_class: "LlamaTokenizer", bos_token: "<s>", chat_template: "own" });
  expect(read("file").chat_template).toBe("file");
  expect(read("file", "flag").chat_template).toBe("flag");
});

test("a model without the file has a class and nothing else", () => {
  const config = tokenizerConfig({ tokenizerConfig: null, chatTemplate: null });
  expect(config).toEqual({ tokenizer_class: "PreTrainedTokenizerFast" });
});
