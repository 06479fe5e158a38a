import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { TracedRequest } from "../metrics/tracing.ts";
import { FakeFastgen, type FakeOptions, json, startServer, until } from "../testing.ts";

const ANSWER = "Hello, wörld 👋";
const PATH = "/v1/messages";
const HI = [{ role: "user", content: "Hi" }];

async function start(options: FakeOptions = {}, serverOptions = {}) {
  const fake = new FakeFastgen(options);
  const server = await startServer(fake, { servedModelName: "served", ...serverOptions });
  const create = (body: object, headers: Record<string, string> = {}) =>
    server.post(PATH, { max_tokens: 100, messages: HI, ...body }, headers);
  return { fake, server, create };
}

let t: Awaited<ReturnType<typeof start>>;
beforeAll(async () => {
  t = await start({ default_params: { temperature: 0.6 } });
});
afterAll(() => t.server.stop());

/** What the newest request asked of the library. */
const asked = () => t.fake.calls.at(-1)!;
const messages = () => (asked().prompt as { messages: object[] }).messages;
const text = (words: string) => ({ type: "text", text: words });

test("a whole message", async () => {
  const reply = await t.create({ model: "claude", system: "Be brief." }, { "anthropic-version": "2023-06-01" });
  const input_tokens = "<system>Be brief.<user>Hi".length;
  expect(await json(reply)).toEqual({
    id: expect.stringMatching(/^msg_[0-9a-f]{32}$/),
    type: "message",
    role: "assistant",
    model: "served",
    content: [{ type: "text", text: ANSWER, citations: null }],
    stop_reason: "end_turn",
    stop_sequence: null,
    stop_details: null,
    usage: {
      input_tokens,
      cache_creation_input_tokens: 0,
      cache_read_input_tokens: 0,
      output_tokens: 15,
      output_tokens_details: { thinking_tokens: 0 },
    },
    weight_version: "0",
  });
  expect(asked().params).toEqual({ max_tokens: 100, temperature: 0.6 });
});

test("a stream has events with names, and ends with message_stop", async () => {
  const reply = await t.create({ stream: true });
  expect(reply.headers.get("content-type")).toStartWith("text/event-stream");
  const stream = await reply.text();
  const deltas = [...stream.matchAll(/^data: (.*)$/gm)].map(([, data]) => JSON.parse(data!).delta?.text ?? "");
  expect(deltas.join("")).toBe(ANSWER);
  expect(stream).toEndWith('event: message_stop\ndata: {"type":"message_stop"}\n\n');
  expect(stream).not.toContain("[DONE]");
});

describe("messages", () => {
  test("blocks of every kind", async () => {
    const cache_control = { type: "ephemeral" };
    const reply = await t.create({
      system: [
        { ...text("One."), cache_control },
        { ...text("Two."), cache_control },
      ],
      messages: [
        { role: "user", content: [text("Weather?"), text("And time?")] },
        {
          role: "assistant",
          content: [
            { type: "thinking", thinking: "hm", signature: "s" },
            { type: "redacted_thinking", data: "xxx" },
            { ...text("Look."), citations: null },
            { type: "tool_use", id: "t1", name: "weather", input: { city: "Bonn" }, cache_control },
            { type: "tool_use", id: "t2", name: "clock", input: {} },
          ],
        },
        {
          role: "user",
          content: [
            { type: "tool_result", tool_use_id: "t1", content: "rain" },
            { type: "tool_result", tool_use_id: "t2", content: [text("no"), text("clock")], is_error: true },
            text("Go on."),
          ],
        },
        { role: "assistant", content: [text("It rains."), { type: "tool_use", id: "t3", name: "clock", input: {} }] },
        { role: "user", content: [{ type: "tool_result", tool_use_id: "t3" }] },
      ],
    });
    expect(reply.status).toBe(200);
    const call = (id: string, name: string, args: object) => ({
      id,
      type: "function",
      function: { name, arguments: args },
    });
    expect(messages()).toEqual([
      { role: "system", content: "One.\nTwo." },
      { role: "user", content: [text("Weather?"), text("And time?")] },
      {
        role: "assistant",
        content: "Look.",
        reasoning_content: "hm",
        tool_calls: [call("t1", "weather", { city: "Bonn" }), call("t2", "clock", {})],
      },
      { role: "tool", tool_call_id: "t1", name: "weather", content: "rain" },
      { role: "tool", tool_call_id: "t2", name: "clock", content: "Error: no\nclock" },
      { role: "user", content: "Go on." },
      { role: "assistant", content: "It rains.", tool_calls: [call("t3", "clock", {})] },
      { role: "tool", tool_call_id: "t3", name: "clock", content: "" },
    ]);
    expect(asked().prompt).toHaveProperty("continue_final_message", undefined);
  });

  test("documents of text, search results and names of tools are read as texts", async () => {
    const plain = { type: "document", source: { type: "text", media_type: "text/plain", data: "Body" } };
    const result = { type: "search_result", source: "https://a", title: "T", content: [text("x"), text("y")] };
    const reply = await t.create({
      messages: [
        {
          role: "user",
          content: [
            { ...plain, title: "Title", context: "Context", citations: { enabled: false } },
            { type: "document", source: { type: "content", content: [text("a"), text("b")] }, title: null },
            { type: "document", source: { type: "content", content: "c" } },
            result,
          ],
        },
        { role: "assistant", content: [{ type: "tool_use", id: "1", name: "find", input: null }] },
        {
          role: "user",
          content: [
            {
              type: "tool_result",
              tool_use_id: "1",
              content: [plain, result, { type: "tool_reference", tool_name: "f" }],
            },
          ],
        },
      ],
    });
    expect(reply.status).toBe(200);
    const [user, call, tool] = messages() as { content: object[] }[];
    expect(call).toHaveProperty("tool_calls[0].function.arguments", {});
    expect(user!.content).toEqual(["Title\nContext\nBody", "a\nb", "c", "T\nhttps://a\nx\ny"].map(text));
    expect(tool!.content).toEqual(["Body", "T\nhttps://a\nx\ny", "f"].map(text));
  });

  test("an answer that was begun is continued", async () => {
    await t.create({ messages: [...HI, { role: "assistant", content: "Well" }] });
    expect(asked().prompt).toMatchObject({ continue_final_message: true });
    await t.create({
      messages: [
        ...HI,
        { role: "assistant", content: [text("Look."), { type: "tool_use", id: "1", name: "f", input: {} }] },
      ],
    });
    expect(asked().prompt).toHaveProperty("continue_final_message", undefined);
  });
});

