import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import OpenAI from "openai";
import type { TracedRequest } from "../metrics/tracing.ts";
import { FakeFastgen, type FakeOptions, json, startServer, until } from "../testing.ts";

const ANSWER = "Hello, wörld 👋";
const PATH = "/v1/responses";

async function start(options: FakeOptions = {}, serverOptions = {}) {
  const fake = new FakeFastgen(options);
  const server = await startServer(fake, { servedModelName: "served", ...serverOptions });
  const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "any", maxRetries: 0 });
  return { fake, server, client, create: (body: object) => server.post(PATH, { input: "Hi", ...body }) };
}

let t: Awaited<ReturnType<typeof start>>;
beforeAll(async () => {
  t = await start({ default_params: { temperature: 0.6, top_p: 0.9 } });
});
afterAll(() => t.server.stop());

/** What the newest request asked of the library. */
const asked = () => t.fake.calls.at(-1)!;
const messages = () => (asked().prompt as { messages: object[] }).messages;

async function refusal(body: object) {
  const reply = await t.create(body);
  expect(reply.status).toBe(400);
  return (await json(reply)).error;
}

describe("the openai client", () => {
  test("reads a whole response", async () => {
    const response = await t.client.responses.create({ model: "any", input: "Hi", instructions: "Be brief." });
    expect(response.id).toMatch(/^resp_[0-9a-f]{32}$/);
    expect(response.output_text).toBe(ANSWER);
    expect(Math.abs(response.created_at - Date.now() / 1000)).toBeLessThan(5);
    expect(response).toMatchObject({
      object: "response",
      status: "completed",
      model: "served",
      error: null,
      incomplete_details: null,
      instructions: "Be brief.",
      background: false,
      store: true,
      temperature: 0.6,
      top_p: 0.9,
      tools: [],
      tool_choice: "auto",
      parallel_tool_calls: true,
      text: { format: { type: "text" } },
      truncation: "disabled",
      metadata: {},
    });
    expect(response.output).toEqual([
      {
        id: expect.stringMatching(/^msg_/),
        type: "message",
        status: "completed",
        role: "assistant",
        content: [{ type: "output_text", text: ANSWER, annotations: [], logprobs: [] }],
      },
    ]);
    const prompt = "<system>Be brief.<user>Hi".length;
    expect(response.usage).toEqual({
      input_tokens: prompt,
      input_tokens_details: { cached_tokens: 0, cache_write_tokens: 0 },
      output_tokens: 15,
      output_tokens_details: { reasoning_tokens: 0 },
      total_tokens: prompt + 15,
    });
    expect(messages()).toEqual([
      { role: "system", content: "Be brief." },
      { role: "user", content: "Hi" },
    ]);
  });

  test("reads a stream, whose end is the same response", async () => {
    const stream = t.client.responses.stream({ model: "any", input: "Hi" });
    let text = "";
    stream.on("response.output_text.delta", ({ delta }) => {
      text += delta;
    });
    const response = await stream.finalResponse();
    expect(text).toBe(ANSWER);
    expect(response.output_text).toBe(ANSWER);
    expect(response.status).toBe("completed");
    expect((await t.client.responses.retrieve(response.id)).output_text).toBe(ANSWER);
  });

  test("goes on from a stored response, lists its input, and deletes it", async () => {
    const first = await t.client.responses.create({ model: "any", input: "One", instructions: "Not carried over." });
    const second = await t.client.responses.create({ model: "any", input: "Two", previous_response_id: first.id });
    expect(second.previous_response_id).toBe(first.id);
    const third = await t.client.responses.create({
      model: "any",
      input: [{ role: "user", content: [{ type: "input_text", text: "Three" }] }],
      previous_response_id: second.id,
    });
    expect(messages()).toEqual([
      { role: "user", content: "One" },
      { role: "assistant", content: ANSWER },
      { role: "user", content: "Two" },
      { role: "assistant", content: ANSWER },
      { role: "user", content: "Three" },
    ]);
    expect(await t.client.responses.retrieve(third.id)).toMatchObject({ id: third.id, output: third.output });
    const items = await Array.fromAsync(t.client.responses.inputItems.list(third.id, { order: "asc", limit: 2 }));
    expect(items).toMatchObject([
      { type: "message", role: "user", content: [{ type: "input_text", text: "One" }] },
      first.output[0]!,
      { role: "user", content: [{ type: "input_text", text: "Two" }] },
      second.output[0]!,
      { role: "user", content: [{ type: "input_text", text: "Three" }] },
    ]);
    expect(new Set(items.map(({ id }) => id)).size).toBe(5);
    const newest = await t.client.responses.inputItems.list(third.id, { limit: 1 });
    expect(newest.data).toEqual([items[4]!]);
    await t.client.responses.delete(first.id);
    const refused = (call: Promise<unknown>) =>
      call.then(
        () => null,
        (error) => error.constructor,
      );
    expect(await refused(t.client.responses.retrieve(first.id))).toBe(OpenAI.NotFoundError);
    expect(await refused(t.client.responses.delete(first.id))).toBe(OpenAI.NotFoundError);
    // What continues a deleted response cannot be continued, as its beginning is gone.
    const { error } = await json(await t.create({ previous_response_id: third.id }));
    expect(error).toMatchObject({ param: "previous_response_id", code: "previous_response_not_found" });
  });

  test("counts the tokens of a request's prompt, a stored conversation's too", async () => {
    const body = { model: "any", input: "Hi", instructions: "Be brief." };
    const { usage, id } = await t.client.responses.create(body);
    const counted = await t.client.responses.inputTokens.count(body);
    expect(counted).toEqual({ object: "response.input_tokens", input_tokens: usage!.input_tokens });
    const next = { model: "any", input: "And?", previous_response_id: id };
    const longer = await t.client.responses.inputTokens.count(next);
    expect(longer.input_tokens).toBe((await t.client.responses.create(next)).usage!.input_tokens);
    const before = t.fake.calls.length;
    const refused = await t.server.post(`${PATH}/input_tokens`, { input: [{ type: "mcp_call" }] });
    expect((await json(refused)).error.param).toBe("input[0]");
    expect(t.fake.calls.length).toBe(before);
  });

  test("sends references to stored items", async () => {
    const first = await t.client.responses.create({ model: "any", input: "One" });
    await t.client.responses.create({
      model: "any",
      input: [
        { role: "user", content: "One" },
        { type: "item_reference", id: first.output[0]!.id! },
        { role: "user", content: "Two" },
      ],
    });
    expect(messages()[1]).toEqual({ role: "assistant", content: ANSWER });
    const { error } = await json(await t.create({ input: [{ type: "item_reference", id: "msg_1" }] }));
    expect(error).toMatchObject({ param: "input", code: "item_not_found" });
  });
});

