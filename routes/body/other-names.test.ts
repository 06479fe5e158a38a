/** Fields by the names that other servers and routes have for them. */
import { afterAll, expect, test } from "bun:test";
import { FakeFastgen, json, startServer } from "../testing.ts";

const messages = [{ role: "user", content: "Hi" }];
const server = await startServer(new FakeFastgen({ answer: "abc" }));
afterAll(() => server.stop());

test.each([
  ["/v1/chat/completions", { messages, n_predict: 64 }, "n_predict", "max_tokens"],
  ["/v1/completions", { prompt: "Hi", repeat_penalty: 1.5 }, "repeat_penalty", "repetition_penalty"],
  ["/v1/responses", { input: "Hi", max_tokens: 5 }, "max_tokens", "max_output_tokens"],
  ["/tokenize", { content: "Hi" }, "content", "prompt"],
  ["/detokenize", { token_ids: [1] }, "token_ids", "tokens"],
])("%s names its own field in place of another's: %j", async (path, body, param, own) => {
  const { error } = await json(await server.post(path, body));
  expect(error.param).toBe(param);
  expect(error.message).toEndWith(`is not supported: send ${own}`);
});
