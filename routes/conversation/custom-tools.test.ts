/** Custom tools: functions to the model, texts to the client, in chat and in Responses. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { AnswerPart } from "../../src/answer/parts.ts";
import type { Conversation } from "../../src/types.ts";
import { events, FakeFastgen, json, startServer, type TestServer } from "../testing.ts";
import { CustomInputs } from "./custom-tools.ts";

const INPUT = 'print("Köln\\n")\n\t😀';
const ANSWER = `<tool_call>\n{"name": "code", "arguments": ${JSON.stringify({ input: INPUT })}}\n</tool_call>\n<tool_call>\n{"name": "f", "arguments": {"input": "x"}}\n</tool_call>`;
const fake = new FakeFastgen({ answer: ANSWER });

let server: TestServer;
beforeAll(async () => {
  server = await startServer(fake, { toolCallParser: "hermes" });
});
afterAll(() => server.stop());

const asked = () => fake.calls.at(-1)!.prompt as Conversation;
const parameters = { type: "object", properties: { input: { type: "string" } } };
/** What the model sees of the custom tool. */
const AS_FUNCTION = {
  type: "function",
  function: {
    name: "code",
    description: "Runs it",
    parameters: { ...parameters, required: ["input"], additionalProperties: false },
  },
};

describe("the text of an input", () => {
  const parts = (texts: string[], name = "code"): AnswerPart[] => [
    { type: "call", index: 0, id: "c", name },
    ...texts.map((text): AnswerPart => ({ type: "arguments", index: 0, text })),
  ];
  const read = (texts: string[], name?: string) =>
    new CustomInputs(new Set(["code"]))
      .read(parts(texts, name))
      .map((part) => ("text" in part ? part.text : ""))
      .join("");

  test("does not depend on how its JSON is cut", () => {
    const text = 'a"b\\c/\b\f\n\r\t\u2028é😀';
    const escaped = [...text].map((c) =>
      [...Array(c.length).keys()].map((i) => `\\u${c.charCodeAt(i).toString(16).padStart(4, "0")}`).join(""),
    );
    for (const whole of [`{"input": ${JSON.stringify(text)}}`, ` { "input":"${escaped.join("")}" }`]) {
      for (let i = 0; i <= whole.length; i++) {
        for (let j = i; j <= whole.length; j += 7) {
          expect(read([whole.slice(0, i), whole.slice(i, j), whole.slice(j)])).toBe(text);
        }
      }
    }
  });

  test("never comes as half a pair of surrogates", () => {
    const inputs = new CustomInputs(new Set(["code"]));
    const pieces = inputs
      .read(parts(['{"input": "\\ud83d', "\\ude00", '"}']))
      .flatMap((part) => ("text" in part ? part.text : []));
    expect(pieces).toEqual(["😀"]);
  });

  test("goes on behind half a pair that stays alone", () => {
    expect(read(['{"input": "a\\ud83d', 'b"}'])).toBe("a\ud83db");
    expect(read(['{"input": "a\\ud83d', "\\", 'nb"}'])).toBe("a\ud83d\nb");
    expect(read(['{"input": "a\\ud83d"}'])).toBe("a\ud83d");
  });

  test("functions keep their JSON", () => {
    expect(read(['{"input": "', 'x"}'], "f")).toBe('{"input": "x"}');
  });
});

describe("chat", () => {
  const custom = { type: "custom", custom: { name: "code", description: "Runs it", format: { type: "text" } } };
  const tools = [custom, { type: "function", function: { name: "f", parameters } }];
  const messages = [{ role: "user", content: "Hi" }];
  const post = (body: object) => server.post("/v1/chat/completions", { messages, tools, ...body });

  test("a reply has inputs, beside calls of functions", async () => {
    const { choices } = await json(await post({}));
    expect(choices[0].message.tool_calls).toEqual([
      { id: expect.any(String), type: "custom", custom: { name: "code", input: INPUT } },
      { id: expect.any(String), type: "function", function: { name: "f", arguments: '{"input": "x"}' } },
    ]);
    expect(choices[0].finish_reason).toBe("tool_calls");
    expect(asked().tools?.[0]).toEqual(AS_FUNCTION);
  });

  test("a stream has them in pieces", async () => {
    const frames = (await events(await post({ stream: true }))).slice(0, -1).map((frame) => JSON.parse(frame));
    const deltas = frames.flatMap(({ choices }) => choices[0].delta.tool_calls ?? []);
    const first = deltas.filter(({ index }) => index === 0);
    expect(first[0]).toEqual({ index: 0, id: first[0].id, type: "custom", custom: { name: "code", input: "" } });
    expect(first.slice(1).every((delta) => Object.keys(delta).join() === "index,custom")).toBe(true);
    expect(first.map(({ custom }) => custom.input).join("")).toBe(INPUT);
    expect(
      deltas
        .filter(({ index }) => index === 1)
        .map((delta) => delta.function.arguments)
        .join(""),
    ).toBe('{"input": "x"}');
  });

  test("calls that are sent back are functions' to the template", async () => {
    const call = { id: "c", type: "custom", custom: { name: "code", input: "1+1" } };
    const tool = { role: "tool", tool_call_id: "c", content: "2" };
    await post({ messages: [...messages, { role: "assistant", content: null, tool_calls: [call] }, tool] });
    expect(asked().messages.slice(1)).toEqual([
      {
        role: "assistant",
        content: null,
        tool_calls: [{ id: "c", type: "function", function: { name: "code", arguments: { input: "1+1" } } }],
      },
      tool,
    ]);
  });

  test("one can be named, and its input held to a regular expression", async () => {
    const tool_choice = { type: "custom", custom: { name: "code" } };
    const format = { type: "grammar", grammar: { syntax: "regex", definition: "a+|b" } };
    const { choices } = await json(
      await post({ tools: [{ type: "custom", custom: { name: "code", format } }], tool_choice }),
    );
    expect(choices[0].finish_reason).toBe("stop");
    expect(asked().tools).toMatchObject([
      { function: { parameters: { properties: { input: { type: "string", pattern: "^(?:a+|b)$" } } } } },
    ]);
  });

  test.each([
    [{ custom: {} }, "tools[0].custom.name"],
    [
      { custom: { name: "code", format: { type: "grammar", grammar: { syntax: "lark", definition: "x" } } } },
      "tools[0].custom.format",
    ],
    [{}, "tools[0].custom"],
  ])("%j is refused by name", async (tool, param) => {
    expect((await json(await post({ tools: [{ type: "custom", ...tool }] }))).error.param).toBe(param);
  });
});

