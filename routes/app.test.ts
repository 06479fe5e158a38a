/** What is common to all routes: paths, methods, bodies, keys, ids, the log, the queue, loading and draining. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { asFastgenError, FastgenError } from "../src/errors.ts";
import { errorReply } from "./errors.ts";
import { FakeFastgen, json, startServer, type TestServer, until } from "./testing.ts";

const messages = [{ role: "user", content: "Hi" }];
const CHAT = "/v1/chat/completions";
const COMPLETIONS = "/v1/completions";

let fake: FakeFastgen;
let server: TestServer;
beforeAll(async () => {
  fake = new FakeFastgen();
  server = await startServer(fake, { maxBodyBytes: 100_000 });
});
afterAll(() => server.stop());

/** A refusal in OpenAI's error shape and nothing else. */
async function refusal(response: Response) {
  expect(response.headers.get("content-type")).toStartWith("application/json");
  const body = await json(response);
  expect(Object.keys(body)).toEqual(["error"]);
  expect(Object.keys(body.error).sort()).toEqual(["code", "message", "param", "type"]);
  expect(body.error.message).toBeString();
  return body.error;
}

describe("paths", () => {
  for (const prefix of ["", "/v1"]) {
    test(`'${prefix}': every resource answers`, async () => {
      const get = (path: string) => fetch(server.url + prefix + path);
      const post = (path: string, body: object) => server.post(prefix + path, body);
      expect(await json(await get("/health"))).toEqual({ status: "ok", model: "org/fake", device: "cpu" });
      expect(await json(await get("/version"))).toEqual({ version: expect.stringMatching(/^\d+\.\d+\.\d+/) });
      const models = await json(await get("/models"));
      expect(models).toMatchObject({
        object: "list",
        data: [{ id: "org/fake", object: "model", type: "model", max_model_len: 1024 }],
      });
      expect(await json(await get("/models/org/fake"))).toEqual(models.data[0]);
      expect((await get("/metrics")).status).toBe(200);
      expect((await post("/chat/completions", { messages })).status).toBe(200);
      expect((await post("/chat/completions/", { messages })).status).toBe(200);
      expect((await post("/completions", { prompt: "a" })).status).toBe(200);
      expect(await json(await post("/tokenize", { prompt: "ab" }))).toEqual({
        count: 2,
        max_model_len: 1024,
        tokens: [97, 98],
        token_strs: null,
      });
      expect((await json(await post("/tokenize", { messages }))).count).toBe(8);
      expect((await json(await post("/tokenize", { prompt: "ab", return_token_strs: true }))).token_strs).toEqual([
        "a",
        "b",
      ]);
      expect(await json(await post("/detokenize", { tokens: [97, 98] }))).toEqual({ prompt: "ab" });
      expect(await json(await post("/detokenize", { tokens: [] }))).toEqual({ prompt: "" });
    });
  }

  test("an unknown path is a 404", async () => {
    const reply = await fetch(`${server.url}/v1/embeddings`, { method: "POST" });
    expect(reply.status).toBe(404);
    expect((await refusal(reply)).message).toContain("/v1/embeddings");
  });

  test("a model that is not served is a 404", async () => {
    const reply = await fetch(`${server.url}/v1/models/gpt-4o`);
    expect(reply.status).toBe(404);
    expect(await refusal(reply)).toMatchObject({ code: "model_not_found" });
  });

  test.each([
    ["GET", CHAT, "POST"],
    ["PUT", COMPLETIONS, "POST"],
    ["POST", "/v1/models", "GET, HEAD"],
    ["DELETE", "/health", "GET, HEAD"],
    ["POST", "/metrics", "GET, HEAD"],
  ])("%s %s is a 405 that allows %s", async (method, path, allow) => {
    const reply = await fetch(server.url + path, { method });
    expect(reply.status).toBe(405);
    expect(reply.headers.get("allow")).toBe(allow);
    expect((await refusal(reply)).code).toBe("method_not_allowed");
  });

  test("a base URL that ends in a slash or in one /v1 too many leads to the same path", async () => {
    for (const path of ["/v1//models", "//v1/models", "/v1/models/", "//models", "/v1/v1/models"]) {
      expect([path, (await fetch(server.url + path)).status]).toEqual([path, 200]);
    }
    expect((await server.post("/v1/v1//messages", { messages, max_tokens: 1 })).status).toBe(200);
    for (const path of ["/v1/v1/v1/models", "/v1/model/s", "/v1/v1models"]) {
      expect([path, (await fetch(server.url + path)).status]).toEqual([path, 404]);
    }
  });

  test("Anthropic's clients get the model in their own shape", async () => {
    const headers = { "anthropic-version": "2023-06-01" };
    const get = async (path: string) => json(await fetch(server.url + path, { headers }));
    const { data, ...page } = await get("/v1/models?limit=1000");
    expect(page).toEqual({ has_more: false, first_id: "org/fake", last_id: "org/fake" });
    expect(data).toMatchObject([{ type: "model", id: "org/fake", display_name: "org/fake", max_input_tokens: 1024 }]);
    expect(Date.parse(data[0].created_at)).toBeGreaterThan(Date.now() - 3_600_000);
    expect(await get("/v1/models/org/fake")).toEqual(data[0]);
  });

  test("HEAD answers where GET does", async () => {
    expect((await fetch(`${server.url}/health`, { method: "HEAD" })).status).toBe(200);
  });
});

