/** Chat over HTTP where grammars hold its answers: llguidance, the CPU library and the built-in model. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { Fastgen } from "fastgen";
import { events, json, startServer, type TestServer, until } from "../routes/testing.ts";

let fastgen: Fastgen;
let server: TestServer;
/** Its models think. */
let thinker: TestServer;
beforeAll(async () => {
  fastgen = await Fastgen.load(undefined, { device: "cpu", threads: 1 });
  server = await startServer(fastgen);
  thinker = await startServer(fastgen, { reasoningParser: "qwen3", trustRequestChatTemplate: true });
});
afterAll(async () => {
  await Promise.all([server?.stop(), thinker?.stop()]);
  await fastgen?.close();
});
/** Whatever was asked, nothing is left of it. */
afterEach(async () => {
  await until(
    () => fastgen.stats.running + fastgen.stats.waiting === 0 && server.service.open + thinker.service.open === 0,
  );
});

const messages = [{ role: "user", content: "How is the weather in Paris?" }];
const PATH = "/v1/chat/completions";
const send = (body: object, to = server) =>
  to.post(PATH, { messages, temperature: 1, seed: 5, max_tokens: 160, ...body });
const ask = async (body: object, to = server) => json(await send(body, to));

/** The choices of a stream, put together. */
async function streamed(body: object, to = server) {
  const frames = (await events(await send({ ...body, stream: true }, to))).slice(0, -1).map((data) => JSON.parse(data));
  const choices: { content: string; reasoning: string; calls: { name: string; arguments: string }[]; end: object }[] =
    [];
  for (const { index, delta, finish_reason, stop_reason } of frames.flatMap((frame) => frame.choices)) {
    choices[index] ??= { content: "", reasoning: "", calls: [], end: {} };
    const choice = choices[index];
    choice.content += delta.content ?? "";
    choice.reasoning += delta.reasoning ?? "";
    for (const call of delta.tool_calls ?? []) {
      choice.calls[call.index] ??= { name: call.function.name, arguments: "" };
      choice.calls[call.index]!.arguments += call.function.arguments;
    }
    if (finish_reason !== null) choice.end = { finish_reason, stop_reason };
  }
  return choices;
}

const schema = {
  type: "object",
  properties: {
    town: { type: "string", enum: ["Paris", "Rome"] },
    days: { type: "integer", minimum: 1, maximum: 9 },
  },
  required: ["town", "days"],
  additionalProperties: false,
};
const place = { town: expect.stringMatching(/^(Paris|Rome)$/), days: expect.any(Number) };
const format = { response_format: { type: "json_schema", json_schema: { name: "place", schema, strict: true } } };

const tools = [
  { type: "function", function: { name: "weather", parameters: schema } },
  {
    type: "function",
    function: { name: "clock", parameters: { type: "object", properties: {}, additionalProperties: false } },
  },
];

