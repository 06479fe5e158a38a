import { expect, test } from "bun:test";
import fc from "fast-check";
import { FastgenError } from "../errors.ts";
import { tokenBytes } from "./detokenizer.ts";
import { buildTokenTable, readTokenizerJson } from "./token-table.ts";
import { Tokenizer } from "./tokenizer.ts";

const file = (changes: object = {}) => ({
  added_tokens: [],
  decoder: { type: "ByteLevel" },
  model: { type: "BPE", vocab: { a: 0, Ġb: 1 }, merges: [] },
  ...changes,
});
const build = (changes: object = {}) => buildTokenTable(readTokenizerJson(JSON.stringify(file(changes))));

test("ids may have holes; the highest id decides the size", () => {
  const table = build({ added_tokens: [{ id: 5, content: "<x>", special: true }] });
  expect(table.size).toBe(6);
  expect(table.tokens[3]).toBeUndefined();
  expect(tokenBytes(table, 3).length).toBe(0);
  expect(new TextDecoder().decode(tokenBytes(table, 1))).toBe(" b");
  expect([...table.special]).toEqual([0, 0, 0, 0, 0, 1]);
});

test("a Unigram vocabulary is a list", () => {
  const table = build({
    decoder: { type: "Metaspace", replacement: "▁" },
    model: {
      type: "Unigram",
      vocab: [
        ["<unk>", 0],
        ["▁a", -1],
      ],
    },
  });
  expect(new TextDecoder().decode(tokenBytes(table, 1))).toBe(" a");
});

test("a token with a character outside the byte alphabet stands for its own UTF-8", () => {
  const table = build({ added_tokens: [{ id: 2, content: "a b", special: false }] });
  expect(new TextDecoder().decode(tokenBytes(table, 2))).toBe("a b");
  expect(new TextDecoder().decode(tokenBytes(table, 1))).toBe(" b");
});

test("what a decoder takes off the start of a text", () => {
  const metaspace = (more: object) => build({ decoder: { type: "Metaspace", replacement: "▁", ...more } }).start;
  expect(metaspace({})).toEqual({ kind: "metaspace", replacement: "▁" });
  expect(metaspace({ add_prefix_space: false })).toEqual({ kind: "keep" });
  expect(metaspace({ add_prefix_space: true })).toEqual({ kind: "metaspace", replacement: "▁" });
  expect(metaspace({ add_prefix_space: true, prepend_scheme: "never" })).toEqual({ kind: "keep" });
  const strip = (start: number) => {
    const decoders = [{ type: "Fuse" }, { type: "Strip", content: " ", start, stop: 0 }];
    return build({ decoder: { type: "Sequence", decoders } }).start;
  };
  expect(strip(2)).toEqual({ kind: "strip", byte: 0x20, count: 2 });
  expect(strip(0)).toEqual({ kind: "keep" });
});

test("an unsupported decoder is refused by its name", () => {
  expect(() => build({ decoder: { type: "WordPiece" } })).toThrow(
    /decoder WordPiece is not supported; supported are ByteLevel/,
  );
  expect(() => build({ decoder: { type: "CTC" } })).toThrow(/CTC/);
  expect(() => build({ decoder: null })).toThrow(/decoder null/);
  const sequence = (...decoders: object[]) => build({ decoder: { type: "Sequence", decoders } });
  expect(() => sequence({ type: "Fuse" }, { type: "WordPiece" })).toThrow(/Sequence of Fuse, WordPiece/);
  expect(() =>
    sequence({ type: "ByteFallback" }, { type: "Replace", pattern: { String: "a" }, content: "" }),
  ).toThrow();
  expect(() => sequence({ type: "Replace", pattern: { Regex: "a+" }, content: "" })).toThrow(/Regex/);
  expect(() => sequence({ type: "Fuse" }, { type: "Strip", content: " ", start: 1, stop: 1 })).toThrow(/Strip/);
});

test("a damaged file is a clear error", async () => {
  const damaged: [string, RegExp][] = [
    ["", /tokenizer.json: not valid JSON/],
    ["[]", /tokenizer.json/],
    ["{}", /model/],
    [JSON.stringify(file({ model: { type: "BPE", vocab: {} } })), /vocab is empty/],
    [JSON.stringify(file({ model: { type: "BPE", vocab: { a: -1 } } })), /"a" has the id -1/],
    [JSON.stringify(file({ model: { type: "BPE", vocab: { a: 1e15 } } })), /"a" has the id/],
    [JSON.stringify(file({ model: { type: "BPE", vocab: { a: "b" } } })), /"a" has the id "b"/],
    [JSON.stringify(file({ added_tokens: [{ id: 1, content: 2, special: true }] })), /added_tokens.0.content/],
    [
      JSON.stringify(file({ model: { type: "BPE", vocab: { a: 0 }, merges: "none" } })),
      /tokenizer.json cannot be read/,
    ],
  ];
  for (const [text, message] of damaged) {
    const error = await Tokenizer.load({ tokenizer: text }).catch((error) => error);
    expect(error).toBeInstanceOf(FastgenError);
    expect(error.kind).toBe("model");
    expect(error.message).toMatch(message);
  }
});

test("no file makes it throw anything but FastgenError", () => {
  const json = fc.oneof(
    fc.jsonValue(),
    fc.record({ added_tokens: fc.jsonValue(), decoder: fc.jsonValue(), model: fc.record({ vocab: fc.jsonValue() }) }),
    fc.record({
      decoder: fc.constant({ type: "ByteLevel" }),
      model: fc.record({ vocab: fc.dictionary(fc.string(), fc.integer({ max: 1000 })) }),
    }),
  );
  fc.assert(
    fc.property(json, (value) => {
      try {
        buildTokenTable(readTokenizerJson(JSON.stringify(value)));
      } catch (error) {
        expect(error).toBeInstanceOf(FastgenError);
      }
    }),
    { numRuns: 500 },
  );
});

test("a vocabulary may hold names of Object.prototype", () => {
  const json = '{"decoder":{"type":"ByteLevel"},"model":{"vocab":{"__proto__":0,"constructor":1}}}';
  const table = buildTokenTable(readTokenizerJson(json));
  expect(table.tokens).toEqual(["__proto__", "constructor"]);
});