describe("fields", () => {
  test("reach the library", async () => {
    const reply = await t.create({
      max_tokens: 5,
      temperature: 0.5,
      top_p: 0.9,
      top_k: 7,
      stop_sequences: ["###", "END"],
      thinking: { type: "enabled", budget_tokens: 2048 },
      output_config: { effort: "low" },
      tools: [{ name: "f", description: "d", input_schema: { type: "object" }, strict: true, cache_control: {} }],
    });
    expect(await json(reply)).toMatchObject({ stop_reason: "max_tokens", usage: { output_tokens: 5 } });
    const { params, prompt } = asked();
    expect(params).toMatchObject({ max_tokens: 5, temperature: 0.5, top_p: 0.9, top_k: 7, stop: ["###", "END"] });
    expect(prompt).toMatchObject({
      chat_template_kwargs: { enable_thinking: true, reasoning_effort: "low" },
      tools: [
        { type: "function", function: { name: "f", description: "d", parameters: { type: "object" }, strict: true } },
      ],
    });
    await t.create({ thinking: { type: "disabled" } });
    expect(asked().prompt).toMatchObject({ chat_template_kwargs: { enable_thinking: false } });
    await t.create({ thinking: { type: "adaptive" } });
    expect(asked().prompt).toMatchObject({ chat_template_kwargs: undefined });
  });

  test("max_tokens 0 only computes the prompt", async () => {
    expect(await json(await t.create({ max_tokens: 0 }))).toMatchObject({ content: [], stop_reason: "max_tokens" });
  });

  test.each([
    [{ max_tokens: null }, "max_tokens is required"],
    [{ max_tokens: -1 }, "max_tokens must be at least 0"],
    [{ messages: [] }, "messages has 0 entries"],
    [{ messages: [{ role: "user" }] }, "messages[0].content is required"],
    [{ messages: [{ role: "tool", content: "x" }] }, "messages[0].role must be"],
    [
      { messages: [{ role: "user", content: [{ type: "image", source: {} }] }] },
      'messages[0].content[0] of type "image"',
    ],
    ...[
      [{ type: "image" }, '"image" is not supported'],
      [{ text: "x" }, "content[0] needs a type: text, "],
      [{ type: "document" }, "content[0].source must be an object"],
      [{ type: "document", source: {} }, 'content[0].source.type must be "text" or "content": send'],
      [{ type: "document", source: { type: "url", url: "x" } }, 'source.type must be "text" or "content", not "url"'],
      [{ type: "document", source: { type: "text" } }, "source.data is required"],
      [
        { type: "document", source: { type: "text", data: "x" }, citations: { enabled: true } },
        "citations.enabled must be false",
      ],
      [{ type: "search_result", source: "x", title: "y", content: "z" }, "content[0].content must be an array"],
      [{ type: "tool_reference", tool_name: "f" }, '"tool_reference" is not supported'],
      [{ type: "server_tool_use", id: "1", name: "web_search", input: {} }, '"server_tool_use" is not supported'],
    ].map(([block, says]): [object, string] => [{ messages: [{ role: "user", content: [block] }] }, says as string]),
    [
      {
        messages: [
          { role: "user", content: [{ type: "tool_result", tool_use_id: "1", content: [{ type: "image" }] }] },
        ],
      },
      'messages[0].content[0].content[0] of type "image"',
    ],
    [{ messages: [{ role: "user", content: [{ type: "tool_use", id: "1", name: "f", input: {} }] }] }, '"assistant"'],
    [{ messages: [{ role: "assistant", content: [{ type: "tool_result", tool_use_id: "1" }] }] }, '"user"'],
    [{ system: [{ type: "image" }] }, 'system[0] of type "image"'],
    [{ tools: [{ type: "web_search_20250305", name: "web_search" }] }, 'tools[0].type "web_search_20250305"'],
    [{ tools: [{ name: "f" }] }, "tools[0].input_schema"],
    [{ tool_choice: { type: "any" } }, "tool_choice"],
    [{ tools: [{ name: "f", input_schema: {} }], tool_choice: { type: "tool", name: "g" } }, "tool_choice names 'g'"],
    [{ tools: [1, 2].map(() => ({ name: "f", input_schema: {} })) }, "tools[1].name"],
    [{ tool_choice: { type: "tool" } }, "needs a name"],
    [{ tool_choice: { type: "some" } }, "tool_choice.type must be"],
    [{ thinking: { type: "enabled", budget_tokens: 0 } }, "thinking.budget_tokens must be"],
    [{ thinking: { type: "enabled", speed: 5 } }, "thinking.speed is not supported"],
    [{ output_config: { task_budget: { type: "tokens", total: 5 } } }, "output_config.task_budget"],
    [{ context_management: { edits: [{ type: "clear_tool_uses_20250919" }] } }, "context_management is not supported"],
    [{ mcp_servers: [{ type: "url", url: "x", name: "y" }] }, "mcp_servers is not supported"],
    [{ container: "c" }, "container is not supported"],
    [{ stop_sequences: ["x".repeat(300)] }, "stop_sequences[0] must have at most 256"],
    [{ n: 2 }, "n is not supported"],
    [{ temperature: -1 }, "temperature must be at least 0"],
  ])("%j is refused by name", async (body, says) => {
    const before = t.fake.calls.length;
    const reply = await t.create(body);
    expect(reply.status).toBe(400);
    const { type, error, request_id } = await json(reply);
    expect([type, error.type]).toEqual(["error", "invalid_request_error"]);
    expect(error.message).toContain(says);
    expect(request_id).toBe(reply.headers.get("x-request-id"));
    expect(t.fake.calls.length).toBe(before);
  });

  test("what asks for nothing is taken", async () => {
    const reply = await t.create({
      metadata: { user_id: "u" },
      cache_control: { type: "ephemeral" },
      service_tier: "auto",
      container: null,
      mcp_servers: [],
      speed: "standard",
      inference_geo: "eu",
      betas: ["context-management-2025-06-27"],
      context_management: { edits: [{ type: "clear_thinking_20251015", keep: "all" }] },
      stop_sequences: [],
      tools: [],
      tool_choice: { type: "auto", disable_parallel_tool_use: false },
      thinking: { type: "disabled" },
      output_config: { effort: null, format: null },
    });
    expect(reply.status).toBe(200);
  });

  test("--allow-extra-fields leaves tools out that the server does not have", async () => {
    const lax = await start({}, { allowExtraFields: true });
    const tools = [
      { type: "bash_20250124", name: "bash" },
      { name: "f", input_schema: {} },
    ];
    const reply = await lax.create({ tools });
    expect(reply.headers.get("x-ignored-fields")).toBe("tools%5B0%5D");
    expect((lax.fake.calls[0]!.prompt as { tools: object[] }).tools).toHaveLength(1);
    await lax.server.stop();
  });
});

