/** Tools and reasoning in chat: what is read out of what the model writes, in replies and in streams. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Conversation } from "../../src/types.ts";
import { events, FakeFastgen, json, startServer, type TestServer } from "../testing.ts";

const CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Köln"}}\n</tool_call>';
const answer = `<think>Hm.</think>\n\n${CALL}\n${CALL.replace("Köln", "Rome")}`;
/** Here every character is a token: reasoning is open once its first mark is whole. */
const REASONING_TOKENS = ">Hm.</think>".length;
const fake = new FakeFastgen({ answer });
const parameters = { type: "object", properties: { city: { type: "string" } } };
const tools = [{ type: "function", function: { name: "weather", parameters } }];
const messages = [{ role: "user", content: "Hi" }];

let server: TestServer;
beforeAll(async () => {
  server = await startServer(fake, { reasoningParser: "qwen3", toolCallParser: "hermes" });
});
afterAll(() => server.stop());
const post = (body: object) => server.post("/v1/chat/completions", { messages, tools, ...body });

test("a reply has reasoning and calls apart from the text", async () => {
  const { choices, usage } = await json(await post({}));
  const { message, finish_reason } = choices[0];
  expect(message).toMatchObject({ content: null, reasoning_content: "Hm.", reasoning: "Hm." });
  expect(message.tool_calls.map((call: { function: object }) => call.function)).toEqual([
    { name: "weather", arguments: '{"city": "Köln"}' },
    { name: "weather", arguments: '{"city": "Rome"}' },
  ]);
  expect(new Set(message.tool_calls.map(({ id }: { id: string }) => id)).size).toBe(2);
  expect(finish_reason).toBe("tool_calls");
  expect(usage.completion_tokens_details.reasoning_tokens).toBe(REASONING_TOKENS);
  expect(fake.calls.at(-1)!.options.shown_special_tokens).toContain("</think>");
});

test("a stream tells a call's name first, then its arguments in pieces", async () => {
  const frames = await events(await post({ stream: true, stream_options: { include_usage: true } }));
  const chunks = frames.slice(0, -1).map((frame) => JSON.parse(frame));
  const deltas = chunks.flatMap(({ choices }) => choices.map((choice: { delta: object }) => choice.delta));
  expect(deltas[0]).toEqual({ role: "assistant", content: null, refusal: null });
  expect(deltas.map(({ reasoning_content = "" }) => reasoning_content).join("")).toBe("Hm.");
  const calls = deltas.flatMap(({ tool_calls = [] }) => tool_calls);
  const first = calls.findIndex(({ index }) => index === 1);
  expect(calls[0]).toEqual({
    index: 0,
    id: calls[0].id,
    type: "function",
    function: { name: "weather", arguments: "" },
  });
  expect(
    calls
      .slice(1, first)
      .map((call) => call.function.arguments)
      .join(""),
  ).toBe('{"city": "Köln"}');
  expect(calls.slice(first + 1).every((call) => call.index === 1 && call.id === undefined)).toBe(true);
  expect(chunks.at(-2).choices[0].finish_reason).toBe("tool_calls");
  expect(chunks.at(-1).usage.completion_tokens_details.reasoning_tokens).toBe(REASONING_TOKENS);
});

test("a named call is no decision of the model's; with none the answer is text; reasoning may be left out", async () => {
  const named = { type: "function", function: { name: "weather" } };
  expect((await json(await post({ tool_choice: named }))).choices[0].finish_reason).toBe("stop");
  const none = (await json(await post({ tool_choice: "none", include_reasoning: false }))).choices[0];
  expect(none.message.content).toContain("<tool_call>");
  expect([none.message.tool_calls, none.message.reasoning, none.finish_reason]).toEqual([undefined, undefined, "stop"]);
});

test("an answer that ends with the beginning of a mark has it as text, in a reply and in a stream", async () => {
  const cut = "Look: <tool_ca";
  const other = await startServer(new FakeFastgen({ answer: cut }), { toolCallParser: "hermes" });
  const body = { messages, tools };
  const reply = await json(await other.post("/v1/chat/completions", body));
  expect(reply.choices[0].message.content).toBe(cut);
  const frames = await events(await other.post("/v1/chat/completions", { ...body, stream: true }));
  const deltas = frames.slice(0, -1).map((frame) => JSON.parse(frame).choices[0].delta);
  expect(deltas.map(({ content }) => content ?? "").join("")).toBe(cut);
  await other.stop();
});

