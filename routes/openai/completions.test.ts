import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import OpenAI from "openai";
import { events, FakeFastgen, json, startServer, type TestServer } from "../testing.ts";

let fake: FakeFastgen;
let server: TestServer;
let client: OpenAI;

beforeAll(async () => {
  fake = new FakeFastgen({ answer: "abc" });
  server = await startServer(fake, { servedModelName: "served" });
  client = new OpenAI({ baseURL: server.url, apiKey: "any", maxRetries: 0 });
});
afterAll(() => server.stop());

const complete = async (body: object) => json(await server.post("/completions", body));
const asked = () => fake.calls.at(-1)!;

describe("prompts", () => {
  test("a string", async () => {
    const reply = await client.completions.create({ model: "any", prompt: "Hi" });
    expect(reply.object).toBe("text_completion");
    expect(reply.id).toMatch(/^cmpl-[0-9a-f]{32}$/);
    expect(reply.model).toBe("served");
    expect(reply.choices).toEqual([
      { index: 0, text: "abc", logprobs: null, finish_reason: "stop", stop_reason: null } as never,
    ]);
    expect(reply.usage).toMatchObject({ prompt_tokens: 2, completion_tokens: 3, total_tokens: 5 });
  });

  test("token ids", async () => {
    await client.completions.create({ model: "any", prompt: [72, 105] });
    expect(asked().prompt).toEqual([72, 105]);
  });

  test("strings, and arrays of ids: choice c of prompt p has the index p * n + c", async () => {
    const reply = await client.completions.create({ model: "any", prompt: ["a", "bb"], n: 2, echo: true });
    expect(reply.choices.map(({ index, text }) => [index, text])).toEqual([
      [0, "aabc"],
      [1, "aabc"],
      [2, "bbabc"],
      [3, "bbabc"],
    ]);
    expect(reply.usage).toMatchObject({ prompt_tokens: 3, completion_tokens: 12 });
    const ids = await client.completions.create({ model: "any", prompt: [[72], [73, 74]] });
    expect(ids.choices).toHaveLength(2);
  });

  test("a stream of several prompts", async () => {
    const stream = await client.completions.create({
      model: "any",
      prompt: ["a", "bb", "ccc"],
      n: 2,
      echo: true,
      stream: true,
      stream_options: { include_usage: true },
    });
    const texts: string[] = Array(6).fill("");
    const reasons: unknown[] = [];
    let usage: unknown;
    for await (const chunk of stream) {
      usage = chunk.usage ?? usage;
      for (const { index, text, finish_reason } of chunk.choices) {
        texts[index] += text;
        if (finish_reason) reasons.push(finish_reason);
      }
    }
    expect(texts).toEqual(["aabc", "aabc", "bbabc", "bbabc", "cccabc", "cccabc"]);
    expect(reasons).toEqual(Array(6).fill("stop"));
    expect(usage).toMatchObject({ prompt_tokens: 6, completion_tokens: 18, total_tokens: 24 });
  });

  test("one bad prompt fails the request and aborts the others", async () => {
    const before = fake.calls.length;
    const reply = await complete({ prompt: ["fine", "x".repeat(5000)] });
    expect(reply.error.code).toBe("context_length_exceeded");
    expect(fake.calls[before]!.aborted).toBe(true);
  });
});

