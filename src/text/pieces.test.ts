/** A text in pieces has the ids of the whole; a piece is short, and there are few of them. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import type { Tokenizer as NativeTokenizer } from "tokenizers";
import golden from "../../test/golden/tokenizers.json";
import { FastgenError } from "../errors.ts";
import { readCutRules } from "./cut-rules.ts";
import { nativeTokenizers } from "./native-tokenizers.ts";
import { encodeInPieces, PIECE_LENGTH } from "./pieces.ts";
import { TEST_TOKENIZERS, testTokenizerFiles } from "./test-tokenizers.ts";

const root = join(import.meta.dir, "../..");
const PROSE = readFileSync(join(root, "ARCHITECTURE.md"), "utf8");
const CODE = readFileSync(join(import.meta.dir, "pieces.ts"), "utf8");

const withPreTokenizer = (json: object, pre_tokenizer: object) => JSON.stringify({ ...json, pre_tokenizer });

/** tokenizer.json of every kind of tokenizer at hand, by name. */
const TOKENIZERS: Record<string, () => string> = {
  "GPT-2's pattern, and a space before every text": () =>
    withPreTokenizer(golden.tokenizers.byte_level, { type: "ByteLevel", add_prefix_space: true, trim_offsets: true }),
  "a word at each space": () =>
    withPreTokenizer(golden.tokenizers.metaspace, {
      type: "Metaspace",
      replacement: "▁",
      prepend_scheme: "always",
      split: true,
    }),
  "built-in model": () => readFileSync(join(root, "models/fastgen-tiny/tokenizer.json"), "utf8"),
  ...Object.fromEntries(Object.entries(golden.tokenizers).map(([name, json]) => [name, () => JSON.stringify(json)])),
  ...Object.fromEntries(
    TEST_TOKENIZERS.filter((name) => testTokenizerFiles(name)).map((name) => [
      name,
      () => testTokenizerFiles(name)!.tokenizer,
    ]),
  ),
};

/** The native tokenizer, counting what it is asked for. */
class Counting {
  readonly native: NativeTokenizer;
  readonly rules: ReturnType<typeof readCutRules>;
  /** Lengths of the texts that it has encoded. */
  lengths: number[] = [];
  onEncode = () => {};

  constructor(json: string) {
    this.rules = readCutRules(JSON.parse(json));
    this.native = nativeTokenizers().Tokenizer.fromString(json);
    this.native.setPostProcessor(nativeTokenizers().templateProcessing("$A", "$A $B", []));
  }

  async whole(text: string): Promise<number[]> {
    return (await this.native.encode(text, null, { addSpecialTokens: false })).getIds();
  }

  async inPieces(text: string, options = {}, pieceLength?: number): Promise<number[]> {
    const counted = {
      encode: (...args: Parameters<NativeTokenizer["encode"]>) => {
        this.lengths.push((args[0] as string).length);
        this.onEncode();
        return this.native.encode(...args);
      },
    } as NativeTokenizer;
    return [...(await encodeInPieces(counted, this.rules, text, options, pieceLength))];
  }
}

/** What pre-tokenizers, normalisers and added tokens treat in ways of their own. */
const BITS = [
  ..."aAéß日한 \n\t!'1_=#ﬁ▁\u0301\u200d\ufeff\ud800",
  ..."e\u0301|\u1112\u1161\u11ab|  |\n\n|\r\n|'s|'t|123|12345| the| World|camelCase|👩‍👩‍👧|🇩🇪|\u0323\u0307|ไทย|क्षि|</s>|<mask>|  <mask> |<sep>  |word|<|im_end|>|\\n".split(
    "|",
  ),
];
const bit = fc.constantFrom(...BITS);
const part = fc.oneof(
  fc.array(bit, { maxLength: 40 }).map((bits) => bits.join("")),
  fc.tuple(bit, fc.integer({ min: 1, max: 900 })).map(([text, times]) => text.repeat(times)),
  fc
    .tuple(fc.constantFrom(PROSE, CODE), fc.nat(CODE.length), fc.nat(1500))
    .map(([text, start, length]) => text.slice(start, start + length)),
);
const textOf = fc.array(part, { minLength: 2, maxLength: 8 }).map((parts) => parts.join(""));

describe.each(Object.keys(TOKENIZERS))("%s", (name) => {
  const tokenizer = new Counting(TOKENIZERS[name]!());

  test("the ids of the pieces are those of the whole", async () => {
    expect(tokenizer.rules.cuts).toBe(true);
    tokenizer.lengths = [];
    let texts = 0;
    await fc.assert(
      fc.asyncProperty(textOf, fc.integer({ min: 600, max: 1500 }), async (text, pieceLength) => {
        texts++;
        expect(await tokenizer.inPieces(text, {}, pieceLength)).toEqual(await tokenizer.whole(text));
      }),
      { numRuns: 40 },
    );
    expect(tokenizer.lengths.length).toBeGreaterThan(2 * texts);
  });

  const LENGTH = 3 * PIECE_LENGTH;
  const long: Record<string, string> = {
    "one letter": "a",
    spaces: " ",
    joiners: "\u200d",
    "line ends": "\n",
    "one ideograph": "日",
    emoji: "👩",
    prose: PROSE,
    code: CODE,
    letters: "acgt",
  };
  test.each(Object.keys(long))(
    "a long text of %s is encoded in short pieces, each character about once",
    async (kind) => {
      const text = long[kind]!.repeat(Math.ceil(LENGTH / long[kind]!.length)).slice(0, LENGTH);
      tokenizer.lengths = [];
      const ids = await tokenizer.inPieces(text);
      expect(Math.max(...tokenizer.lengths)).toBeLessThanOrEqual(2 * PIECE_LENGTH);
      expect(tokenizer.lengths.reduce((sum, length) => sum + length)).toBeLessThanOrEqual(1.5 * LENGTH);
      expect(Bun.deepEquals(ids, await tokenizer.whole(text))).toBe(true);
    },
  );
});

