/** OpenAI's older form of tools in chat: what reaches the model, and what is read out of its answer. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { Conversation } from "../../src/types.ts";
import { events, FakeFastgen, json, startServer, type TestServer } from "../testing.ts";

const answer = '<tool_call>\n{"name": "weather", "arguments": {"city": "Bonn"}}\n</tool_call>';
const fake = new FakeFastgen({ answer });
let server: TestServer;
beforeAll(async () => {
  server = await startServer(fake, { toolCallParser: "hermes" });
});
afterAll(() => server.stop());

const functions = [{ name: "weather", parameters: { type: "object", properties: { city: { type: "string" } } } }];
const messages = [{ role: "user", content: "Hi" }];
const post = (body: object) => server.post("/v1/chat/completions", { messages, functions, ...body });
const asked = () => fake.calls.at(-1)!.prompt as Conversation;
const call = { name: "weather", arguments: '{"city": "Bonn"}' };

test("functions are tools to the template, and a call is function_call", async () => {
  const [choice] = (await json(await post({}))).choices;
  expect(asked().tools).toEqual([{ type: "function", function: functions[0] }]);
  expect(choice).toMatchObject({ finish_reason: "function_call", message: { content: null, function_call: call } });
  expect(choice.message).not.toHaveProperty("tool_calls");
});

test("a function that is named is called; with none the answer is text", async () => {
  const named = (await json(await post({ function_call: { name: "weather" } }))).choices[0];
  expect(named).toMatchObject({ finish_reason: "stop", message: { function_call: call } });
  const none = (await json(await post({ function_call: "none" }))).choices[0];
  expect(none).toMatchObject({ finish_reason: "stop", message: { content: answer } });
});

test("a stream has the name first, then the arguments", async () => {
  const frames = await events(await post({ stream: true }));
  const choices = frames.slice(0, -1).map((frame) => JSON.parse(frame).choices[0]);
  const deltas = choices.flatMap(({ delta }) => delta.function_call ?? []);
  expect(deltas[0]).toEqual({ name: "weather", arguments: "" });
  expect(deltas.slice(1).every((delta) => delta.name === undefined)).toBe(true);
  expect(deltas.map((delta) => delta.arguments).join("")).toBe(call.arguments);
  expect(choices.at(-1).finish_reason).toBe("function_call");
});

test("messages of the older form are calls and results of tools", async () => {
  await post({
    messages: [
      ...messages,
      { role: "assistant", content: null, function_call: call },
      { role: "function", name: "weather", content: "rain" },
    ],
  });
  expect(asked().messages.slice(1)).toEqual([
    { role: "assistant", content: null, tool_calls: [{ id: "call_weather", type: "function", function: call }] },
    { role: "tool", tool_call_id: "call_weather", name: "weather", content: "rain" },
  ]);
});

test.each([
  [{ functions: "weather" }, "functions"],
  [{ functions: [{}] }, "functions[0].name"],
  [{ functions: [functions[0], functions[0]] }, "functions[1].name"],
  [{ tools: [] }, "functions"],
  [{ function_call: "always" }, "function_call"],
  [{ function_call: { name: "clock" } }, "function_call"],
  [{ functions: [], function_call: { name: "clock" } }, "function_call"],
])("%j is refused", async (body, param) => {
  const reply = await post(body);
  expect(reply.status).toBe(400);
  const { error } = await json(reply);
  expect([error.param, error.message.startsWith(param)]).toEqual([param, true]);
});
