/** Ids and prompts equal to transformers' (test/golden/make_text.py). */
import { describe, expect, test } from "bun:test";
import golden from "../../test/golden/text.json";
import { FastgenError } from "../errors.ts";
import type { ChatMessage, ChatOptions } from "../types.ts";
import { ChatTemplate } from "./chat-template.ts";
import { TEST_TOKENIZERS, testTokenizer, testTokenizerFiles } from "./test-tokenizers.ts";

interface GoldenModel {
  raw: { text: string; ids: { false: number[]; true: number[] } }[];
  conversations: { messages: ChatMessage[]; options?: ChatOptions; text?: string; ids?: number[]; error?: string }[];
}

for (const name of TEST_TOKENIZERS) {
  const files = testTokenizerFiles(name);
  const model = (golden.models as unknown as Record<string, GoldenModel>)[name];
  describe.skipIf(!files || !model)(`${name}, as in transformers`, () => {
    test("raw text", async () => {
      const tokenizer = await testTokenizer(name);
      expect(model!.raw.length).toBeGreaterThan(10);
      for (const { text, ids } of model!.raw) {
        expect([text, [...(await tokenizer.encode(text, false))]]).toEqual([text, ids.false]);
        expect([text, [...(await tokenizer.encode(text, true))]]).toEqual([text, ids.true]);
      }
    });

    test("conversations", async () => {
      const tokenizer = await testTokenizer(name);
      const template = ChatTemplate.load(files!);
      expect(model!.conversations.length).toBeGreaterThanOrEqual(5);
      for (const { messages, options, text, ids, error } of model!.conversations) {
        if (error !== undefined) {
          expect(template.render(messages, options)).rejects.toThrow(new FastgenError("invalid_request", error));
          continue;
        }
        const prompt = await template.render(messages, options);
        expect(prompt).toBe(text!);
        expect([...(await tokenizer.encode(prompt, false))]).toEqual(ids!);
      }
    });
  });
}
