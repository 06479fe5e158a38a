/** Tokenizers with the files beside them, as transformers reads them (test/golden/make_tokenizers.py). */
import { describe, expect, test } from "bun:test";
import golden from "../../test/golden/tokenizers.json";
import { Tokenizer } from "./tokenizer.ts";
import { readTokenizerSettings } from "./tokenizer-settings.ts";

const asText = (value: unknown) => (value === undefined ? null : JSON.stringify(value));

describe.each(golden.folders)("$name", ({ tokenizer: base, files, specialTokens, texts }) => {
  const contents = files as Record<string, unknown>;
  const settingsFiles = {
    tokenizerConfig: asText(contents["tokenizer_config.json"]),
    specialTokensMap: asText(contents["special_tokens_map.json"]),
    addedTokens: asText(contents["added_tokens.json"]),
  };
  const tokenizer = JSON.stringify(golden.tokenizers[base as keyof typeof golden.tokenizers]);

  test("ids and texts", async () => {
    const loaded = await Tokenizer.load({ tokenizer, ...settingsFiles });
    for (const { text, ids, plain, decoded } of texts) {
      expect([text, [...(await loaded.encode(text, true))]]).toEqual([text, ids]);
      expect([text, [...(await loaded.encode(text, false))]]).toEqual([text, plain]);
      expect(loaded.decode(ids)).toBe(decoded[0]!);
      expect(loaded.decode(ids, { skipSpecialTokens: false })).toBe(decoded[1]!);
    }
  });

  test("special tokens", () => {
    const found = readTokenizerSettings(settingsFiles).specialTokens;
    expect(found as Record<string, string>).toEqual(specialTokens as Record<string, string>);
  });
});
