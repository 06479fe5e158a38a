/** Chat, Responses and Messages over HTTP, with the built-in model: three faces of one conversation. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Fastgen } from "fastgen";
import { json, startServer, type TestServer } from "../routes/testing.ts";

let fastgen: Fastgen;
let server: TestServer;
beforeAll(async () => {
  fastgen = await Fastgen.load(undefined, { device: "cpu", threads: 1 });
  server = await startServer(fastgen);
});
afterAll(async () => {
  server?.stop();
  await fastgen?.close();
});

const greedy = { temperature: 0 };
const post = async (path: string, body: object) => json(await server.post(path, { ...greedy, ...body }));
const chat = (body: object) => post("/v1/chat/completions", { max_tokens: 24, ...body });
const respond = (body: object) => post("/v1/responses", { max_output_tokens: 24, ...body });
const message = (body: object) => post("/v1/messages", { max_tokens: 24, ...body });

const SYSTEM = "Be brief.";
const QUESTION = "What is 17 + 25?";
const turns = [
  { role: "user", content: "Hello" },
  { role: "assistant", content: "Hello! How can I help you?" },
  { role: "user", content: QUESTION },
];

/** Of Messages: all tokens of the prompt. */
const inputOf = ({ usage }: { usage: { input_tokens: number; cache_read_input_tokens: number } }) =>
  usage.input_tokens + usage.cache_read_input_tokens;

test("one conversation has one prompt and one answer", async () => {
  const chatted = await chat({ messages: [{ role: "system", content: SYSTEM }, ...turns] });
  const responded = await respond({ instructions: SYSTEM, input: turns });
  const messaged = await message({ system: SYSTEM, messages: turns });
  const { content } = chatted.choices[0].message;
  expect(content).not.toBe("");
  expect(responded.output[0].content[0].text).toBe(content);
  expect(messaged.content[0].text).toBe(content);
  const { prompt_tokens, completion_tokens } = chatted.usage;
  expect([responded.usage.input_tokens, responded.usage.output_tokens]).toEqual([prompt_tokens, completion_tokens]);
  expect([inputOf(messaged), messaged.usage.output_tokens]).toEqual([prompt_tokens, completion_tokens]);
  const counted = await json(await server.post("/v1/messages/count_tokens", { system: SYSTEM, messages: turns }));
  expect(counted).toEqual({ input_tokens: prompt_tokens });
});

test("a stored conversation goes on as one that is sent", async () => {
  const first = await respond({ input: QUESTION });
  const second = await respond({ input: "And 1 + 1?", previous_response_id: first.id });
  const sent = await respond({
    input: [{ role: "user", content: QUESTION }, ...first.output, { role: "user", content: "And 1 + 1?" }],
  });
  const referred = await respond({
    input: [
      { role: "user", content: QUESTION },
      { type: "item_reference", id: first.output[0].id },
      { role: "user", content: "And 1 + 1?" },
    ],
  });
  expect(sent.usage.input_tokens).toBeGreaterThan(first.usage.input_tokens + first.usage.output_tokens);
  for (const other of [second, referred]) {
    expect(other.usage.input_tokens).toBe(sent.usage.input_tokens);
    expect(other.output[0].content).toEqual(sent.output[0].content);
  }
});

test("cached tokens are told apart", async () => {
  const long = "The sea is blue and the sky is blue. ".repeat(12);
  const input = { input: long, store: false };
  await respond(input);
  const { usage } = await respond(input);
  expect(usage.input_tokens_details.cached_tokens).toBeGreaterThanOrEqual(64);
  expect(usage.input_tokens).toBeGreaterThan(usage.input_tokens_details.cached_tokens);
  const messaged = await message({ messages: [{ role: "user", content: long }] });
  expect(messaged.usage.cache_read_input_tokens).toBeGreaterThanOrEqual(64);
  expect(inputOf(messaged)).toBe(usage.input_tokens);
  const stream = await server.post("/v1/messages", {
    ...greedy,
    max_tokens: 4,
    stream: true,
    messages: [{ role: "user", content: long }],
  });
  const [, start] = /^event: message_start\ndata: (.*)$/m.exec(await stream.text())!;
  expect(inputOf(JSON.parse(start!).message)).toBe(usage.input_tokens);
  expect(JSON.parse(start!).message.usage.cache_read_input_tokens).toBeGreaterThanOrEqual(64);
});

describe("each in its own words", () => {
  test("an answer that was begun is continued", async () => {
    const begun = { role: "assistant", content: "17 + 25 =" };
    const { content, stop_reason } = await message({ messages: [{ role: "user", content: QUESTION }, begun] });
    expect(content[0].text).not.toContain("17 + 25");
    expect(stop_reason).toBe("end_turn");
  });

  test("a stop sequence is named", async () => {
    const { content } = await message({ messages: turns });
    const word = content[0].text.at(-3);
    const stopped = await message({ messages: turns, stop_sequences: [word] });
    expect(stopped).toMatchObject({ stop_reason: "stop_sequence", stop_sequence: word });
    expect(stopped.content[0]?.text ?? "").toBe(content[0].text.split(word)[0]);
  });

  test("too many tokens are refused by the field's name", async () => {
    const { error } = await respond({ input: "Hi", max_output_tokens: 1e9 });
    expect(error).toMatchObject({ param: "max_output_tokens", message: expect.stringContaining("max_output_tokens") });
    const refused = await message({ messages: turns, max_tokens: 1e9 });
    expect(refused.error.message).toContain("max_tokens");
    const long = await respond({ input: "word ".repeat(50_000) });
    expect(long.error).toMatchObject({ param: "input", code: "context_length_exceeded" });
  });

  test("truncation: auto keeps the end of a prompt that is too long", async () => {
    const { status, usage } = await respond({ input: "word ".repeat(5000), truncation: "auto" });
    expect(["completed", "incomplete"]).toContain(status);
    expect(usage.total_tokens).toBeLessThanOrEqual(fastgen.model.max_model_len);
  });
});