describe("response_format", () => {
  test("each choice is a document of the schema; the same seed has the same answers, streamed or not", async () => {
    const body = { ...format, n: 2 };
    const { choices, usage } = await ask(body);
    expect(choices).toHaveLength(2);
    for (const { message, finish_reason } of choices) {
      expect(JSON.parse(message.content)).toEqual(place);
      expect(finish_reason).toBe("stop");
    }
    const again = await ask(body);
    expect(again.choices).toEqual(choices);
    expect(again.usage.completion_tokens).toBe(usage.completion_tokens);
    const contents = choices.map(({ message }: { message: { content: string } }) => message.content);
    expect((await streamed(body)).map(({ content }) => content)).toEqual(contents);
    const others = new Set<string>();
    for (let seed = 10; seed < 20; seed++) others.add((await ask({ ...format, seed })).choices[0].message.content);
    expect(others.size).toBeGreaterThan(1);
  });

  test("a document that max_tokens cuts is its beginning", async () => {
    const whole = (await ask(format)).choices[0].message.content;
    const cut = await ask({ ...format, max_tokens: 4 });
    expect(cut.choices[0].finish_reason).toBe("length");
    expect(cut.usage.completion_tokens).toBe(4);
    expect(whole).toStartWith(cut.choices[0].message.content);
    expect(whole).not.toBe(cut.choices[0].message.content);
    expect((await streamed({ ...format, max_tokens: 4 }))[0]!.end).toMatchObject({ finish_reason: "length" });
  });

  test("a stop string ends a document in its middle", async () => {
    const [stopped] = (await ask({ ...format, stop: ['"days"'] })).choices;
    expect(stopped).toMatchObject({ finish_reason: "stop", stop_reason: '"days"' });
    expect(stopped.message.content).toMatch(/^\{\s*"town"\s*:\s*"(Paris|Rome)"\s*,\s*$/);
    const [choice] = await streamed({ ...format, stop: ['"days"'] });
    expect(choice).toMatchObject({ content: stopped.message.content, end: { stop_reason: '"days"' } });
  });

  test("every token of a document has its log probability, and the same tokens are chosen with and without", async () => {
    const plain = (await ask(format)).choices[0].message.content;
    const { choices, usage } = await ask({ ...format, logprobs: true, top_logprobs: 3 });
    const [{ message, logprobs }] = choices;
    expect(message.content).toBe(plain);
    expect(logprobs.content).toHaveLength(usage.completion_tokens);
    const text = logprobs.content.map(({ token }: { token: string }) => token).join("");
    expect(text).toStartWith(plain);
    for (const { logprob, top_logprobs } of logprobs.content) {
      expect(logprob).toBeLessThanOrEqual(0);
      expect(top_logprobs).toHaveLength(3);
    }
  });
});

describe("tools", () => {
  const clock = { type: "function", function: { name: "clock" } };

  test("required: a call comes, streamed or not, and its arguments are what the tool takes", async () => {
    const names = new Set<string>();
    for (let seed = 0; seed < 6; seed++) {
      const body = { tools, tool_choice: "required", parallel_tool_calls: false, seed };
      const [{ message, finish_reason }] = (await ask(body)).choices;
      expect(finish_reason).toBe("tool_calls");
      expect(message.content).toBeNull();
      expect(message.tool_calls).toHaveLength(1);
      const [{ id, type, function: called }] = message.tool_calls;
      expect([id, type]).toEqual([expect.stringMatching(/.+/), "function"]);
      expect(JSON.parse(called.arguments)).toEqual(called.name === "clock" ? {} : place);
      names.add(called.name);
      expect(await streamed(body)).toMatchObject([{ content: "", calls: [called], end: { finish_reason } }]);
    }
    expect([...names].every((name) => ["weather", "clock"].includes(name))).toBe(true);
  });

  test("a named tool is called once, and no other", async () => {
    const [{ message, finish_reason }] = (await ask({ tools, tool_choice: clock })).choices;
    expect(message.tool_calls.map((call: { function: object }) => call.function)).toEqual([
      { name: "clock", arguments: expect.stringMatching(/^\{\s*\}$/) },
    ]);
    expect(finish_reason).toBe("stop");
  });

  test("a custom tool's input is a text that its regular expression describes", async () => {
    const format = { type: "grammar", grammar: { syntax: "regex", definition: "[a-z]{2,5}\\n" } };
    const body = {
      tools: [{ type: "custom", custom: { name: "code", format } }],
      tool_choice: { type: "custom", custom: { name: "code" } },
    };
    const [{ message }] = (await ask(body)).choices;
    expect(message.tool_calls).toEqual([
      {
        id: expect.any(String),
        type: "custom",
        custom: { name: "code", input: expect.stringMatching(/^[a-z]{2,5}\n$/) },
      },
    ]);
  });

  test("a call that max_tokens cuts is the call's beginning, and no decision", async () => {
    const weather = { tools: [tools[0]], tool_choice: "required", parallel_tool_calls: false };
    const whole = await ask(weather);
    const cut = { ...weather, max_tokens: whole.usage.completion_tokens - 15 };
    const [{ message, finish_reason }] = (await ask(cut)).choices;
    expect(finish_reason).toBe("length");
    expect(message.tool_calls[0].function.name).toBe("weather");
    const text = whole.choices[0].message.tool_calls[0].function.arguments;
    expect(text).toStartWith(message.tool_calls[0].function.arguments);
    expect(text).not.toBe(message.tool_calls[0].function.arguments);
    expect((await streamed(cut))[0]).toMatchObject({ calls: [{ name: "weather" }], end: { finish_reason } });
  });

  test("auto and none leave the model its text", async () => {
    const plain = (await ask({ temperature: 0 })).choices[0].message;
    for (const tool_choice of ["auto", "none"]) {
      const [{ message, finish_reason }] = (await ask({ tools, tool_choice, temperature: 0 })).choices;
      expect({ tool_choice, ...message }).toEqual({ tool_choice, ...plain });
      expect(["stop", "length"]).toContain(finish_reason);
    }
  });

  test("beside tools that may be called, a text has the form that is asked for", async () => {
    const [{ message }] = (await ask({ ...format, tools, tool_choice: "none" })).choices;
    expect(JSON.parse(message.content)).toEqual(place);
    const [either] = (await ask({ ...format, tools })).choices;
    if (either.message.tool_calls) expect(either.finish_reason).toBe("tool_calls");
    else expect(JSON.parse(either.message.content)).toEqual(place);
  });
});

describe("a client that leaves", () => {
  const leave = async (body: object, started: () => boolean) => {
    const controller = new AbortController();
    const reply = fetch(server.url + PATH, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ messages, ...body }),
      signal: controller.signal,
    }).then(
      () => "answered",
      () => "left",
    );
    await until(started);
    controller.abort();
    expect(await reply).toBe("left");
  };
  const nothingRuns = () => fastgen.stats.running + fastgen.stats.waiting === 0 && server.service.open === 0;

  test("while its grammar compiles: nothing starts, and the next one is answered", async () => {
    const { prompt_tokens } = fastgen.stats;
    // Some tenths of a second.
    const names = Array.from({ length: 3000 }, (_, i) => [
      `property_${i}`,
      { type: "string", pattern: `^[a-z]{${i % 50}}$` },
    ]);
    const slow = { type: "object", properties: Object.fromEntries(names) };
    await leave(
      { response_format: { type: "json_schema", json_schema: { name: "slow", schema: slow } } },
      () => server.service.open > 0,
    );
    await until(nothingRuns);
    expect(fastgen.stats.prompt_tokens).toBe(prompt_tokens);
    expect(JSON.parse((await ask(format)).choices[0].message.content)).toEqual(place);
  });

  test("while its grammar runs: its sequences end, and the next one is answered", async () => {
    const endless = { structured_outputs: { regex: "[a-z ]{900}" }, n: 3, ignore_eos: true };
    await leave(endless, () => fastgen.stats.running === 3);
    await until(nothingRuns);
    expect(JSON.parse((await ask(format)).choices[0].message.content)).toEqual(place);
  });
});

