/** Settings of files that are damaged; those of good ones are in tokenizer-folders.test.ts. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { FastgenError } from "../errors.ts";
import { readTextEnds } from "./text-ends.ts";
import { readTokenizerSettings } from "./tokenizer-settings.ts";

test("bad values are refused by file and key", () => {
  const cases: [Parameters<typeof readTokenizerSettings>[0], RegExp][] = [
    [{ tokenizerConfig: "{" }, /^tokenizer_config.json is not valid JSON/],
    [{ tokenizerConfig: "[]" }, /^tokenizer_config.json is not an object/],
    [{ tokenizerConfig: '{"add_bos_token":"yes"}' }, /^tokenizer_config.json: add_bos_token/],
    [{ tokenizerConfig: '{"added_tokens_decoder":{"1":{}}}' }, /added_tokens_decoder.1.content/],
    [{ specialTokensMap: '{"additional_special_tokens":[1]}' }, /^special_tokens_map.json: additional_special_tokens/],
    [{ addedTokens: '{"a":-1}' }, /^added_tokens.json: a is -1/],
  ];
  for (const [files, message] of cases) expect(() => readTokenizerSettings(files)).toThrow(message);
});

const settings = { addBos: false, addEos: false, specialTokens: {} };

test("a post-processor that is damaged or unknown is refused", () => {
  const ends = (postProcessor: unknown) => readTextEnds(postProcessor, settings, () => null);
  expect(() => ends({ type: "Other" })).toThrow(/the post-processor "Other" is not supported/);
  expect(() => ends({ type: "TemplateProcessing", single: [] })).toThrow(/post_processor.special_tokens/);
  const twice = [{ Sequence: { id: "A" } }, { Sequence: { id: "A" } }];
  expect(() => ends({ type: "TemplateProcessing", single: twice, special_tokens: {} })).toThrow(/the text once/);
});

test("post-processors one after another, and those of BERT", () => {
  const ends = (postProcessor: unknown) => readTextEnds(postProcessor, settings, () => null);
  const bert = (cls: number, sep: number) => ({ type: "BertProcessing", cls: ["a", cls], sep: ["b", sep] });
  expect(ends(bert(1, 2))).toEqual({ before: [1], after: [2] });
  const processors = [{ type: "ByteLevel" }, bert(1, 2), { ...bert(3, 4), type: "RobertaProcessing" }];
  expect(ends({ type: "Sequence", processors })).toEqual({ before: [3, 1], after: [2, 4] });
});

test("no file makes it throw anything but FastgenError", () => {
  const text = fc.oneof(fc.json(), fc.string());
  fc.assert(
    fc.property(text, text, text, fc.jsonValue(), (tokenizerConfig, specialTokensMap, addedTokens, postProcessor) => {
      for (const read of [
        () => readTokenizerSettings({ tokenizerConfig, specialTokensMap, addedTokens }),
        () => readTextEnds(postProcessor, settings, () => null),
      ]) {
        try {
          read();
        } catch (error) {
          expect(error).toBeInstanceOf(FastgenError);
        }
      }
    }),
    { numRuns: 500 },
  );
});
