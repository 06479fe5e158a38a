/** Routes for operators and routers, in vLLM's shapes. */
import { afterEach, describe, expect, test } from "bun:test";
import { FakeFastgen, type FakeOptions, json, startServer, until } from "./testing.ts";

const started: Awaited<ReturnType<typeof startServer>>[] = [];
async function start(options: Parameters<typeof startServer>[1] = {}, fake: FakeOptions | null = {}) {
  const server = await startServer(fake && new FakeFastgen(fake), options);
  started.push(server);
  return server;
}
afterEach(() => {
  for (const server of started.splice(0)) server.stop();
});

const messages = [{ role: "user", content: "Hi" }];
const get = (server: { url: string }, path: string) => fetch(server.url + path);

test("/ping is /health, by GET and POST", async () => {
  const server = await start();
  for (const method of ["GET", "POST", "HEAD"]) {
    expect((await fetch(`${server.url}/ping`, { method })).status).toBe(200);
  }
  expect(await json(await get(server, "/ping"))).toEqual(await json(await get(server, "/health")));
  const wrong = await fetch(`${server.url}/ping`, { method: "PUT" });
  expect([wrong.status, wrong.headers.get("allow")]).toEqual([405, "GET, HEAD, POST"]);
  expect((await get(await start({}, null), "/ping")).status).toBe(503);
});

test("/load counts requests that are generated for, streams until their end", async () => {
  const gate = Promise.withResolvers<void>();
  const server = await start({}, { pace: () => gate.promise });
  const load = async () => (await json(await get(server, "/load"))).server_load;
  expect(await load()).toBe(0);
  const whole = server.post("/v1/chat/completions", { messages, n: 3 });
  const stream = server.post("/v1/completions", { prompt: ["a", "b"], stream: true });
  // Bun sends a stream's head with its first frame.
  await until(() => server.service.load === 2);
  expect(await load()).toBe(2);
  gate.resolve();
  await (await whole).text();
  await (await stream).text();
  await until(() => server.service.load === 0);
  await (await server.post("/tokenize", { prompt: "a" })).text();
  expect(await load()).toBe(0);
});

test("/server_info: text as vLLM's default, JSON for programs", async () => {
  const server = await start({ servedModelName: "m" });
  const info = await json(await get(server, "/server_info?config_format=json"));
  expect(info).toMatchObject({
    version: expect.stringMatching(/^\d+\.\d+\.\d+/),
    vllm_config: {
      model_config: {
        model: "org/fake",
        served_model_name: "m",
        max_model_len: 1024,
        dtype: expect.stringMatching(/^torch\.\w+$/),
      },
      cache_config: { block_size: 64, num_gpu_blocks: 64, num_cpu_blocks: 0, enable_prefix_caching: true },
      scheduler_config: { max_num_seqs: 8, max_num_batched_tokens: 512 },
      parallel_config: { tensor_parallel_size: 1, data_parallel_size: 1 },
    },
    vllm_env: {},
    system_env: expect.any(Object),
  });
  const { vllm_config } = await json(await get(server, "/server_info"));
  expect(vllm_config).toContain("served_model_name='m'");
  expect(vllm_config).toContain("max_num_seqs=8");
  expect(await json(await get(server, "/get_world_size"))).toEqual({ world_size: 1 });
  const several = await start({}, { engines: 4 });
  expect(await json(await get(several, "/get_world_size"))).toEqual({ world_size: 4 });
  expect(await json(await get(several, "/get_world_size?include_dp=false"))).toEqual({ world_size: 1 });
  for (const path of ["/server_info", "/get_world_size"]) {
    expect((await get(await start({}, null), path)).status).toBe(503);
  }
});

test("/tokenizer_info is there with its flag only", async () => {
  const info = await get(await start({ tokenizerInfo: true }), "/tokenizer_info");
  expect(await json(info)).toMatchObject({ tokenizer_class: "FakeTokenizer" });
  const refused = await get(await start(), "/tokenizer_info");
  expect(refused.status).toBe(404);
  expect((await json(refused)).error.message).toContain("--enable-tokenizer-info-endpoint");
});

test("/v1/models/{id}: also a name with slashes, written out or not", async () => {
  const server = await start();
  for (const path of ["/v1/models/org/fake", "/v1/models/org%2Ffake"]) {
    expect(await json(await get(server, path))).toMatchObject({ id: "org/fake", object: "model", max_model_len: 1024 });
  }
  expect((await get(server, "/v1/models/other")).status).toBe(404);
});