describe("bodies", () => {
  const bad: [string, string | Uint8Array | undefined, Record<string, string>, string][] = [
    ["malformed JSON", '{"messages": [', {}, "JSON"],
    ["no body", undefined, {}, "JSON"],
    ["an array", "[]", {}, "JSON object"],
    ["a bare value", "null", {}, "JSON object"],
    ["nesting without end", "[".repeat(90_000), {}, "JSON"],
    ["invalid UTF-8", new Uint8Array([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x7d]), {}, "UTF-8"],
    ["half a UTF-8 character", new Uint8Array([0x22, 0xe2, 0x82]), {}, "UTF-8"],
    ["a form", "a=b", { "content-type": "application/x-www-form-urlencoded" }, "Content-Type"],
    ["plain text", "{}", { "content-type": "text/plain" }, "Content-Type"],
  ];
  for (const [name, body, headers, says] of bad) {
    test(`${name}: 400`, async () => {
      const reply = await fetch(server.url + CHAT, {
        method: "POST",
        headers: { "content-type": "application/json", ...headers },
        body,
      });
      expect(reply.status).toBe(400);
      const error = await refusal(reply);
      expect(error.type).toBe("invalid_request_error");
      expect(error.message).toContain(says);
    });
  }

  test("charset and case of the content type do not matter", async () => {
    const headers = { "content-type": "Application/JSON; charset=utf-8" };
    expect((await server.post(CHAT, { messages }, headers)).status).toBe(200);
  });

  test("over the limit: 413, declared and chunked", async () => {
    const big = JSON.stringify({ messages: [{ role: "user", content: "x".repeat(200_000) }] });
    const declared = await server.post(CHAT, big);
    expect(declared.status).toBe(413);
    expect((await refusal(declared)).message).toContain("100000 bytes");
    const pieces = async function* () {
      for (let i = 0; i < big.length; i += 10_000) yield Buffer.from(big.slice(i, i + 10_000));
    };
    const chunked = await fetch(server.url + CHAT, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: pieces() as never,
    });
    expect(chunked.status).toBe(413);
    expect((await server.post(CHAT, { messages })).status).toBe(200);
  });
});

