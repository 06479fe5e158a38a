/** What a tokenizer's description says of where its texts may be cut. That cuts by these rules are right: pieces.test.ts. */
import { describe, expect, test } from "bun:test";
import { readCutRules } from "./cut-rules.ts";

const BPE = { type: "BPE" };
const rules = (json: object, model: object = BPE) => readCutRules({ model, ...json });
const sequence = (key: string, ...parts: object[]) => ({ type: "Sequence", [key]: parts });

test("nothing is cut where a part cannot be read, or looks further than a few characters", () => {
  for (const json of [null, {}, { model: 1 }])
    expect(readCutRules(json)).toMatchObject({ cuts: false, withinWords: false });
  const far = [
    { type: "Precompiled" },
    { type: "Replace", pattern: { Regex: " +" } },
    sequence("normalizers", { type: "NFC" }, sequence("normalizers", { type: "BertNormalizer" })),
    { type: "Sequence", normalizers: 1 },
  ];
  for (const normalizer of far) expect(rules({ normalizer }).cuts).toBe(false);
  expect(rules({ pre_tokenizer: { type: "Sequence" } }).cuts).toBe(false);
  expect(rules({ normalizer: { type: "Replace", pattern: { String: " " } } }).cuts).toBe(true);
  expect(rules({}).cuts).toBe(true);
});

test("words are cut where byte pair encoding is all there is to a token", () => {
  expect([rules({}, BPE), rules({}, {})].map(({ withinWords }) => withinWords)).toEqual([true, true]);
  const others = [
    { type: "Unigram" },
    { ...BPE, dropout: 0.1 },
    { ...BPE, continuing_subword_prefix: "##" },
    { ...BPE, end_of_word_suffix: "</w>" },
  ];
  for (const model of others) expect(rules({}, model)).toMatchObject({ cuts: true, withinWords: false });
});

test("compositions of every kind join characters", () => {
  const joins = (normalizer: object) => rules({ normalizer }).joinsCharacters;
  for (const type of ["NFC", "NFD", "NFKC", "NFKD"]) expect(joins({ type })).toBe(true);
  expect(joins(sequence("normalizers", { type: "Lowercase" }, { type: "NFKC" }))).toBe(true);
  expect(joins({ type: "Lowercase" })).toBe(false);
});

test("no cut is closer to the end of a piece than the longest added token", () => {
  const guard = (...texts: string[]) => rules({ added_tokens: texts.map((content) => ({ content })) }).guard;
  expect(guard("x".repeat(100), "y")).toBe(100);
  expect(guard("y")).toBe(guard());
  expect(guard()).toBeGreaterThanOrEqual(32);
});

describe("a space before a text", () => {
  const cases: [object, boolean][] = [
    [{ pre_tokenizer: { type: "ByteLevel" } }, true],
    [{ pre_tokenizer: { type: "ByteLevel", add_prefix_space: false } }, false],
    [{ pre_tokenizer: { type: "Metaspace" } }, true],
    [{ pre_tokenizer: { type: "Metaspace", add_prefix_space: false } }, false],
    ...(["always", "first", "never"] as const).map((prepend_scheme): [object, boolean] => [
      { pre_tokenizer: sequence("pretokenizers", { type: "Metaspace", prepend_scheme }) },
      prepend_scheme !== "never",
    ]),
    [{ normalizer: { type: "Prepend", prepend: "▁" } }, true],
    [{ normalizer: { type: "NFC" } }, false],
  ];
  for (const [json, prefixes] of cases) test(JSON.stringify(json), () => expect(rules(json).prefixes).toBe(prefixes));
});

describe("words that are the same wherever a text is cut", () => {
  const cases: [object, boolean][] = [
    [{ type: "Metaspace" }, true],
    [{ type: "ByteLevel", use_regex: false }, true],
    [{ type: "ByteLevel" }, false],
    [{ type: "Split", pattern: { String: " " } }, true],
    [{ type: "Split", pattern: { String: "👋" } }, true],
    [{ type: "Split", pattern: { String: "ab" } }, false],
    [{ type: "Split", pattern: { Regex: " " } }, false],
    [{ type: "Digits" }, false],
    [sequence("pretokenizers", { type: "Split", pattern: { String: " " } }, { type: "ByteLevel" }), false],
  ];
  for (const [pre_tokenizer, same] of cases) {
    test(JSON.stringify(pre_tokenizer), () => expect(rules({ pre_tokenizer }).sameWordsAnywhere).toBe(same));
  }
});