describe("what programs can use", () => {
  const parameters = {
    type: "object",
    properties: {
      town: { type: "string", enum: ["Paris", "Rome"] },
      days: { type: "integer", minimum: 1, maximum: 9 },
    },
    required: ["town", "days"],
    additionalProperties: false,
  };
  const input = "How is the weather in Paris?";
  const towns = { town: expect.stringMatching(/^(Paris|Rome)$/), days: expect.any(Number) };
  const tool = { type: "function", name: "weather", parameters };
  const messages = [{ role: "user", content: input }];
  const tools = [{ name: "weather", input_schema: parameters }];

  test("a call that must come has arguments of its tool's schema, in each API alike", async () => {
    const responded = await respond({ input, tools: [tool], tool_choice: "required", max_output_tokens: 128 });
    const call = responded.output.at(-1);
    expect(call).toMatchObject({ type: "function_call", name: "weather", status: "completed" });
    expect(JSON.parse(call.arguments)).toEqual(towns);
    const messaged = await message({ messages, tools, tool_choice: { type: "any" }, max_tokens: 128 });
    expect(messaged.stop_reason).toBe("tool_use");
    expect(messaged.content.at(-1)).toMatchObject({ type: "tool_use", name: "weather" });
    expect(messaged.content.at(-1).input).toEqual(JSON.parse(call.arguments));
  });

  test("a call that is cut off is incomplete", async () => {
    const cut = { messages, tools, tool_choice: { type: "tool", name: "weather" }, max_tokens: 8 };
    expect(await message(cut)).toMatchObject({ stop_reason: "max_tokens" });
    const responded = await respond({ input, tools: [tool], tool_choice: "required", max_output_tokens: 8 });
    expect(responded).toMatchObject({ status: "incomplete", incomplete_details: { reason: "max_output_tokens" } });
  });

  test("a stop string within a call leaves none to act on", async () => {
    const asked = { tools: [tool], max_tokens: 128, tool_choice: "required", stop: ["Paris", "Rome"] };
    const [choice] = (await chat({ messages, ...asked })).choices;
    expect(choice).toMatchObject({ finish_reason: "stop", stop_reason: expect.stringMatching(/^(Paris|Rome)$/) });
    const stopped = await message({
      messages,
      tools,
      tool_choice: { type: "any" },
      max_tokens: 128,
      stop_sequences: asked.stop,
    });
    expect(stopped).toMatchObject({ stop_reason: "stop_sequence", stop_sequence: choice.stop_reason });
    const { output } = await respond({ input, ...asked, max_tokens: undefined, max_output_tokens: 128 });
    expect(output.at(-1)).toMatchObject({ type: "function_call", status: "incomplete" });
    // One that stands behind the call leaves it whole.
    const whole = await chat({ messages, ...asked, stop: ["</tool_call>"] });
    expect(whole.choices[0]).toMatchObject({ finish_reason: "tool_calls", stop_reason: "</tool_call>" });
    expect(JSON.parse(whole.choices[0].message.tool_calls[0].function.arguments)).toEqual(towns);
  });

  test("a call that must come and is cut off before its name is no text", async () => {
    for (const max_tokens of [1, 8]) {
      const { choices } = await chat({ messages, tools: [tool], tool_choice: "required", max_tokens });
      expect(choices[0]).toMatchObject({ finish_reason: "length", message: { content: "" } });
    }
  });

  test("a tool without parameters is called with none", async () => {
    for (const parameters of [undefined, null]) {
      const bare = [{ type: "function", function: { name: "now", parameters } }];
      const { choices } = await chat({ messages, tools: bare, tool_choice: "required", max_tokens: 128 });
      expect(JSON.parse(choices[0].message.tool_calls[0].function.arguments)).toEqual({});
    }
  });

  test("an answer has the shape that is asked for", async () => {
    const format = { type: "json_schema", name: "place", schema: parameters, strict: true };
    const { output } = await respond({ input, text: { format }, max_output_tokens: 128 });
    expect(JSON.parse(output[0].content[0].text)).toEqual(towns);
    const config = { format: { type: "json_schema", schema: parameters } };
    const { content } = await message({ messages, output_config: config, max_tokens: 128 });
    expect(JSON.parse(content[0].text)).toEqual(towns);
    const choice = await respond({ input, structured_outputs: { choice: ["yes", "no"] } });
    expect(["yes", "no"]).toContain(choice.output[0].content[0].text);
  });

  test("a schema that cannot be held is refused in the words of its API", async () => {
    const schema = { type: "object", properties: { a: { $ref: "http://elsewhere/a.json" } } };
    const format = { type: "json_schema", name: "a", schema };
    expect((await respond({ input, text: { format } })).error).toMatchObject({
      type: "invalid_request_error",
      param: expect.stringMatching(/^text\.format\.schema/),
    });
    const inTool = await respond({ input, tools: [{ ...tool, parameters: schema, strict: true }] });
    expect(inTool.error.param).toMatch(/^tools\[0\]\.parameters/);
    const { error } = await message({ messages, output_config: { format } });
    expect(error.message).toContain("output_config.format.schema");
    const refused = await message({ messages, tools: [{ ...tools[0], input_schema: schema, strict: true }] });
    expect(refused.error.message).toContain("tools[0].input_schema");
    const both = await respond({
      input,
      text: { format: { type: "json_object" } },
      structured_outputs: { regex: "a" },
    });
    expect(both.error.param).toBe("structured_outputs");
  });
});