describe("fields", () => {
  const user = (content: unknown) => ({ messages: [{ role: "user", content }] });
  const chat: [string, object | string, string][] = [
    ["no messages", {}, "messages"],
    ["null for messages", { messages: null }, "messages"],
    ["no message", { messages: [] }, "messages"],
    ["a message that is a string", { messages: ["Hi"] }, "messages[0]"],
    ["no role", { messages: [{ content: "" }] }, "messages[0].role"],
    ["an empty role", { messages: [{ role: "", content: "" }] }, "messages[0].role"],
    ["no content", { messages: [{ role: "user" }] }, "messages[0].content"],
    ["content that is a number", user(5), "messages[0].content"],
    [
      "an image",
      user([
        { type: "text", text: "a" },
        { type: "image_url", image_url: {} },
      ]),
      "messages[0].content[1].type",
    ],
    ["tool calls that are none", { messages: [{ role: "assistant", tool_calls: [1] }] }, "messages[0].tool_calls[0]"],
    ["an unknown field", { messages, temprature: 1 }, "temprature"],
    ["tools that are none", { messages, tools: ["f"] }, "tools[0]"],
    ["documents that are none", { messages, documents: "all" }, "documents"],
    ["tool_choice", { messages, tool_choice: "required" }, "tool_choice"],
    ["functions", { messages, functions: [{}] }, "functions[0].name"],
    ["response_format", { messages, response_format: { type: "yaml" } }, "response_format.type"],
    ["audio", { messages, audio: {} }, "audio"],
    ["modalities", { messages, modalities: ["audio"] }, "modalities"],
    ["reasoning_effort", { messages, reasoning_effort: "lots" }, "reasoning_effort"],
    ["verbosity", { messages, verbosity: "terse" }, "verbosity"],
    ["web_search_options", { messages, web_search_options: {} }, "web_search_options"],
    ["guided decoding", { messages, structured_outputs: { json: {}, regex: "a" } }, "structured_outputs"],
    ["a negative temperature", { messages, temperature: -0.1 }, "temperature"],
    ["a huge temperature", { messages, temperature: 1e9 }, "temperature"],
    ["a temperature that is a string", { messages, temperature: "1" }, "temperature"],
    ["top_p below 0", { messages, top_p: -0.1 }, "top_p"],
    ["top_p above 1", { messages, top_p: 1.1 }, "top_p"],
    ["top_k -2", { messages, top_k: -2 }, "top_k"],
    ["n 0", { messages, n: 0 }, "n"],
    ["n 129", { messages, n: 129 }, "n"],
    ["n 1.5", { messages, n: 1.5 }, "n"],
    ["max_tokens 0", { messages, max_tokens: 0 }, "max_tokens"],
    ["max_tokens -2", { messages, max_tokens: -2 }, "max_tokens"],
    ["max_tokens 1e300", { messages, max_tokens: 1e300 }, "max_tokens"],
    ["min_tokens -1", { messages, min_tokens: -1 }, "min_tokens"],
    ["an empty stop string", { messages, stop: ["a", ""] }, "stop[1]"],
    ["too many stop strings", { messages, stop: Array(65).fill("a") }, "stop"],
    ["a stop that is a number", { messages, stop: 1 }, "stop"],
    ["a long stop string", { messages, stop: "x".repeat(300) }, "stop[0]"],
    ["a presence penalty of 3", { messages, presence_penalty: 3 }, "presence_penalty"],
    ["a repetition penalty of 0", { messages, repetition_penalty: 0 }, "repetition_penalty"],
    ["logit_bias by text", { messages, logit_bias: { hello: 1 } }, "logit_bias.hello"],
    ["logit_bias of 101", { messages, logit_bias: { "5": 101 } }, "logit_bias.5"],
    ["logprobs as a number", { messages, logprobs: 3 }, "logprobs"],
    ["top_logprobs alone", { messages, top_logprobs: 3 }, "top_logprobs"],
    ["top_logprobs 21", { messages, logprobs: true, top_logprobs: 21 }, "top_logprobs"],
    ["a seed of 1.5", { messages, seed: 1.5 }, "seed"],
    ["stream as a string", { messages, stream: "yes" }, "stream"],
    ["stream_options without stream", { messages, stream_options: { include_usage: true } }, "stream_options"],
    ["prompt_logprobs in a stream", { messages, stream: true, prompt_logprobs: 1 }, "prompt_logprobs"],
    [
      "a closed and an open last message",
      { messages, continue_final_message: true, add_generation_prompt: true },
      "continue_final_message",
    ],
    ["metadata that is a text", { messages, metadata: "a" }, "metadata"],
    ["__proto__", JSON.parse('{"messages":[{"role":"user","content":""}],"__proto__":{"a":1}}'), "__proto__"],
    ["an unknown stream option", { messages, stream: true, stream_options: { x: 1 } }, "stream_options.x"],
    ["a seed beyond 64 bits", `{"messages":[{"role":"user","content":""}],"seed":9223372036854775808}`, "seed"],
    ["an allowed id that is none", { messages, allowed_token_ids: [1.5] }, "allowed_token_ids"],
    ["an empty bad word", { messages, bad_words: ["a", ""] }, "bad_words[1]"],
    ["chosen ids without logprobs", { messages, logprob_token_ids: [1] }, "logprob_token_ids"],
    ["a truncation to nothing", { messages, truncate_prompt_tokens: 0 }, "truncate_prompt_tokens"],
    ["a truncation in the middle", { messages, truncation_side: "middle" }, "truncation_side"],
    ["an empty salt", { messages, cache_salt: "" }, "cache_salt"],
    ["half a priority", { messages, priority: 0.5 }, "priority"],
    ["a request_id that is a number", { messages, request_id: 5 }, "request_id"],
  ];
  const completion: [string, object, string][] = [
    ["no prompt", {}, "prompt"],
    ["an empty list", { prompt: [] }, "prompt"],
    ["an object", { prompt: {} }, "prompt"],
    ["an empty list of ids", { prompt: [[1], []] }, "prompt[1]"],
    ["mixed ids and strings", { prompt: [1, "a"] }, "prompt"],
    ["a negative id", { prompt: [-1] }, "prompt"],
    ["half an id", { prompt: [[1.5]] }, "prompt[0]"],
    ["too many prompts", { prompt: Array(2049).fill("a") }, "prompt"],
    ["suffix", { prompt: "a", suffix: "b" }, "suffix"],
    ["best_of", { prompt: "a", best_of: 2 }, "best_of"],
    ["max_tokens 0 without echo", { prompt: "a", max_tokens: 0 }, "max_tokens"],
    ["logprobs as a flag", { prompt: "a", logprobs: true }, "logprobs"],
    ["messages", { prompt: "a", messages }, "messages"],
  ];
  const table: [string, [string, object | string, string][]][] = [
    [CHAT, chat],
    [COMPLETIONS, completion],
    [
      "/tokenize",
      [
        ["neither", {}, "prompt"],
        ["both", { prompt: "a", messages }, "prompt"],
      ],
    ],
    [
      "/detokenize",
      [
        ["no tokens", {}, "tokens"],
        ["text", { tokens: "a" }, "tokens"],
        ["an id beyond the vocabulary", { tokens: [1, 70_000] }, "tokens[1]"],
      ],
    ],
  ];
  for (const [path, cases] of table) {
    for (const [name, body, param] of cases) {
      test(`${path}, ${name}: 400 naming ${param}`, async () => {
        const before = fake.calls.length;
        const reply = await server.post(path, body);
        expect(reply.status).toBe(400);
        const error = await refusal(reply);
        expect(error.param).toBe(param);
        expect(error.message).toContain(param);
        // A sentence in our own words, none of the schema library's.
        expect(error.message).not.toMatch(/invalid input|expected|received|undefined|NaN/i);
        expect(error.type).toBe("invalid_request_error");
        expect(fake.calls).toHaveLength(before);
      });
    }
  }
});

