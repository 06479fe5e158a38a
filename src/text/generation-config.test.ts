import { expect, test } from "bun:test";
import { readGenerationConfig } from "./generation-config.ts";

const tokenizer = { tokenToId: (token: string) => (token === "</s>" ? 7 : null) };
const read = (generation: object | string | null, config: object = {}, tokenizerConfig: object | null = null) =>
  readGenerationConfig(
    {
      generationConfig: typeof generation === "string" || generation === null ? generation : JSON.stringify(generation),
      config: JSON.stringify(config),
      tokenizerConfig: tokenizerConfig && JSON.stringify(tokenizerConfig),
    },
    tokenizer,
  );

test("stop ids come from all three files", () => {
  // Each file has one that the others lack, and all share one; as numbers they are in another order than as text.
  expect(read({ eos_token_id: [9, 3] }, { eos_token_id: [10, 3] }, { eos_token: "</s>" }).stopIds).toEqual([
    3, 7, 9, 10,
  ]);
  expect(read({ eos_token_id: 0 }).stopIds).toEqual([0]);
  expect(read(null, { eos_token_id: null }, { eos_token: { content: "</s>" } }).stopIds).toEqual([7]);
  expect(read(null, {}, { eos_token: "<unknown>" }).stopIds).toEqual([]);
});

test("sampling defaults are what the file sets, and no more", () => {
  expect(read(null).params).toEqual({});
  // Qwen2.5-7B-Instruct
  expect(
    read({
      do_sample: true,
      repetition_penalty: 1.05,
      temperature: 0.7,
      top_p: 0.8,
      top_k: 20,
      transformers_version: "4.37",
    }).params,
  ).toEqual({ repetition_penalty: 1.05, temperature: 0.7, top_p: 0.8, top_k: 20 });
  expect(read({ do_sample: false, max_new_tokens: 2048, temperature: null }).params).toEqual({ max_tokens: 2048 });
  expect(read({ temperature: 0 }).params).toEqual({ temperature: 0 });
  expect(read({ min_p: 0.05 }).params).toEqual({ min_p: 0.05 });
});

test("bad values are refused by file and key", () => {
  expect(() => read("{")).toThrow(/generation_config.json is not valid JSON/);
  expect(() => read({ temperature: -1 })).toThrow(/generation_config.json: temperature/);
  for (const max_new_tokens of [0, -1]) {
    expect(() => read({ max_new_tokens })).toThrow(/generation_config.json: max_new_tokens/);
  }
  expect(() => read({ eos_token_id: -5 })).toThrow(/generation_config.json: eos_token_id/);
  expect(() => read({ top_p: "high" })).toThrow(/generation_config.json: top_p/);
  expect(() => read(null, { eos_token_id: "x" })).toThrow(/config.json: eos_token_id/);
});
