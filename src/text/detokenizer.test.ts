import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Detokenizer, incompleteSuffix } from "./detokenizer.ts";
import { TEST_TOKENIZERS, testTokenizer, testTokenizerFiles } from "./test-tokenizers.ts";
import { buildTokenTable, readTokenizerJson, type TokenTable } from "./token-table.ts";
import { Tokenizer } from "./tokenizer.ts";

const lossy = (bytes: Uint8Array) => new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);

/** A vocabulary of all 256 bytes and the tokens given, byte-level as GPT-2's; id = byte for the first 256. */
function byteTable(added: { content: string; special: boolean }[] = []): TokenTable {
  const vocab: Record<string, number> = {};
  let next = 256;
  for (let b = 0; b < 256; b++) {
    const printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
    vocab[String.fromCharCode(printable ? b : next++)] = b;
  }
  const added_tokens = added.map((token, i) => ({ id: 256 + i, ...token }));
  const json = { added_tokens, decoder: { type: "ByteLevel" }, model: { type: "BPE", vocab, merges: [] } };
  return buildTokenTable(readTokenizerJson(JSON.stringify(json)));
}

const table = byteTable([
  { content: "<|end|>", special: true },
  { content: "<tool>", special: false },
]);

test("any bytes, token by token: the pieces add up to the decoded whole, and none ends within a character", () => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 20 }),
    fc.string({ unit: "grapheme", maxLength: 12 }).map((text) => new TextEncoder().encode(text)),
    // what UTF-8 decoders get wrong: overlong forms, surrogates, cut characters
    fc
      .array(
        fc.constantFrom(0x41, 0x80, 0xbf, 0xc0, 0xc3, 0xe0, 0xe2, 0xed, 0xa0, 0x9f, 0xf0, 0x90, 0xf4, 0x8f, 0xf5, 0xff),
        { maxLength: 12 },
      )
      .map((b) => Uint8Array.from(b)),
  );
  fc.assert(
    fc.property(bytes, (input) => {
      const detokenizer = new Detokenizer(table);
      let text = "";
      for (const byte of input) {
        const piece = detokenizer.pushOne(byte);
        expect(piece.isWellFormed()).toBe(true);
        text += piece;
        expect(lossy(input).startsWith(text)).toBe(true);
      }
      expect(text + detokenizer.flush()).toBe(lossy(input));
    }),
    { numRuns: 3000 },
  );
});

test("exactly what may become a character is held back", () => {
  const held = (...bytes: number[]) => incompleteSuffix(Uint8Array.from(bytes), bytes.length);
  expect(held()).toBe(0);
  expect(held(0x41)).toBe(0);
  expect(held(0xc3)).toBe(1);
  expect(held(0xe2, 0x82)).toBe(2);
  expect(held(0xe2, 0x82, 0xac)).toBe(0);
  expect(held(0xf0, 0x9f, 0x98)).toBe(3);
  expect(held(0xf0, 0x9f, 0x98, 0x80)).toBe(0);
  expect(held(0xe0, 0x80)).toBe(0); // overlong
  expect(held(0xed, 0xa0)).toBe(0); // surrogate
  expect(held(0xf4, 0x90)).toBe(0); // past U+10FFFF
  expect(held(0xc0)).toBe(0);
  expect(held(0xff)).toBe(0);
  expect(held(0x80, 0x80, 0x80)).toBe(0);
});

test("an emoji comes out once it is whole; a cut one at the end is U+FFFD", () => {
  const detokenizer = new Detokenizer(table);
  expect([0xf0, 0x9f, 0x98, 0x80, 0x21].map((id) => detokenizer.pushOne(id))).toEqual(["", "", "", "😀", "!"]);
  expect(detokenizer.push([0xf0, 0x9f])).toBe("");
  expect(detokenizer.flush()).toBe("\ufffd");
  expect(detokenizer.flush()).toBe("");
});

test("special tokens are left out unless asked for, and do not join what they part", () => {
  const ids = [0x61, 256, 0x62, 257, 0xe2, 256, 0x82, 0xac];
  expect(new Detokenizer(table).push(ids)).toBe("ab<tool>€");
  expect(new Detokenizer(table, { skipSpecialTokens: false }).push(ids)).toBe(
    "a<|end|>b<tool>\ufffd<|end|>\ufffd\ufffd",
  );
});

test("ids outside the vocabulary have no text", () => {
  const detokenizer = new Detokenizer(table);
  expect(detokenizer.push([-1, 1_000_000, Number.NaN, 0x61])).toBe("a");
});