describe("parameters", () => {
  test("OpenAI's default of 16 new tokens, under an explicit value", async () => {
    await complete({ prompt: "a" });
    expect(asked().params.max_tokens).toBe(16);
    await complete({ prompt: "a", max_tokens: 2, temperature: 0, best_of: 1, suffix: "" });
    expect(asked().params).toMatchObject({ max_tokens: 2, temperature: 0 });
  });

  test("add_special_tokens is passed on", async () => {
    await complete({ prompt: "a", add_special_tokens: false });
    expect(asked().options.add_special_tokens).toBe(false);
  });

  test("return_token_ids", async () => {
    const { choices } = await complete({ prompt: "Hi", return_token_ids: true });
    expect(choices[0]).toMatchObject({ token_ids: [97, 98, 99], prompt_token_ids: [72, 105] });
    const frames = await events(
      await server.post("/completions", { prompt: "Hi", return_token_ids: true, stream: true }),
    );
    const chunks = frames.slice(0, -1).map((frame) => JSON.parse(frame).choices[0]);
    expect(chunks[0].prompt_token_ids).toEqual([72, 105]);
    expect(chunks.flatMap(({ token_ids }) => token_ids ?? [])).toEqual([97, 98, 99]);
  });

  test("prompt_logprobs", async () => {
    const { choices } = await complete({ prompt: "Hi", prompt_logprobs: 0 });
    expect(choices[0].prompt_logprobs).toEqual([null, { "105": { logprob: -0.5, rank: 1, decoded_token: "i" } }]);
  });
});

describe("log probabilities", () => {
  const own = {
    tokens: ["a", "b", "c"],
    token_logprobs: [-0.5, -0.5, -0.5],
    top_logprobs: [
      { a: -0.5, b: -1.5 },
      { b: -0.5, c: -1.5 },
      { c: -0.5, d: -1.5 },
    ],
    text_offset: [0, 1, 2],
  };
  const echoed = {
    tokens: ["H", "i", "a", "b", "c"],
    token_logprobs: [null, -0.5, -0.5, -0.5, -0.5],
    top_logprobs: [null, { i: -0.5, j: -1.5 }, ...own.top_logprobs],
    text_offset: [0, 1, 2, 3, 4],
  };

  test("of the answer", async () => {
    const { choices } = await complete({ prompt: "Hi", logprobs: 2 });
    expect(choices[0].logprobs).toEqual(own);
    const none = await complete({ prompt: "Hi", logprobs: 0, max_tokens: 1 });
    expect(none.choices[0].logprobs.top_logprobs).toEqual([{ a: -0.5 }]);
  });

  test("of an echoed prompt too; its first token has none", async () => {
    const { choices } = await complete({ prompt: "Hi", logprobs: 2, echo: true });
    expect(choices[0].text).toBe("Hiabc");
    expect(choices[0].logprobs).toEqual(echoed);
  });

  test("the same in a stream", async () => {
    const body = { prompt: "Hi", logprobs: 2, echo: true, stream: true };
    const frames = (await events(await server.post("/completions", body))).slice(0, -1);
    const all = frames.map((frame) => JSON.parse(frame).choices[0].logprobs);
    for (const key of Object.keys(echoed) as (keyof typeof echoed)[]) {
      expect(all.flatMap((logprobs) => logprobs[key])).toEqual(echoed[key]);
    }
  });

  test("a stream waits for the echoed prompt's, whichever choice comes first", async () => {
    const late = await startServer(new FakeFastgen({ answer: "abc", promptLogprobsAfter: 4 }));
    const body = { prompt: "Hi", logprobs: 2, echo: true, stream: true, n: 2 };
    const frames = (await events(await late.post("/completions", body))).slice(0, -1);
    for (const index of [0, 1]) {
      const choices = frames.map((frame) => JSON.parse(frame).choices[0]).filter((choice) => choice.index === index);
      expect(choices.map(({ text }) => text).join("")).toBe("Hiabc");
      expect(choices.flatMap(({ logprobs }) => logprobs.tokens)).toEqual(echoed.tokens);
    }
    late.stop();
  });

  test("of a prompt alone: max_tokens 0 with echo", async () => {
    const { choices, usage } = await complete({ prompt: "Hi", logprobs: 2, echo: true, max_tokens: 0 });
    expect(choices[0]).toMatchObject({ text: "Hi", finish_reason: "length" });
    expect(choices[0].logprobs.tokens).toEqual(["H", "i"]);
    expect(usage.completion_tokens).toBe(0);
    const plain = await complete({ prompt: "Hi", echo: true, max_tokens: 0 });
    expect(plain.choices[0]).toMatchObject({ text: "Hi", logprobs: null });
  });
});
