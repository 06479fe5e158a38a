import { beforeAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import golden from "../../test/golden/tokenizers.json";
import { Tokenizer } from "../text/tokenizer.ts";
import { codePoints, PromptOffsets } from "./text-offsets.ts";

test("code points are counted as Python counts them", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      expect(codePoints(text)).toBe([...text].length);
    }),
  );
});

describe("where tokens begin", () => {
  const [BOS, END] = [256, 257];
  const SPECIALS = { [BOS]: "<s>", [END]: "<|end|>" } as Record<number, string>;
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    const bytes = Array.from({ length: 256 }, (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, "0")}>`);
    const vocab = Object.fromEntries([...bytes, SPECIALS[BOS], SPECIALS[END]].map((token, id) => [token, id]));
    const special = { special: true, single_word: false, lstrip: false, rstrip: false, normalized: false };
    tokenizer = await Tokenizer.load({
      tokenizer: JSON.stringify({
        added_tokens: [BOS, END].map((id) => ({ ...special, id, content: SPECIALS[id] })),
        decoder: { type: "Sequence", decoders: [{ type: "ByteFallback" }, { type: "Fuse" }] },
        model: { type: "BPE", vocab, merges: [], byte_fallback: true },
      }),
    });
  });

  const offsetsOf = (text: string | null, ids: Iterable<number>, skipSpecialTokens = true) => {
    const offsets = new PromptOffsets(tokenizer, text, skipSpecialTokens);
    return Array.from(ids, (id) => offsets.next(id));
  };
  /** Texts, and special tokens among them. */
  const parts = fc.array(fc.oneof(fc.string({ unit: "grapheme" }), fc.constantFrom(BOS, END)), { maxLength: 8 });

  /** The ids of the parts, and where each begins: a special token takes its text's place, or none where `shown` says so. */
  function expected(all: (string | number)[], shown: (id: number) => boolean) {
    const ids: number[] = [];
    const offsets: number[] = [];
    let at = 0;
    for (const part of all) {
      if (typeof part === "number") {
        ids.push(part);
        offsets.push(at);
        if (shown(part)) at += SPECIALS[part]!.length;
        continue;
      }
      for (const character of part) {
        // All bytes of a character stand where it does.
        for (const byte of Buffer.from(character)) {
          ids.push(byte);
          offsets.push(at);
        }
        at++;
      }
    }
    return { ids, offsets };
  }

  test("in a text, special tokens that are written in it, and one before it", () => {
    fc.assert(
      fc.property(parts, fc.boolean(), fc.boolean(), (all, skip, begins) => {
        const text = all.map((part) => (typeof part === "number" ? SPECIALS[part]! : part)).join("");
        const { ids, offsets } = expected(all, () => true);
        // A text that begins with BOS has no other before it here: nothing would tell the two apart.
        const before = begins && !text.startsWith("<s>") ? [BOS] : [];
        expect(offsetsOf(text, [...before, ...ids], skip)).toEqual([...before.map(() => 0), ...offsets]);
      }),
    );
  });

  test("in ids, whose text has special tokens only where they are shown", () => {
    fc.assert(
      fc.property(parts, fc.boolean(), (all, skip) => {
        const { ids, offsets } = expected(all, () => !skip);
        expect(offsetsOf(null, ids, skip)).toEqual(offsets);
      }),
    );
  });

  test("never past the end of the text", () => {
    expect(offsetsOf("ab", Buffer.from("abcd"))).toEqual([0, 1, 2, 2]);
    expect(offsetsOf("a", [...Buffer.from("ab"), END])).toEqual([0, 1, 1]);
  });

  test("the space that a tokenizer puts before a text is not in it", async () => {
    const { prepended } = golden.tokenizers;
    const spaced = await Tokenizer.load({ tokenizer: JSON.stringify(prepended) });
    const text = "Hello wide world";
    for (const source of [text, null]) {
      const offsets = new PromptOffsets(spaced, source, true);
      const ids = await spaced.encode(text, false);
      const found = Array.from(ids, (id) => offsets.next(id));
      for (const [i, at] of found.entries()) {
        const piece = text.slice(at, found[i + 1] ?? text.length);
        expect(spaced.tokenText(ids[i]!).replaceAll("▁", " ").trimStart()).toBe(piece.trimStart());
      }
      expect(offsets.next(ids[0]!)).toBe(text.length);
    }
  });

  test("what turns out not to be UTF-8 is a character of its own: the next token begins after it", () => {
    // The first byte of é, then "a"; the first two of 😀, then é, whole.
    expect(offsetsOf(null, [0xc3, 0x61, 0x62])).toEqual([0, 1, 2]);
    expect(offsetsOf(null, [0xf0, 0x9f, 0xc3, 0xa9, 0x61])).toEqual([0, 0, 1, 1, 2]);
    // The bytes of U+FFFD itself are one character.
    expect(offsetsOf(null, [...Buffer.from("\ufffd"), 0x61])).toEqual([0, 0, 0, 1]);
  });
});