describe("the key", async () => {
  const keyed = await startServer(new FakeFastgen(), { apiKey: "sécret" });
  afterAll(() => keyed.stop());
  const bearer = (key: string) => ({ authorization: Buffer.from(`Bearer ${key}`).toString("latin1") });

  test("guards every route but those that tell nothing of requests", async () => {
    const open = ["/health", "/ping", "/load", "/metrics", "/version"];
    for (const path of [...open, ...open.map((path) => `/v1${path}`)]) {
      expect((await fetch(keyed.url + path)).status).toBe(200);
    }
    for (const path of ["/server_info", "/tokenizer_info", "/v1/models", "/models/org/fake", "/nothing", "/page"]) {
      const reply = await fetch(keyed.url + path);
      expect(reply.status).toBe(401);
      expect(await refusal(reply)).toMatchObject({ code: "invalid_api_key" });
    }
    expect((await keyed.post(CHAT, { messages })).status).toBe(401);
    expect((await fetch(keyed.url + CHAT)).status).toBe(401);
  });

  test("must be right to the last character", async () => {
    const plain = await startServer(new FakeFastgen(), { apiKey: "secret" });
    for (const wrong of ["", "secre", "secret1", "Secret", "secret "]) {
      expect((await plain.post(CHAT, { messages }, { authorization: `Bearer x${wrong}` })).status).toBe(401);
    }
    for (const header of ["secret", "Basic secret", "Bearer", "Bearer secre", "Bearer Secret", "Bearer secret1"]) {
      expect((await plain.post(CHAT, { messages }, { authorization: header })).status).toBe(401);
    }
    expect((await plain.post(CHAT, { messages }, bearer("secret"))).status).toBe(200);
    plain.stop();
  });
});

describe("the request's id", () => {
  test("is echoed, or made", async () => {
    const given = await server.post(CHAT, { messages }, { "x-request-id": "my-id.1" });
    expect(given.headers.get("x-request-id")).toBe("my-id.1");
    const made = await server.post(CHAT, { messages, stream: true });
    expect(made.headers.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/);
    const long = await fetch(`${server.url}/nothing`, { headers: { "x-request-id": "x".repeat(1000) } });
    expect(long.headers.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/);
  });
});