describe("a long text", () => {
  const tokenizer = new Counting(JSON.stringify(golden.tokenizers.byte_level));
  const text = PROSE.repeat(Math.ceil((8 * PIECE_LENGTH) / PROSE.length));

  test("that has a word too long for a piece goes on in short ones", async () => {
    tokenizer.lengths = [];
    const word = "aB".repeat(0.75 * PIECE_LENGTH);
    const ids = await tokenizer.inPieces(word + text);
    expect(tokenizer.lengths.slice(0, 3)).toEqual([PIECE_LENGTH, 2 * PIECE_LENGTH, PIECE_LENGTH]);
    expect(Math.max(...tokenizer.lengths)).toBe(2 * PIECE_LENGTH);
    expect(Bun.deepEquals(ids, await tokenizer.whole(word + text))).toBe(true);
  });

  test("may join a run to the word before it by what comes after the run", async () => {
    const { model, ...rest } = golden.tokenizers.byte_level;
    const vocab = { ...model.vocab, ĊĠ: 900 };
    const changed = { ...rest, model: { ...model, vocab, merges: [["Ċ", "Ġ"], ...model.merges] } };
    const tokenizer = new Counting(JSON.stringify(changed));
    // The pattern takes line ends with all the spaces between them as one word.
    for (const before of ["one", ""]) {
      const between = `${before}\n${" ".repeat(3000)}\ntwo`;
      const ids = await tokenizer.whole(between);
      expect(ids).toContain(900);
      expect(await tokenizer.inPieces(between, {}, 600)).toEqual(ids);
    }
  });

  test("may have a token that takes all the spaces before it", async () => {
    const tokenizer = new Counting(JSON.stringify(golden.tokenizers.stripping));
    const before = `one${" ".repeat(3000)}<mask> two`;
    const ids = await tokenizer.whole(before);
    expect(ids.length).toBeLessThan(8);
    expect(await tokenizer.inPieces(before, {}, 600)).toEqual(ids);
  });

  test("is given up before the next piece when the request is aborted", async () => {
    const stop = new AbortController();
    tokenizer.lengths = [];
    tokenizer.onEncode = () => tokenizer.lengths.length === 3 && stop.abort();
    const error = await tokenizer.inPieces(text, { signal: stop.signal }).catch((error) => error);
    tokenizer.onEncode = () => {};
    expect(error).toBeInstanceOf(FastgenError);
    expect(error.kind).toBe("aborted");
    expect(tokenizer.lengths.length).toBe(3);
  });

  test("is read no further once it has more ids than can be used", async () => {
    tokenizer.lengths = [];
    const whole = await tokenizer.whole(text);
    const ids = await tokenizer.inPieces(text, { most: 1000 });
    expect(ids.length).toBeGreaterThan(1000);
    expect(ids).toEqual(whole.slice(0, ids.length));
    expect(tokenizer.lengths.length).toBe(2);
    expect(await tokenizer.inPieces(text, { most: whole.length })).toEqual(whole);
  });

  test("that can be cut nowhere is one piece, and only one such piece is encoded at a time", async () => {
    // Marks that a normaliser may put into another order.
    const nfc = new Counting(JSON.stringify(golden.tokenizers.byte_level_nfc));
    const marks = "\u0301\u0323".repeat(2.5 * PIECE_LENGTH);
    let running = 0;
    let most = 0;
    const encode = nfc.native.encode.bind(nfc.native);
    nfc.native.encode = async (...args) => {
      if ((args[0] as string).length <= 4 * PIECE_LENGTH) return encode(...args);
      most = Math.max(most, ++running);
      return encode(...args).finally(() => running--);
    };
    const expected = await nfc.whole(marks);
    const all = await Promise.all([nfc.inPieces(marks), nfc.inPieces(marks), nfc.inPieces(marks)]);
    expect(most).toBe(1);
    for (const ids of all) expect(Bun.deepEquals(ids, expected)).toBe(true);
  });
});

describe("rules", () => {
  const rules = (changes: object) => readCutRules({ model: { type: "BPE", vocab: {}, merges: [] }, ...changes });

  test("a part that nothing is known of allows no cut", () => {
    expect(rules({}).cuts).toBe(true);
    expect(rules({ normalizer: { type: "Precompiled" } }).cuts).toBe(false);
    const unknown = {
      type: "Sequence",
      normalizers: [{ type: "NFC" }, { type: "Sequence", normalizers: [{ type: "Nmt" }] }],
    };
    expect(rules({ normalizer: unknown }).cuts).toBe(false);
    expect(rules({ normalizer: { type: "Replace", pattern: { Regex: "x+" } } }).cuts).toBe(false);
    expect(readCutRules(null).cuts).toBe(false);
  });

  test("only byte pair encoding may be cut within words", () => {
    expect(rules({}).withinWords).toBe(true);
    expect(rules({ model: { type: "Unigram" } }).withinWords).toBe(false);
    expect(rules({ model: { type: "BPE", end_of_word_suffix: "</w>" } }).withinWords).toBe(false);
    expect(rules({ model: { type: "BPE", dropout: 0.1 } }).withinWords).toBe(false);
  });

  test("the guard covers the longest added token", () => {
    expect(rules({ added_tokens: [{ content: "x".repeat(99) }] }).guard).toBe(99);
  });
});