const twice = [tools[0], tools[0]];
test.each([
  [{ tools: [{ type: "function", function: {} }] }, "tools[0].function.name"],
  [{ tools: [{ type: "function", function: { name: "the weather" } }] }, "tools[0].function.name"],
  [{ tools: [{ type: "function", function: { name: "</tool_call>" } }] }, "tools[0].function.name"],
  [{ tools: [{ type: "custom", custom: { name: "a\nb" } }] }, "tools[0].custom.name"],
  [{ tools: [{ type: "web_search" }] }, "tools[0].type"],
  [{ tools: twice }, "tools[1].function.name"],
  [{ tool_choice: { type: "function", function: { name: "clock" } } }, "tool_choice"],
  [{ tools: [], tool_choice: "required" }, "tool_choice"],
  [{ tool_choice: "sometimes" }, "tool_choice"],
])("%j is refused before anything starts", async (body, param) => {
  const before = fake.calls.length;
  const reply = await post(body);
  expect(reply.status).toBe(400);
  expect((await json(reply)).error.param).toBe(param);
  expect(fake.calls.length).toBe(before);
});

describe("what may be called is said in several forms", () => {
  const [weather] = tools;
  const other = { type: "function", function: { name: "other" } };
  const called = { message: { tool_calls: [expect.anything(), expect.anything()] } };
  const asked = () => fake.calls.at(-1)!.prompt as Conversation;

  test.each([
    ["any", "tool_calls"],
    [{ type: "any" }, "tool_calls"],
    [{ type: "function", name: "weather" }, "stop"],
    [{ type: "tool", name: "weather" }, "stop"],
    [{ function: { name: "weather" } }, "stop"],
    [{ type: "allowed_tools", allowed_tools: { mode: "required", tools: [weather] } }, "tool_calls"],
    [{ type: "allowed_tools", mode: "required", tools: [{ type: "function", name: "weather" }] }, "tool_calls"],
  ])("%j", async (tool_choice, finish_reason) => {
    const reply = await json(await post({ tools: [weather, other], tool_choice }));
    expect(reply.choices).toMatchObject([{ ...called, finish_reason }]);
  });

  test("the model sees the allowed tools alone, and decides among them with the mode auto", async () => {
    const allow = (mode: string, name: string) => ({
      tools: [weather, other],
      tool_choice: {
        type: "allowed_tools",
        allowed_tools: { mode, tools: [{ type: "function", function: { name } }] },
      },
    });
    const { choices } = await json(await post(allow("auto", "other")));
    expect(asked().tools).toEqual([other]);
    expect(choices[0].finish_reason).toBe("tool_calls");
    const { error } = await json(await post(allow("auto", "nothing")));
    expect(error).toMatchObject({ param: "tool_choice", message: expect.stringContaining("nothing") });
  });

  test("any and the mode required ask for a call: there must be something to call", async () => {
    for (const tool_choice of ["any", { type: "any" }, { type: "allowed_tools", mode: "required", tools: [] }]) {
      const { error } = await json(await post({ tools: [], tool_choice }));
      expect(error).toMatchObject({ param: "tool_choice", message: "tool_choice needs tools" });
    }
  });

  test("other choices are refused", async () => {
    for (const tool_choice of [
      true,
      "weather",
      { type: "allowed_tools" },
      { type: "allowed_tools", allowed_tools: { mode: "any", tools: [weather] } },
    ]) {
      expect((await json(await post({ tool_choice }))).error).toMatchObject({ param: "tool_choice" });
    }
  });

  test("functions in the form of /responses", async () => {
    const { function: flat } = weather!;
    await post({ tools: [{ type: "function", ...flat }] });
    expect(asked().tools).toEqual([weather]);
    const { error } = await json(await post({ tools: [{ type: "web_search", name: "f" }] }));
    expect(error.param).toBe("tools[0].type");
  });
});
