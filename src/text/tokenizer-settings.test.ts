/** Settings as single files say them, and damaged ones; those of whole folders are in tokenizer-folders.test.ts. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { FastgenError } from "../errors.ts";
import { readTextEnds } from "./text-ends.ts";
import { readTokenizerSettings, tokensToAdd } from "./tokenizer-settings.ts";

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

const read = (config: object, addedTokens: object | null = null) =>
  readTokenizerSettings({
    tokenizerConfig: JSON.stringify(config),
    addedTokens: addedTokens && JSON.stringify(addedTokens),
  });

test("BOS by default where the class says so; a folder that names none is judged by its flags", () => {
  const addBos = (tokenizer_class?: string, more = {}) => read({ bos_token: "<s>", tokenizer_class, ...more }).addBos;
  const classes = [undefined, "LlamaTokenizer", "LlamaTokenizerFast", "GPTNeoXTokenizerFast", "OtherTokenizer"];
  expect(classes.map((name) => addBos(name))).toEqual([false, true, true, false, false]);
  expect([undefined, "GPTNeoXTokenizer"].map((name) => addBos(name, { add_bos_token: true }))).toEqual([true, true]);
});

test("special tokens come from every key that names them, and are found in the text as it is written", () => {
  const { specialAddedTokens } = read({
    bos_token: "<s>",
    additional_special_tokens: ["<more>"],
    extra_special_tokens: { image_token: "<image>" },
  });
  expect(specialAddedTokens.map(({ content }) => content)).toEqual(["<s>", "<more>", "<image>"]);
  for (const token of specialAddedTokens) expect(token).toMatchObject({ special: true, normalized: false });
  expect(read({ extra_special_tokens: ["<a>"] }).specialAddedTokens.map(({ content }) => content)).toEqual(["<a>"]);
});

test("added_tokens.json: in the order of its ids; those that are named special are", () => {
  const { addedTokens } = read({ pad_token: "<pad>" }, { zz: 300, aa: 301, "<pad>": 302 });
  expect(addedTokens.map(({ content, special, normalized }) => [content, special, normalized])).toEqual([
    ["zz", false, true],
    ["aa", false, true],
    ["<pad>", true, false],
  ]);
});

test("of the special tokens those are added that are not there, and never an empty one", () => {
  const given = read({ bos_token: "<s>", pad_token: "", eos_token: "</s>" });
  const [bos] = given.specialAddedTokens;
  expect(tokensToAdd(given, [bos!]).map(({ content }) => content)).toEqual(["</s>"]);
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