describe("the access log", () => {
  test("one line a request, with its tokens, once the reply is complete", async () => {
    const logged = await startServer(new FakeFastgen({ answer: "abc" }));
    await (await logged.post(CHAT, { messages }, { "x-request-id": "one" })).text();
    await (await logged.post(COMPLETIONS, { prompt: ["a", "bc"], stream: true })).text();
    await (await logged.post(CHAT, { messages, n: 0 })).text();
    await until(() => logged.accessLog.length === 3);
    const [whole, stream, refused] = logged.accessLog;
    expect(whole).toEqual({
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
      method: "POST",
      path: CHAT,
      status: 200,
      ms: expect.any(Number),
      prompt_tokens: 8,
      completion_tokens: 3,
      error: null,
      request_id: "one",
    });
    expect(stream).toMatchObject({ path: COMPLETIONS, prompt_tokens: 3, completion_tokens: 6 });
    expect(refused).toMatchObject({
      status: 400,
      error: "invalid_request",
      param: "n",
      message: expect.stringContaining("n must"),
      prompt_tokens: null,
    });
    logged.stop();
  });

  test("a refusal is logged with its reason, cut to a bounded length", async () => {
    const logged = await startServer(new FakeFastgen());
    await fetch(`${logged.url}/v1/nothing?${"x".repeat(5000)}`);
    await logged.post(CHAT, { messages: [{ role: "x".repeat(5000), content: "a" }], ["y".repeat(5000)]: 1 });
    await until(() => logged.accessLog.length === 2);
    const [unknown, wrong] = logged.accessLog;
    expect(unknown).toMatchObject({ status: 404, message: expect.stringContaining("no such path: /v1/nothing") });
    expect(wrong).toMatchObject({ status: 400, error: "invalid_request", param: expect.any(String) });
    for (const line of logged.accessLog) expect(JSON.stringify(line).length).toBeLessThan(2000);
    logged.stop();
  });

  test("a probe is logged when its answer changes", async () => {
    const logged = await startServer(null);
    const probe = () => Promise.all(["/health", "/metrics"].map((path) => fetch(logged.url + path)));
    for (let i = 0; i < 3; i++) await probe();
    logged.service.ready(new FakeFastgen());
    for (let i = 0; i < 3; i++) await probe();
    await fetch(`${logged.url}/version`);
    await until(() => logged.accessLog.at(-1)?.path === "/version");
    expect(logged.accessLog.map(({ path, status }) => [path, status])).toEqual([
      ["/health", 503],
      ["/health", 200],
      ["/version", 200],
    ]);
    logged.stop();
  });
});

describe("the queue", () => {
  test("is bounded: 429 with Retry-After, before any tokenisation; places come back", async () => {
    const gate = Promise.withResolvers<void>();
    const held = new FakeFastgen({ pace: () => gate.promise });
    const small = await startServer(held, { maxQueued: 3 });
    const first = small.post(CHAT, { messages, n: 2 });
    await until(() => held.calls.length === 1);
    const refused = await small.post(COMPLETIONS, { prompt: ["a", "b"] });
    expect(refused.status).toBe(429);
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(await refusal(refused)).toMatchObject({ type: "rate_limit_error", code: "rate_limit_exceeded" });
    expect(held.calls).toHaveLength(1);
    // What runs does not wait.
    held.stats.running = 2;
    const second = small.post(COMPLETIONS, { prompt: ["a", "b"] });
    await until(() => held.calls.length === 3);
    gate.resolve();
    expect((await first).status).toBe(200);
    expect((await second).status).toBe(200);
    held.stats.running = 0;
    expect((await small.post(CHAT, { messages, n: 3 })).status).toBe(200);
    small.stop();
  });

  test("a request larger than the whole queue is told to split", async () => {
    const small = await startServer(new FakeFastgen(), { maxQueued: 3 });
    const reply = await small.post(CHAT, { messages, n: 4 });
    expect(reply.status).toBe(400);
    expect((await refusal(reply)).param).toBe("n");
    small.stop();
  });

  test("failed and abandoned requests give their places back", async () => {
    const failing = new FakeFastgen({ failAfter: 1 });
    const small = await startServer(failing, { maxQueued: 2 });
    for (let i = 0; i < 5; i++) {
      expect((await small.post(CHAT, { messages, n: 2 })).status).toBe(500);
      await (await small.post(CHAT, { messages, n: 2, stream: true })).text();
      expect((await small.post(COMPLETIONS, { prompt: ["x".repeat(2000), "a"] })).status).toBe(400);
    }
    small.stop();
  });
});

