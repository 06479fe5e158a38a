/** Paths that are not served: the error says what to use. */
import { afterAll, expect, test } from "bun:test";
import { FakeFastgen, json, startServer } from "../testing.ts";

const server = await startServer(new FakeFastgen({ answer: "ok" }));
afterAll(() => server.stop());

test.each([
  ["/v1/embeddings", "no embeddings"],
  ["/completion", "/v1/completions"],
  ["/apply-template", "/v1/chat/completions/render"],
  ["/api/chat", "Ollama's API is not served"],
  ["/v1/audio/transcriptions", "text"],
  ["/generate_stream", "/inference/v1/generate"],
  ["/update_named_param", "POST /update_weights"],
  ["/v1/no/such/path", "OpenAI's API is served at /v1"],
])("%s", async (path, advice) => {
  const reply = await server.post(path, {});
  expect(reply.status).toBe(404);
  const { error } = await json(reply);
  expect(error).toMatchObject({ code: "not_found" });
  expect(error.message).toContain(path);
  expect(error.message).toContain(advice);
});

test("under --root-path every path is served with and without it, and what it names is not cut off twice", async () => {
  const rooted = await startServer(new FakeFastgen({ answer: "ok" }), { rootPath: "/llm/a" });
  const status = async (path: string) => (await fetch(rooted.url + path)).status;
  for (const path of ["/llm/a/v1/models", "/v1/models", "/llm/a/health", "/llm/a/", "/llm/a"]) {
    expect([path, await status(path)]).toEqual([path, 200]);
  }
  for (const path of ["/llm/v1/models", "/llm/ab/v1/models", "/llm/a/llm/a/v1/models"]) {
    expect([path, await status(path)]).toEqual([path, 404]);
  }
  await rooted.stop();
});