describe("thinking", () => {
  const writes =
    "{% for message in messages %}{{ '<|' + message.role + '|>' + message.content + '<|end|>' }}{% endfor %}";
  const chat_template = `${writes}{% if add_generation_prompt %}{{ '<|assistant|><think>' }}{% endif %}`;
  /** Without it the model, which has answered within its thinking, is done. */
  const min_tokens = 40;
  const budget = { chat_template, thinking_token_budget: 12 };

  test("ends by force after its budget, and stands beside the content, streamed or not", async () => {
    const { choices, usage } = await ask({ ...budget, min_tokens }, thinker);
    const [{ message }] = choices;
    const end = (await fastgen.tokenize("</think>", { add_special_tokens: false })).length;
    expect(message.reasoning).not.toBe("");
    expect(message.reasoning_content).toBe(message.reasoning);
    expect(message.content).not.toBe("");
    expect(message.content + message.reasoning).not.toContain("think>");
    expect(usage.completion_tokens_details.reasoning_tokens).toBe(12 + end);
    expect(usage.completion_tokens).toBeGreaterThan(12 + end);
    const [choice] = await streamed({ ...budget, min_tokens }, thinker);
    expect(choice).toMatchObject({ content: message.content, reasoning: message.reasoning });
    const [none] = await streamed({ ...budget, thinking_token_budget: 0, min_tokens }, thinker);
    expect(none!.reasoning).toBe("");
    expect(none!.content).not.toBe("");
  });

  test("is left out where it is not wanted, and changes nothing else", async () => {
    const [shown, left] = [await ask(budget, thinker), await ask({ ...budget, include_reasoning: false }, thinker)];
    expect(left.choices[0].message).not.toHaveProperty("reasoning");
    expect(left.choices[0].message.content).toBe(shown.choices[0].message.content);
    expect(left.usage).toEqual(shown.usage);
    const [choice] = await streamed({ ...budget, include_reasoning: false }, thinker);
    expect(choice).toMatchObject({ reasoning: "", content: shown.choices[0].message.content });
  });

  test("a document or a call comes behind it, within the budget", async () => {
    for (let seed = 0; seed < 4; seed++) {
      const { choices, usage } = await ask({ ...budget, ...format, seed }, thinker);
      const [{ message }] = choices;
      expect(message.reasoning).not.toBe("");
      expect(JSON.parse(message.content)).toEqual(place);
      expect(usage.completion_tokens_details.reasoning_tokens).toBeLessThan(30);
    }
    const { choices } = await ask({ ...budget, tools, tool_choice: "required" }, thinker);
    expect(choices[0]).toMatchObject({
      finish_reason: "tool_calls",
      message: { reasoning: expect.stringMatching(/./) },
    });
  });

  test("where the prompt opens none, an answer without it is left alone", async () => {
    const plain = (await ask({})).choices[0].message;
    expect((await ask({ thinking_token_budget: 3 }, thinker)).choices[0].message).toEqual(plain);
  });
});
