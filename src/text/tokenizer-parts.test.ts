/** Files that end the process, or take its memory, where they are not refused. Each runs in the library only once it passes. */
import { describe, expect, test } from "bun:test";
import { FastgenError } from "../errors.ts";
import { MAX_PIECE_LENGTH } from "../limits.ts";
import { Tokenizer } from "./tokenizer.ts";

const model = { type: "BPE", vocab: { a: 0, b: 1, ab: 2, " ": 3 }, merges: ["a b"] };
const file = (changes: object) =>
  JSON.stringify({ version: "1.0", added_tokens: [], decoder: { type: "Fuse" }, model, ...changes });
const load = (changes: object) => Tokenizer.load({ tokenizer: file(changes) });
const idsOf = async (text: string, changes: object) => [...(await (await load(changes)).encode(text, false))];

const regex = (type: string, Regex: string) => ({
  type,
  pattern: { Regex },
  content: "b",
  behavior: "Isolated",
  invert: false,
});
const replace = (text: string, content: string) => ({ type: "Replace", pattern: { String: text }, content });
const sequence = (...normalizers: object[]) => ({ type: "Sequence", normalizers });
const nested = (depth: number): object => (depth === 0 ? { type: "NFC" } : sequence(nested(depth - 1)));

/** A double-array trie that replaces "a" by `text`. */
function charsmap(text: string, change: (units: number[]) => void = () => {}): string {
  const units = new Array(512).fill(0);
  units[0] = 256 << 10; // the root's state is 256
  units[256 ^ 0x61] = 0x61 | (1 << 8) | (1 << 10); // "a", a leaf beside it
  units[256 ^ 0x61 ^ 1] = 0x8000_0000; // the replacement at 0
  change(units);
  const bytes = Buffer.alloc(4 + units.length * 4);
  bytes.writeUInt32LE(units.length * 4);
  for (const [i, unit] of units.entries()) bytes.writeUInt32LE(unit, 4 + i * 4);
  return Buffer.concat([bytes, Buffer.from(text)]).toString("base64");
}
const precompiled = (precompiled_charsmap: unknown) => ({ normalizer: { type: "Precompiled", precompiled_charsmap } });

const REFUSED: [name: string, changes: object, part: RegExp][] = [
  ["a regular expression without end", { pre_tokenizer: regex("Split", "(a+)+$") }, /part Split .*go back/],
  [
    "one within a sequence",
    { normalizer: sequence(sequence(regex("Replace", "(a|a)*[cd]"))) },
    /part Replace .*go back/,
  ],
  ["a reference back", { pre_tokenizer: regex("Split", "(a*)\\1") }, /references back/],
  ["a replacement of nothing", { normalizer: replace("", "b") }, /replaces nothing/],
  ["a replacement of what may be nothing", { normalizer: regex("Replace", "x*") }, /replaces nothing/],
  [
    "replacements that grow",
    { normalizer: sequence(replace("a", "a".repeat(300)), replace("a", "aaa")) },
    /normalizer may make 900 /,
  ],
  [
    "a long replacement when tokens are read",
    { decoder: { type: "Sequence", decoders: [replace("a", "a".repeat(65))] } },
    /decoder .* is not supported/,
  ],
  [
    "replacements that grow when tokens are read",
    { decoder: { type: "Sequence", decoders: Array(9).fill(replace("a", "a".repeat(64))) } },
    /makes long texts/,
  ],
  ["a long prefix", { normalizer: { type: "Prepend", prepend: "a".repeat(65) } }, /more than 64/],
  ["words of no length", { pre_tokenizer: { type: "FixedLength", length: 0 } }, /above 0/],
  ["a part without a type", { normalizer: { pattern: { String: "" }, content: "b" } }, /without a type/],
  ["parts nested too deeply", { normalizer: nested(5000) }, /nested too deeply/],
  [
    "a prefix that merges lack",
    { model: { ...model, continuing_subword_prefix: "####" } },
    /continuing_subword_prefix/,
  ],
  ["a table that is none", precompiled("AAAA"), /too short/],
  ["a table that is no text", precompiled(5), /string/],
  ["a table that is no base64", precompiled("?"), /not base64/],
  ["a table without entries", precompiled("AAAAAA=="), /do not fit/],
  [
    "a table that leads outside",
    precompiled(
      charsmap("b\0", (units) => {
        units[0] = 1 << 20;
      }),
    ),
    /leads outside/,
  ],
  [
    "a leaf outside",
    precompiled(
      charsmap("b\0", (units) => {
        units[256 ^ 0x61] = 0x61 | (1 << 8) | (1 << 20);
      }),
    ),
    /not there/,
  ],
  [
    "a replacement outside",
    precompiled(
      charsmap("b\0", (units) => {
        units[256 ^ 0x61 ^ 1] = 0x8000_0009;
      }),
    ),
    /not there/,
  ],
  [
    "a replacement within a character",
    precompiled(
      charsmap("é\0", (units) => {
        units[256 ^ 0x61 ^ 1] = 0x8000_0001;
      }),
    ),
    /not there/,
  ],
  ["a replacement without an end", precompiled(charsmap("b".repeat(500))), /too long/],
];

describe("refused, naming the part", () => {
  test.each(REFUSED)("%s", async (_name, changes, part) => {
    const error = await load(changes).catch((thrown) => thrown);
    expect(error).toBeInstanceOf(FastgenError);
    expect(error.kind).toBe("model");
    expect(error.message).toMatch(part);
    expect(error.message).toMatch(/write it anew with transformers$|supported are/);
  });
});

test("what does no harm is taken", async () => {
  expect(await idsOf("a", precompiled(charsmap("b\0")))).toEqual([1]);
  expect(await idsOf("xaxb", { normalizer: sequence(regex("Replace", "x+"), replace("bb", "")) })).toEqual([1, 0]);
  expect(await idsOf("aab", { pre_tokenizer: regex("Split", "a?") })).toEqual([0, 0, 1]);
  const merges = [["a", "##b"]];
  expect(
    await idsOf("ab", {
      model: { type: "BPE", vocab: { a: 0, "##b": 1, ab: 2 }, merges, continuing_subword_prefix: "##" },
    }),
  ).toEqual([2]);
});

test("a text that the tokenizer has no tokens for is the request's fault", async () => {
  const tokenizer = await load({ model: { ...model, unk_token: "<unk>" } });
  const error = await tokenizer.encode("abc", false).catch((thrown) => thrown);
  expect(error).toMatchObject({ kind: "invalid_request", message: expect.stringContaining("does not know") });
  expect([...(await tokenizer.encode("ab", false))]).toEqual([2]);
});

test("a long text that cannot be cut is refused, also where the tokenizer is good", async () => {
  const tokenizer = await load({ normalizer: regex("Replace", "x+") });
  const error = await tokenizer.encode("a".repeat(MAX_PIECE_LENGTH + 1), false).catch((thrown) => thrown);
  expect(error).toMatchObject({ kind: "invalid_request", message: expect.stringContaining("put line breaks in") });
  expect((await tokenizer.encode("a".repeat(1000), false)).length).toBe(1000);
});
