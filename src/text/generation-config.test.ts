import { describe, expect, test } from "bun:test";
import { readGenerationConfig, samplingDefaults } from "./generation-config.ts";

const IDS: Record<string, number> = { "</s>": 7, "<|turn|>": 8 };
const tokenizer = {
  tokenToId: (token: string) => IDS[token] ?? null,
  leadingSpecial: (text: string) => IDS[Object.keys(IDS).find((token) => text.startsWith(token)) ?? ""] ?? null,
};
const asText = (value: object | string | null) => (typeof value === "object" && value ? JSON.stringify(value) : value);
const read = (
  generation: object | string | null,
  config: object = {},
  tokenizerConfig: object | null = null,
  more: { specialTokensMap?: string; afterAnswer?: string } = {},
) =>
  readGenerationConfig(
    {
      generationConfig: asText(generation) as string | null,
      config: JSON.stringify(config),
      tokenizerConfig: asText(tokenizerConfig) as string | null,
      specialTokensMap: more.specialTokensMap ?? null,
    },
    tokenizer,
    more.afterAnswer,
  );

describe("stop ids", () => {
  test("of generation_config.json stand in for those of config.json", () => {
    // As numbers they are in another order than as text.
    expect(read({ eos_token_id: [9, 10, 3] }, { eos_token_id: [4, 3] }).stopIds).toEqual([3, 9, 10]);
    expect(read({ eos_token_id: 0 }, { eos_token_id: 4 }).stopIds).toEqual([0]);
  });

  test("of config.json count where generation_config.json has none", () => {
    expect(read(null, { eos_token_id: 4 }).stopIds).toEqual([4]);
    for (const generation of [{}, { eos_token_id: null }, { eos_token_id: [] }]) {
      expect(read(generation, { eos_token_id: [5, 4] }).stopIds).toEqual([4, 5]);
    }
    expect(read(null, { eos_token_id: null }).stopIds).toEqual([]);
  });

  test("have the tokenizer's own eos_token among them", () => {
    expect(read({ eos_token_id: 9 }, { eos_token_id: 4 }, { eos_token: "</s>" }).stopIds).toEqual([7, 9]);
    expect(read(null, {}, { eos_token: { content: "</s>" } }).stopIds).toEqual([7]);
    expect(read(null, {}, { eos_token: "<unknown>" }).stopIds).toEqual([]);
    expect(read(null, {}, null, { specialTokensMap: '{"eos_token":"</s>"}' }).stopIds).toEqual([7]);
  });

  test("have the token among them that ends a turn in the chat template", () => {
    expect(read({ eos_token_id: 9 }, { eos_token_id: 8 }, null, { afterAnswer: "<|turn|>\n" }).stopIds).toEqual([8, 9]);
    expect(read({ eos_token_id: 9 }, {}, null, { afterAnswer: "\n<|turn|>" }).stopIds).toEqual([8, 9]);
    expect(read({ eos_token_id: 9 }, {}, null, { afterAnswer: "\nUser: <|turn|>" }).stopIds).toEqual([9]);
  });
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

describe("the user's word on a model's sampling defaults", () => {
  const ofModel = { temperature: 0.6, top_k: 20 };

  test("they are kept, or dropped; single ones are replaced or added", () => {
    expect(samplingDefaults({})(ofModel)).toEqual(ofModel);
    expect(samplingDefaults({ generation_config: "vllm" })(ofModel)).toEqual({});
    const override_generation_config = { temperature: 0, max_new_tokens: 9, top_p: null };
    expect(samplingDefaults({ override_generation_config })(ofModel)).toEqual({
      temperature: 0,
      top_k: 20,
      max_tokens: 9,
    });
    const both = { generation_config: "vllm", override_generation_config } as const;
    expect(samplingDefaults(both)(ofModel)).toEqual({ temperature: 0, max_tokens: 9 });
  });

  test.each([
    [{ temperature: -1 }, "override_generation_config.temperature"],
    [{ max_new_tokens: 0 }, "override_generation_config.max_new_tokens"],
    [{ eos_token_id: 3 }, "override_generation_config.eos_token_id"],
  ])("%p is refused by name", (override_generation_config, param) => {
    expect(() => samplingDefaults({ override_generation_config })).toThrow(expect.objectContaining({ param }));
  });
});