describe("a life", () => {
  test("loading: the port is open, /health says 503, requests are refused until the model is there", async () => {
    const loading = await startServer(null);
    loading.service.progress = { stage: "load", done: 43, total: 100 };
    for (const reply of [
      await fetch(`${loading.url}/health`),
      await fetch(`${loading.url}/v1/models`),
      await loading.post(CHAT, { messages }),
      // The body is not looked at: it may be anything.
      await loading.post(CHAT, {}),
      await loading.post("/v1/completions", {}),
    ]) {
      expect(reply.status).toBe(503);
      expect(reply.headers.get("retry-after")).not.toBeNull();
      expect((await refusal(reply)).message).toContain("loading (load: 43 %)");
    }
    expect((await fetch(`${loading.url}/metrics`)).status).toBe(200);
    loading.service.ready(new FakeFastgen());
    expect((await fetch(`${loading.url}/health`)).status).toBe(200);
    expect((await loading.post(CHAT, { messages })).status).toBe(200);
    loading.stop();
  });

  test("draining: running requests finish, new ones are refused and their connections closed", async () => {
    const gate = Promise.withResolvers<void>();
    const held = new FakeFastgen({ answer: "abc", pace: () => gate.promise });
    const draining = await startServer(held);
    // Bun sends the head of a reply with its first frame, so this one is not awaited here.
    const stream = draining.post(CHAT, { messages, stream: true });
    const whole = draining.post(CHAT, { messages });
    await until(() => held.calls.length === 2);
    const drained = draining.service.drain(5);
    for (const reply of [await fetch(`${draining.url}/health`), await draining.post(CHAT, { messages })]) {
      expect(reply.status).toBe(503);
      expect(reply.headers.get("connection")).toBe("close");
      expect((await refusal(reply)).message).toContain("shutting down");
    }
    gate.resolve();
    expect((await json(await whole)).choices[0].message.content).toBe("abc");
    expect(await (await stream).text()).toEndWith("data: [DONE]\n\n");
    expect(await drained).toBe(true);
    draining.stop();
  });

  test("draining gives up after its time", async () => {
    const held = new FakeFastgen({ pace: () => Bun.sleep(50) });
    const draining = await startServer(held);
    const reply = draining.post(CHAT, { messages }).catch(() => null);
    await until(() => held.calls.length === 1);
    expect(await draining.service.drain(0.05)).toBe(false);
    draining.stop();
    await reply;
    expect(await (await startServer(new FakeFastgen())).service.drain(1)).toBe(true);
  });

  test("of several engines, one that failed leaves the server healthy, and is named", async () => {
    const fake = new FakeFastgen({ engines: 3 });
    const server = await startServer(fake);
    const health = async () => json(await fetch(`${server.url}/health`));
    expect(await health()).toMatchObject({ status: "ok", engines: ["ok", "ok", "ok"] });
    fake.failures[1] = "it fell off the bus";
    const reply = await fetch(`${server.url}/health`);
    expect(reply.status).toBe(200);
    expect(await json(reply)).toMatchObject({ status: "ok", engines: ["ok", "failed", "ok"] });
    server.stop();
  });

  test("an engine that failed makes the server unhealthy", async () => {
    const broken = new FakeFastgen();
    const dead = await startServer(broken);
    broken.alive = false;
    const reply = await fetch(`${dead.url}/health`);
    expect(reply.status).toBe(503);
    expect((await refusal(reply)).message).toContain("failed");
    dead.stop();
  });
});

test("every kind of error has its status", async () => {
  const status = (kind: ConstructorParameters<typeof FastgenError>[0]) =>
    errorReply(new FastgenError(kind, "x")).status;
  expect(status("invalid_request")).toBe(400);
  expect(status("overloaded")).toBe(429);
  expect(status("aborted")).toBe(499);
  expect(status("model")).toBe(500);
  expect(status("device")).toBe(500);
  expect(status("internal")).toBe(500);
  expect(status("unavailable")).toBe(503);
  expect(status("out_of_memory")).toBe(503);
  expect(errorReply(asFastgenError("not even an Error")).status).toBe(500);
});