describe("a Llama 2 decoder: Replace, ByteFallback, Fuse, Strip", () => {
  const vocab: Record<string, number> = {
    "<unk>": 0,
    "▁Hello": 1,
    "▁world": 2,
    "!": 3,
    "▁": 4,
    "▁▁x": 5,
    "<0x20>": 6,
    "<0xe2>": 7,
    "<0x82>": 8,
    "<0xAC>": 9,
    é: 10,
  };
  const tokenizer = JSON.stringify({
    version: "1.0",
    added_tokens: [
      { id: 11, content: "</s>", special: true, single_word: false, lstrip: false, rstrip: false, normalized: false },
    ],
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        { type: "Strip", content: " ", start: 1, stop: 0 },
      ],
    },
    model: { type: "BPE", unk_token: "<unk>", byte_fallback: true, vocab, merges: [] },
  });

  test("the space before a text goes, the space before a continuation stays", async () => {
    const { table } = await Tokenizer.load({ tokenizer });
    expect(new Detokenizer(table, { wholeText: true }).push([1, 2, 3])).toBe("Hello world!");
    expect(new Detokenizer(table).push([1, 2, 3])).toBe(" Hello world!");
    expect(new Detokenizer(table).push([3, 7, 8, 9, 10])).toBe("!€é");
    expect(new Detokenizer(table, { wholeText: true }).push([11, 4, 2])).toBe(" world");
    expect(new Detokenizer(table, { wholeText: true }).push([6, 6, 3])).toBe(" !");
  });

  test("as tokenizers does it", async () => {
    const loaded = await Tokenizer.load({ tokenizer });
    // Whole byte runs only: tokenizers shows a broken run byte by byte.
    const run = fc.constantFrom([1], [2], [3], [4], [5], [6], [7, 8, 9], [10], [11]);
    await fc.assert(
      fc.asyncProperty(fc.array(run, { maxLength: 10 }), fc.boolean(), async (runs, skipSpecialTokens) => {
        const ids = runs.flat();
        expect(loaded.decode(ids, { skipSpecialTokens })).toBe(await loaded.nativeDecode(ids, skipSpecialTokens));
      }),
      { numRuns: 500 },
    );
  });
});

describe.each(["always", "first", "never"])("a Metaspace decoder, prepend_scheme %s", (prepend_scheme) => {
  test("as tokenizers does it", async () => {
    const vocab = { a: 0, "▁a": 1, "▁": 2, "▁▁b": 3, "c▁d": 4, é: 5 };
    const loaded = await Tokenizer.load({
      tokenizer: JSON.stringify({
        version: "1.0",
        added_tokens: [],
        normalizer: null,
        pre_tokenizer: null,
        post_processor: null,
        decoder: { type: "Metaspace", replacement: "▁", prepend_scheme, split: true },
        model: { type: "BPE", vocab, merges: [] },
      }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 8 }), async (ids) => {
        expect(loaded.decode(ids)).toBe(await loaded.nativeDecode(ids, true));
      }),
      { numRuns: 300 },
    );
  });
});

for (const name of TEST_TOKENIZERS) {
  const files = testTokenizerFiles(name);
  describe.skipIf(!files)(`the real tokenizer ${name}`, () => {
    test("random ids: the pieces add up to what tokenizers decodes", async () => {
      const tokenizer = await testTokenizer(name);
      const ids = fc.array(fc.integer({ min: 0, max: tokenizer.vocabSize - 1 }), { maxLength: 60 });
      await fc.assert(
        fc.asyncProperty(ids, fc.boolean(), async (ids, skipSpecialTokens) => {
          const detokenizer = tokenizer.detokenizer({ skipSpecialTokens, wholeText: true });
          const pieces = ids.map((id) => detokenizer.pushOne(id));
          pieces.push(detokenizer.flush());
          expect(pieces.join("")).toBe(await tokenizer.nativeDecode(ids, skipSpecialTokens));
        }),
        { numRuns: 300 },
      );
    });

    test("text comes back", async () => {
      const tokenizer = await testTokenizer(name);
      await fc.assert(
        fc.asyncProperty(fc.string({ unit: "grapheme", maxLength: 40 }), async (text) => {
          // Qwen's normaliser composes
          const expected = name === "qwen2_5" ? text.normalize("NFC") : text;
          const ids = await tokenizer.encode(text, false);
          expect(tokenizer.decode(ids, { skipSpecialTokens: false })).toBe(expected);
        }),
        { numRuns: 200 },
      );
    });
  });
}
