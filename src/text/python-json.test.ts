/** Python writes NaN and Infinity into JSON files; in keys that are not used they do not matter. */
import { expect, test } from "bun:test";
import { ChatTemplate } from "./chat-template.ts";
import { readGenerationConfig } from "./generation-config.ts";

const tokenizer = { tokenToId: () => null, leadingSpecial: () => null };

test("NaN and Infinity in generation_config.json and tokenizer_config.json", async () => {
  const files = {
    config: '{"initializer_range": NaN, "eos_token_id": 3}',
    generationConfig: '{"top_p": 0.5, "length_penalty": Infinity, "x": [NaN]}',
    tokenizerConfig: '{"model_max_length": Infinity, "chat_template": "{{ messages[0].content }}", "y": -Infinity}',
    chatTemplate: null,
  };
  expect(readGenerationConfig(files, tokenizer)).toEqual({ stopIds: [3], params: { top_p: 0.5 } });
  expect(await ChatTemplate.load(files).render([{ role: "user", content: "NaN" }])).toBe("NaN");
});

test("a key that is used must be a number", () => {
  const files = { config: "{}", generationConfig: '{"top_p": NaN}', tokenizerConfig: null };
  expect(() => readGenerationConfig(files, tokenizer)).toThrow(/generation_config.json: top_p/);
});