describe("Responses", () => {
  const tools = [
    { type: "custom", name: "code", description: "Runs it" },
    { type: "function", name: "f", parameters },
  ];
  const post = (body: object) => server.post("/v1/responses", { input: "Hi", tools, ...body });
  const item = (id: unknown) => ({
    id,
    type: "custom_tool_call",
    status: "completed",
    call_id: expect.any(String),
    name: "code",
    input: INPUT,
  });

  test("a response has items of their own for inputs", async () => {
    const { output } = await json(await post({}));
    expect(output[0]).toEqual(item(expect.stringMatching(/^ctc_/)));
    expect(output[1]).toMatchObject({ type: "function_call", name: "f", arguments: '{"input": "x"}' });
    expect(asked().tools?.[0]).toEqual(AS_FUNCTION);
  });

  test("a stream has events of their own for inputs", async () => {
    const all = (await events(await post({ stream: true }))).map((frame) => JSON.parse(frame));
    const inputs = all.filter(({ type }) => type.startsWith("response.custom_tool_call_input."));
    const { item_id } = inputs[0];
    expect(all.find(({ type }) => type === "response.output_item.added").item).toEqual({
      ...item(item_id),
      status: "in_progress",
      input: "",
    });
    expect(
      inputs
        .slice(0, -1)
        .map(({ delta }) => delta)
        .join(""),
    ).toBe(INPUT);
    expect(inputs.at(-1)).toEqual({
      type: "response.custom_tool_call_input.done",
      item_id,
      output_index: 0,
      input: INPUT,
      sequence_number: expect.any(Number),
    });
  });

  test("items that are sent back, or stored, are calls of functions to the template", async () => {
    const { id, output } = await json(await post({}));
    const result = { type: "custom_tool_call_output", call_id: output[0].call_id, output: "done" };
    const turns = () => asked().messages.slice(1);
    await post({ previous_response_id: id, input: [result] });
    const stored = turns();
    expect(stored).toMatchObject([
      {
        role: "assistant",
        tool_calls: [{ function: { name: "code", arguments: { input: INPUT } } }, { function: { name: "f" } }],
      },
      { role: "tool", name: "code", content: "done" },
    ]);
    const next = await json(await post({ input: [{ role: "user", content: "Hi" }, ...output, result] }));
    expect(turns()).toEqual(stored);
    const { data } = await json(await fetch(`${server.url}/v1/responses/${next.id}/input_items?order=asc`));
    expect(data.filter(({ type }: { type: string }) => type.startsWith("custom"))).toMatchObject([
      { input: INPUT },
      { output: "done" },
    ]);
  });

  test("what cannot be held to is refused by name, and so is a choice of no tool", async () => {
    const format = { type: "grammar", syntax: "lark", definition: "x" };
    const param = async (body: object) => (await json(await post(body))).error.param;
    expect(await param({ tools: [{ ...tools[0], format }] })).toBe("tools[0].format");
    expect(await param({ tool_choice: { type: "custom", name: "nothing" } })).toBe("tool_choice");
    expect((await post({ tool_choice: { type: "custom", name: "code" } })).status).toBe(200);
  });

  test("--allow-extra-fields leaves such a format out", async () => {
    const lax = await startServer(new FakeFastgen({ answer: "x" }), { allowExtraFields: true });
    const format = { type: "grammar", syntax: "lark", definition: "x" };
    const reply = await lax.post("/v1/responses", { input: "Hi", tools: [{ ...tools[0], format }] });
    expect([reply.status, reply.headers.get("x-ignored-fields")]).toEqual([200, encodeURIComponent("tools[0].format")]);
    await lax.stop();
  });
});