describe("input", () => {
  test("items of every kind", async () => {
    await t.create({
      input: [
        { role: "developer", content: "Be brief." },
        { type: "message", role: "user", content: [{ type: "input_text", text: "Weather?" }], status: "completed" },
        { type: "reasoning", id: "rs_1", summary: [], content: [{ type: "reasoning_text", text: "hm" }] },
        {
          type: "message",
          role: "assistant",
          id: "m",
          content: [{ type: "output_text", text: "Look.", annotations: [] }],
        },
        { type: "function_call", id: "fc_1", call_id: "c1", name: "weather", arguments: '{"city":"Bonn"}' },
        { type: "function_call_output", call_id: "c1", output: "rain" },
        { type: "reasoning", summary: [{ type: "summary_text", text: "so" }], encrypted_content: null },
        { role: "assistant", content: [{ type: "refusal", refusal: "No." }] },
        {
          role: "user",
          content: [
            { type: "input_text", text: "a" },
            { type: "input_text", text: "b" },
          ],
        },
      ],
    });
    expect(messages()).toEqual([
      { role: "developer", content: "Be brief." },
      { role: "user", content: "Weather?" },
      {
        role: "assistant",
        content: "Look.",
        reasoning_content: "hm",
        tool_calls: [{ id: "c1", type: "function", function: { name: "weather", arguments: '{"city":"Bonn"}' } }],
      },
      { role: "tool", tool_call_id: "c1", name: "weather", content: "rain" },
      { role: "assistant", content: "No.", reasoning_content: "so" },
      {
        role: "user",
        content: [
          { type: "text", text: "a" },
          { type: "text", text: "b" },
        ],
      },
    ]);
  });

  test.each([
    [{ input: undefined }, "input", "is required"],
    [{ input: 5 }, "input", "must be a string or an array of items"],
    [{ input: [{ role: "robot", content: "x" }] }, "input[0].role", "must be"],
    [{ input: [{ role: "user" }] }, "input[0].content", "is required"],
    [
      { input: [{ role: "user", content: [{ type: "input_image", image_url: "x" }] }] },
      "input[0].content[0]",
      "input_image",
    ],
    [{ input: [{ role: "user", content: [{ type: "constructor" }] }] }, "input[0].content[0]", '"constructor"'],
    [{ input: [{ role: "user", content: [{ type: { a: 1 } }] }] }, "input[0].content[0]", 'of type {"a":1} is not'],
    [{ input: [{ role: "user", content: [{}] }] }, "input[0].content[0]", "must have its text in 'text'"],
    [{ input: [{ type: "web_search_call", id: "x" }] }, "input[0]", "web_search_call"],
    [{ input: [{ type: "function_call", call_id: "x", name: "f" }] }, "input[0].arguments", "is required"],
    [{ background: true }, "background", "not supported"],
    [{ conversation: "conv_1" }, "conversation", "not supported"],
    [{ prompt: { id: "pmpt_1" } }, "prompt", "not supported"],
    [{ n: 2 }, "n", "not supported"],
    [{ max_tokens: 5 }, "max_tokens", "not supported"],
    [{ max_output_tokens: 0 }, "max_output_tokens", "at least 1"],
    [{ top_logprobs: 2 }, "top_logprobs", "needs include"],
    [{ include: ["everything"] }, "include[0]", "must be"],
    [{ reasoning: { mode: "pro" } }, "reasoning.mode", "must be"],
    [{ reasoning: { size: 1 } }, "reasoning.size", "not supported"],
    [{ text: { format: { type: "grammar" } } }, "text.format.type", "must have the type"],
    [{ text: { format: { type: "json_schema", name: "a" } } }, "text.format.schema", "object"],
    [{ tools: [{ type: "function", name: "f" }, { type: "web_search" }] }, "tools[1].type", '"web_search"'],
    [{ tools: [{ type: "function" }] }, "tools[0].name", "is required"],
    [{ tool_choice: "required" }, "tool_choice", "needs tools"],
    [{ tools: [{ type: "function", name: "f" }], tool_choice: { type: "function", name: "g" } }, "tool_choice", "'g'"],
    [{ tools: [1, 2].map(() => ({ type: "function", name: "f" })) }, "tools[1].name", "'f'"],
    [{ tool_choice: { type: "file_search" } }, "tool_choice", "must be"],
    [{ previous_response_id: "resp_1" }, "previous_response_id", "not stored"],
    [{ truncation: "middle" }, "truncation", "must be"],
  ])("%j is refused by name", async (body, param, says) => {
    const before = t.fake.calls.length;
    const error = await refusal(body);
    expect(error.param).toBe(param);
    expect(error.message).toContain(says);
    expect(t.fake.calls.length).toBe(before);
  });

  test("a part without a type is a text", async () => {
    await t.create({ input: [{ role: "user", content: [{ text: "a" }] }] });
    expect(messages()).toEqual([{ role: "user", content: "a" }]);
  });

  test("what asks for nothing is taken", async () => {
    const reply = await t.create({
      model: "any",
      background: false,
      conversation: null,
      prompt: null,
      context_management: [],
      include: [],
      tools: [],
      tool_choice: "auto",
      max_tool_calls: 3,
      service_tier: "auto",
      prompt_cache_retention: "24h",
      reasoning: { effort: null, summary: null, context: "auto", anything: null },
      stream_options: { include_obfuscation: false },
      text: {},
      store: null,
      previous_response_id: null,
      client_metadata: { a: "b" },
    });
    expect(reply.status).toBe(200);
  });

  test("fields reach the library, and come back", async () => {
    const tool = { type: "function", name: "f", description: "d", parameters: { type: "object" }, strict: true };
    const body = {
      max_output_tokens: 5,
      temperature: 0.5,
      top_p: 0.8,
      top_k: 7,
      seed: 3,
      include: ["message.output_text.logprobs", "reasoning.encrypted_content"],
      top_logprobs: 2,
      reasoning: { effort: "low", summary: "auto" },
      text: { verbosity: "low" },
      chat_template_kwargs: { a: 1 },
      tools: [tool],
      tool_choice: "none",
      truncation: "auto",
      cache_salt: "salt",
      metadata: { run: "1" },
      user: "ann",
      safety_identifier: "s",
      prompt_cache_key: "k",
    };
    const response = await json(await t.create(body));
    const {
      stream: _,
      chat_template_kwargs: _k,
      include: _i,
      top_k: _t,
      seed: _s,
      cache_salt: _c,
      ...echoed
    } = body as typeof body & {
      stream?: boolean;
    };
    expect(response).toMatchObject({ ...echoed, status: "incomplete" });
    expect(response.incomplete_details).toEqual({ reason: "max_output_tokens" });
    expect(response.output[0]).toMatchObject({ status: "incomplete" });
    expect(response.output[0].content[0].logprobs).toHaveLength(5);
    expect(response.output[0].content[0].logprobs[0]).toMatchObject({ token: "H", logprob: -0.5, bytes: [72] });
    expect(response.output[0].content[0].logprobs[0].top_logprobs).toHaveLength(2);
    const { params, options, prompt } = asked();
    expect(params).toMatchObject({ max_tokens: 5, temperature: 0.5, top_p: 0.8, top_k: 7, seed: 3, logprobs: 2 });
    expect(options).toMatchObject({ truncate_prompt_tokens: -1, cache_salt: "salt" });
    expect(prompt).toMatchObject({
      chat_template_kwargs: { a: 1, reasoning_effort: "low", verbosity: "low", enable_thinking: true },
      tools: [
        { type: "function", function: { name: "f", description: "d", parameters: { type: "object" }, strict: true } },
      ],
    });
    // The store has no log probabilities.
    const kept = await json(await fetch(`${t.server.url}${PATH}/${response.id}`));
    expect(kept.output[0].content[0].logprobs).toEqual([]);
  });

  test("allowed_tools are the only ones that the model sees", async () => {
    const tools = ["f", "g", "h"].map((name) => ({ type: "function", name }));
    const some = ["h", "f"].map((name) => ({ type: "function", name }));
    await t.create({ tools, tool_choice: { type: "allowed_tools", mode: "auto", tools: some } });
    expect((asked().prompt as { tools: { function: object }[] }).tools.map((tool) => tool.function)).toEqual([
      { name: "f" },
      { name: "h" },
    ]);
  });

  test("tools in namespaces are functions to the model, and so are calls of them", async () => {
    const tools = [{ type: "namespace", name: "n", description: "d", tools: [{ type: "function", name: "f" }] }];
    const call = { type: "function_call", call_id: "1", namespace: "n", name: "f", arguments: "{}" };
    const output = { type: "function_call_output", call_id: "1", output: "x" };
    await t.create({ tools, input: [{ role: "user", content: "Hi" }, call, output] });
    const { tools: seen } = asked().prompt as { tools: object[] };
    expect(seen).toEqual([{ type: "function", function: { name: "n__f" } }]);
    expect(messages().slice(1)).toMatchObject([
      { tool_calls: [{ function: { name: "n__f" } }] },
      { role: "tool", name: "n__f" },
    ]);
    const inner = { type: "namespace", name: "m", tools: [{ type: "web_search", name: "c" }] };
    expect(await refusal({ tools: [inner] })).toMatchObject({ param: "tools[0].tools[0].type" });
    expect(await refusal({ tools: [{ ...inner, tools: tools }] })).toMatchObject({ param: "tools[0].tools[0].type" });
    expect(await refusal({ tools: [{ type: "namespace" }] })).toMatchObject({ param: "tools[0].name" });
  });

  test("--allow-extra-fields leaves tools out that the server does not have", async () => {
    const lax = await start({}, { allowExtraFields: true });
    const reply = await lax.create({
      tools: [{ type: "web_search" }, { type: "function", name: "f" }],
      background: true,
    });
    expect(reply.status).toBe(200);
    expect(reply.headers.get("x-ignored-fields")).toBe("background, tools%5B0%5D");
    expect((lax.fake.calls[0]!.prompt as { tools: object[] }).tools).toHaveLength(1);
    await lax.server.stop();
  });
});