describe("count_tokens", () => {
  const count = (body: object) => t.server.post(`${PATH}/count_tokens`, { messages: HI, ...body });

  test("counts what a message would send, and generates nothing", async () => {
    const before = t.fake.calls.length;
    expect(await json(await count({ system: "Be brief." }))).toEqual({ input_tokens: 25 });
    expect(await json(await count({ max_tokens: 5, stream: true, model: "any" }))).toEqual({ input_tokens: 8 });
    expect(t.fake.calls.length).toBe(before);
  });

  test("refuses what a message does", async () => {
    const { error } = await json(await count({ tools: [{ type: "bash_20250124", name: "bash" }] }));
    expect(error.message).toContain("bash_20250124");
  });
});

describe("errors have Anthropic's shape on its paths, and OpenAI's elsewhere", () => {
  const typeOf = async (reply: Response) => {
    const body = await json(reply);
    return [reply.status, body.type, body.error.type];
  };

  test("the key: x-api-key or Authorization", async () => {
    const { server, create } = await start({}, { apiKey: "right" });
    expect((await create({}, { "x-api-key": "right" })).status).toBe(200);
    expect((await create({}, { authorization: "Bearer right" })).status).toBe(200);
    expect((await create({}, { "x-api-key": "right", authorization: "Bearer other" })).status).toBe(200);
    for (const headers of [{}, { "x-api-key": "wrong" }, { "x-api-key": "" }, { authorization: "Bearer wrong" }]) {
      expect(await typeOf(await create({}, headers as Record<string, string>))).toEqual([
        401,
        "error",
        "authentication_error",
      ]);
    }
    expect(await typeOf(await server.post("/v1/chat/completions", {}))).toEqual([
      401,
      undefined,
      "invalid_request_error",
    ]);
    await server.stop();
  });

  test("paths, methods, bodies", async () => {
    expect(await typeOf(await fetch(`${t.server.url}/messages`))).toEqual([405, "error", "invalid_request_error"]);
    expect(await typeOf(await t.server.post(`${PATH}/batches`, {}))).toEqual([404, "error", "not_found_error"]);
    expect(await typeOf(await t.server.post(`${PATH}?beta=true`, "{"))).toEqual([
      400,
      "error",
      "invalid_request_error",
    ]);
    const { server, create } = await start({}, { maxBodyBytes: 1000 });
    expect(await typeOf(await create({ system: "x".repeat(2000) }))).toEqual([413, "error", "request_too_large"]);
    await server.stop();
  });

  test("a full queue, a server that loads or drains, a broken device", async () => {
    const busy = await start({ pace: () => Bun.sleep(1000) }, { maxQueued: 1 });
    const open = busy.create({ stream: true });
    await until(() => busy.fake.calls.length === 1);
    const refused = await busy.create({});
    expect(refused.headers.get("retry-after")).toBe("5");
    expect(await typeOf(refused)).toEqual([429, "error", "rate_limit_error"]);
    await (await open).body!.cancel();
    await busy.server.stop();
    const loading = await startServer(null);
    expect(await typeOf(await loading.post(PATH, {}))).toEqual([503, "error", "overloaded_error"]);
    await loading.stop();
    const broken = await start({ failAfter: 0 });
    expect(await typeOf(await broken.create({}))).toEqual([500, "error", "api_error"]);
    await broken.server.stop();
  });

  test("in the middle of a stream", async () => {
    const { server, create } = await start({ failAfter: 2 });
    const reply = await create({ stream: true });
    const last = (await reply.text()).trimEnd().split("\n\n").at(-1)!;
    expect(last).toStartWith("event: error\ndata: ");
    expect(JSON.parse(last.split("data: ")[1]!)).toEqual({
      type: "error",
      error: { type: "api_error", message: "the device fell off the bus" },
      request_id: reply.headers.get("x-request-id"),
    });
    await server.stop();
  });
});

