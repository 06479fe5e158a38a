/** The tokenizer as a whole; its table and its detokenizer have tests of their own. */
import { describe, expect, test } from "bun:test";
import { FastgenError } from "../errors.ts";
import { testTokenizer } from "./test-tokenizers.ts";
import { Tokenizer } from "./tokenizer.ts";

/** A byte-level BPE of a few tokens, with whatever its author had switched on. */
function tokenizerJson(changes: object = {}): string {
  return JSON.stringify({
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [
      { id: 3, content: "<s>", special: true, single_word: false, lstrip: false, rstrip: false, normalized: false },
    ],
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
    post_processor: {
      type: "TemplateProcessing",
      single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
      pair: [{ Sequence: { id: "A", type_id: 0 } }, { Sequence: { id: "B", type_id: 0 } }],
      special_tokens: { "<s>": { id: "<s>", ids: [3], tokens: ["<s>"] } },
    },
    decoder: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
    model: { type: "BPE", vocab: { a: 0, b: 1, ab: 2 }, merges: ["a b"] },
    ...changes,
  });
}

const load = (changes: object = {}) => Tokenizer.load({ tokenizer: tokenizerJson(changes) });

test("a prompt is encoded as it is, whatever truncation and padding the file carries", async () => {
  const tokenizer = await load({
    truncation: { direction: "Right", max_length: 2, strategy: "LongestFirst", stride: 0 },
    padding: {
      strategy: { Fixed: 9 },
      direction: "Right",
      pad_to_multiple_of: null,
      pad_id: 3,
      pad_type_id: 0,
      pad_token: "<s>",
    },
  });
  expect([...(await tokenizer.encode("abba", false))]).toEqual([2, 1, 0]);
});

test("special tokens are added where they are asked for, and only there", async () => {
  const tokenizer = await load();
  expect([...(await tokenizer.encode("ab", true))]).toEqual([3, 2]);
  expect([...(await tokenizer.encode("ab", false))]).toEqual([2]);
  expect([...(await tokenizer.encode("", true))]).toEqual([3]);
  expect([...(await tokenizer.encode("", false))]).toEqual([]);
  expect([...(await tokenizer.encode("a<s>b", false))]).toEqual([0, 3, 1]);
});

test("what it says of its tokens", async () => {
  const tokenizer = await load();
  expect(tokenizer.vocabSize).toBe(4);
  expect(tokenizer.longestToken).toBe(3);
  expect([tokenizer.tokenToId("ab"), tokenizer.tokenToId("zz")]).toEqual([2, null]);
  expect([tokenizer.idToToken(2), tokenizer.idToToken(9)]).toEqual(["ab", null]);
  expect([tokenizer.isSpecial(3), tokenizer.isSpecial(2)]).toEqual([true, false]);
  expect([...tokenizer.tokenBytes(2)]).toEqual([97, 98]);
  expect([tokenizer.tokenText(2), tokenizer.tokenText(9)]).toEqual(["ab", ""]);
  expect(tokenizer.decode([3, 0, 1])).toBe("ab");
  expect(tokenizer.decode([3, 0, 1], { skipSpecialTokens: false })).toBe("<s>ab");
});

test("ids that no token has, below and above those of the vocabulary, are no text", async () => {
  const tokenizer = await load({ model: { type: "BPE", vocab: { a: 0, b: 1, ab: 2, c: 6 }, merges: ["a b"] } });
  expect(tokenizer.vocabSize).toBe(7);
  for (const id of [4, 5, 7, 100_000]) {
    expect([tokenizer.idToToken(id), tokenizer.tokenText(id), tokenizer.isSpecial(id)]).toEqual([null, "", false]);
    expect(tokenizer.decode([0, id, 1], { skipSpecialTokens: false })).toBe("ab");
    const stream = tokenizer.detokenizer();
    expect(stream.push([0, id, 6]) + stream.flush()).toBe("ac");
  }
});

test("the special token that a text begins with, the longest of them", async () => {
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false };
  const token = (id: number, content: string, special = true) => ({ id, content, special, ...flags });
  const tokenizer = await load({ added_tokens: [token(3, "<s>"), token(4, "<s>>"), token(5, "<t>", false)] });
  const texts = ["<s>", "<s>> and more", " <s>", "<t>", ""];
  expect(texts.map((text) => tokenizer.leadingSpecial(text))).toEqual([3, 4, null, null, null]);
});

describe("a file that cannot be used", () => {
  test("is refused as the model's fault", async () => {
    await expect(load({ model: { type: "BPE", vocab: { a: 0 }, merges: ["x y"] } })).rejects.toThrow(
      /tokenizer.json cannot be read: .*Download the model again/,
    );
    await expect(Tokenizer.load({ tokenizer: "{" })).rejects.toBeInstanceOf(FastgenError);
  });

  test("is refused when tokenizers decodes other text than the table", async () => {
    // A run of bytes that is not UTF-8 as a whole: tokenizers gives up the character in it, which the table keeps.
    const byte = (token: string, text: string) => ({ type: "Replace", pattern: { String: token }, content: text });
    const bytes = [byte("X", "<0xC3>"), byte("Y", "<0xA9>"), byte("Z", "<0xFF>")];
    const changes = {
      added_tokens: [],
      post_processor: null,
      decoder: { type: "Sequence", decoders: [...bytes, { type: "ByteFallback" }, { type: "Fuse" }] },
      model: { type: "BPE", vocab: { X: 0, Y: 1, Z: 2 }, merges: [] },
    };
    await expect(load(changes)).rejects.toThrow(/its decoder gives other text/);
  });
});

test("a whole text that tokenizers began with a space comes back without it", async () => {
  const tokenizer = await testTokenizer("mistral_nemo");
  for (const text of ["Hello, wörld 👋", " two", "\n"]) {
    const ids = [...(await tokenizer.encode(text, false))];
    expect(tokenizer.decode(ids)).toBe(await tokenizer.nativeDecode(ids, true));
  }
});