describe("stored responses", () => {
  const get = (path: string) => fetch(`${t.server.url}${PATH}/${path}`);

  test("store: false keeps nothing", async () => {
    const { id, store } = await json(await t.create({ store: false }));
    expect(store).toBe(false);
    expect((await get(id)).status).toBe(404);
  });

  test("a response cannot be cancelled, as none runs in the background", async () => {
    const { id } = await json(await t.create({}));
    expect((await t.server.post(`${PATH}/${id}/cancel`, {})).status).toBe(400);
    expect((await t.server.post(`${PATH}/resp_1/cancel`, {})).status).toBe(404);
    expect((await get(`${id}?stream=true`)).status).toBe(400);
  });

  test("pages of input items are bounded", async () => {
    const { id } = await json(await t.create({}));
    for (const query of ["limit=0", "limit=101", "limit=x", "order=up", "after=msg_1"]) {
      expect([query, (await get(`${id}/input_items?${query}`)).status]).toEqual([query, 400]);
    }
    expect((await get("resp_1/input_items")).status).toBe(404);
  });

  test("flags bound the store", async () => {
    const none = await start({}, { maxStoredResponses: 0 });
    const { id } = await json(await none.create({}));
    expect((await fetch(`${none.server.url}${PATH}/${id}`)).status).toBe(404);
    await none.server.stop();
    const few = await start({}, { maxStoredResponseBytes: 10 });
    await few.create({});
    expect(few.server.service.responses.size).toEqual({ responses: 0, bytes: 0 });
    await few.server.stop();
  });

  test("other methods are refused", async () => {
    const reply = await fetch(`${t.server.url}${PATH}/resp_1`, { method: "PUT" });
    expect([reply.status, reply.headers.get("allow")]).toEqual([405, "GET, HEAD, DELETE"]);
  });
});