describe("accounts", () => {
  test("a request is one line of the log, without any text; metrics count it, and it has a trace", async () => {
    const traced: TracedRequest[] = [];
    const { server, create } = await start(
      {},
      { tracer: { requestDone: (request: TracedRequest) => traced.push(request) } },
    );
    await create({ system: "A secret", stream: true }).then((reply) => reply.text());
    await create({ system: "A secret" });
    await until(() => server.accessLog.length === 2);
    for (const line of server.accessLog) {
      expect(line).toMatchObject({ path: PATH, status: 200, prompt_tokens: 24, completion_tokens: 15, error: null });
      expect(JSON.stringify(line)).not.toContain("secret");
    }
    expect(traced.map(({ usage }) => usage.completion_tokens)).toEqual([15, 15]);
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    expect(metrics).toMatch(/vllm:request_success_total\{[^}]*finished_reason="stop"[^}]*\} 2/);
    await server.stop();
  });

  test("a client that goes away ends its generation", async () => {
    const { server, fake, create } = await start({ pace: () => Bun.sleep(5), answer: "x".repeat(10_000) });
    const reader = (await create({ stream: true })).body!.getReader();
    await reader.read();
    await reader.cancel();
    await until(() => fake.calls[0]!.aborted && server.accessLog.length === 1);
    expect(server.accessLog[0]).toMatchObject({ error: "aborted" });
    expect(server.service.open).toBe(0);
    const gone = new AbortController();
    const whole = fetch(server.url + PATH, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ max_tokens: 10_000, messages: HI }),
      signal: gone.signal,
    }).catch(() => null);
    await until(() => fake.calls.length === 2);
    gone.abort();
    await whole;
    await until(() => fake.calls[1]!.aborted && server.service.open === 0);
    await server.stop();
  });
});