describe("/render", () => {
  test("a conversation: its tokens, their text, and the parameters with every default filled in", async () => {
    const server = await start({}, { default_params: { top_p: 0.5 } });
    const fields = { messages, temperature: 0, max_completion_tokens: 7, stop: "x", stream: true };
    const rendered = await json(await server.post("/v1/chat/completions/render", fields));
    const text = "<user>Hi";
    expect(rendered).toMatchObject({
      request_id: expect.stringMatching(/^chatcmpl-[0-9a-f]{32}$/),
      prompt: text,
      token_ids: [...Buffer.from(text)],
      features: null,
      sampling_params: { temperature: 0, top_p: 0.5, max_tokens: 7, stop: ["x"], n: 1 },
      model: "org/fake",
      stream: true,
    });
    const free = await json(await server.post("/v1/chat/completions/render", { messages, model: "any" }));
    expect(free).toMatchObject({ model: "any", stream: false, sampling_params: { max_tokens: 1024 - text.length } });
  });

  test("completions: one for each prompt", async () => {
    const server = await start();
    const rendered = await json(await server.post("/v1/completions/render", { prompt: ["ab", "c"] }));
    expect(rendered).toHaveLength(2);
    expect(rendered[0]).toMatchObject({ prompt: "ab", token_ids: [97, 98], sampling_params: { max_tokens: 16 } });
    expect(rendered[1]).toMatchObject({ prompt: "c", token_ids: [99] });
  });

  test("the request wins over the model's defaults, and what it says is told; max_tokens is what there is room for", async () => {
    const server = await start({}, { default_params: { top_p: 0.5, temperature: 0.25 }, max_model_len: 64 });
    const told = { cache_salt: "salt", priority: 3, stream: true, stream_options: { include_usage: true } };
    const fields = { ...told, top_p: 0.75, max_tokens: 1000 };
    const whole = { sampling_params: { top_p: 0.75, temperature: 0.25 }, ...told };
    const chat = await json(await server.post("/v1/chat/completions/render", { messages, ...fields }));
    expect(chat).toMatchObject(whole);
    expect(chat.sampling_params.max_tokens).toBe(64 - "<user>Hi".length);
    const [completion] = await json(await server.post("/v1/completions/render", { prompt: "abcd", ...fields }));
    expect(completion).toMatchObject({ ...whole, sampling_params: { max_tokens: 60 } });
  });

  test("what concerns the prompt reaches the tokenizer", async () => {
    const fake = new FakeFastgen();
    const asked: unknown[] = [];
    fake.tokenize = (_, options) => {
      asked.push(options);
      return Promise.resolve(Int32Array.of(97));
    };
    const server = await startServer(fake);
    started.push(server);
    const options = { add_special_tokens: false, truncate_prompt_tokens: 3, truncation_side: "right" };
    await json(await server.post("/v1/chat/completions/render", { messages, ...options }));
    await json(await server.post("/v1/completions/render", { prompt: "a", ...options }));
    expect(asked).toEqual([expect.objectContaining(options), expect.objectContaining(options)]);
  });

  test("fields that do not go together and untrusted templates are refused", async () => {
    const server = await start();
    for (const [path, body, param] of [
      ["/v1/chat/completions", { messages, logprob_token_ids: [1] }, "logprob_token_ids"],
      ["/v1/completions", { prompt: "a", logprob_token_ids: [1] }, "logprob_token_ids"],
      ["/v1/chat/completions", { messages, chat_template: "{{ 1 }}" }, "chat_template"],
    ] as const) {
      const reply = await server.post(`${path}/render`, body);
      expect([reply.status, (await json(reply)).error.param]).toEqual([400, param]);
    }
  });

  test("refuses what the route itself refuses, and generates nothing", async () => {
    const server = await start();
    const wrong = await server.post("/v1/chat/completions/render", { messages, n: 0 });
    expect(wrong.status).toBe(400);
    expect((await json(wrong)).error.param).toBe("n");
    expect((await server.post("/chat/completions/render", { messages, logprobs: false, top_logprobs: 2 })).status).toBe(
      400,
    );
    await server.post("/v1/completions/render", { prompt: "a" });
    expect((server.service.fastgen as FakeFastgen).calls).toHaveLength(0);
  });
});