describe("accounts", () => {
  test("a request is one line of the log, without any text; metrics count it, and it has a trace", async () => {
    const traced: TracedRequest[] = [];
    const { server, create } = await start(
      {},
      { tracer: { requestDone: (request: TracedRequest) => traced.push(request) } },
    );
    await create({ input: "A secret", stream: true }).then((reply) => reply.text());
    await create({ input: "A secret" });
    await until(() => server.accessLog.length === 2);
    for (const line of server.accessLog) {
      expect(line).toMatchObject({
        method: "POST",
        path: PATH,
        status: 200,
        prompt_tokens: 14,
        completion_tokens: 15,
        error: null,
      });
      expect(JSON.stringify(line)).not.toContain("secret");
    }
    expect(traced.map(({ usage }) => usage.completion_tokens)).toEqual([15, 15]);
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    expect(metrics).toMatch(/vllm:request_success_total\{[^}]*finished_reason="stop"[^}]*\} 2/);
    await server.stop();
  });

  test("a client that goes away ends its generation, and nothing is stored", async () => {
    const { server, fake, create } = await start({ pace: () => Bun.sleep(5), answer: "x".repeat(10_000) });
    const reply = await create({ stream: true });
    const reader = reply.body!.getReader();
    await reader.read();
    await reader.cancel();
    await until(() => fake.calls[0]!.aborted);
    await until(() => server.accessLog.length === 1);
    expect(server.accessLog[0]).toMatchObject({ error: "aborted" });
    expect(server.service.responses.size.responses).toBe(0);
    expect(server.service.open).toBe(0);
    await server.stop();
  });

  test("an error in the middle of a stream is told by two events; of a whole reply it is the status", async () => {
    const { server, create } = await start({ failAfter: 2 });
    const text = await (await create({ stream: true })).text();
    const events = [...text.matchAll(/^data: (.*)$/gm)].map(([, data]) => JSON.parse(data!));
    expect(events.map(({ sequence_number }) => sequence_number)).toEqual(events.map((_, i) => i));
    const [error, failed] = events.slice(-2);
    expect(error).toMatchObject({ type: "error", code: "device_error", message: "the device fell off the bus" });
    expect(failed).toMatchObject({
      type: "response.failed",
      response: {
        status: "failed",
        error: { code: "server_error", message: "the device fell off the bus" },
        output: [{ status: "incomplete", content: [{ text: "He" }] }],
      },
    });
    expect((await create({})).status).toBe(500);
    expect(server.service.responses.size.responses).toBe(0);
    await server.stop();
  });

  test("a full queue is a 429, a request larger than the queue a 400, a large body a 413", async () => {
    const gate = Promise.withResolvers<void>();
    const { server, fake, create } = await start({ pace: () => gate.promise }, { maxQueued: 1, maxBodyBytes: 2000 });
    const first = create({});
    await until(() => fake.calls.length === 1);
    const refused = await create({});
    expect(refused.status).toBe(429);
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
    expect((await json(refused)).error).toMatchObject({ type: "rate_limit_error", code: "rate_limit_exceeded" });
    gate.resolve();
    expect((await first).status).toBe(200);
    expect((await create({})).status).toBe(200);
    expect((await create({ input: "x".repeat(3000) })).status).toBe(413);
    await server.stop();
    const none = await start({}, { maxQueued: 0 });
    expect((await none.create({})).status).toBe(400);
    await none.server.stop();
  });
});
