/** vLLM's fields over HTTP, with the built-in model: what they do to the answer. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Fastgen, type PositionLogprobs } from "fastgen";
import { json, startServer, type TestServer } from "../routes/testing.ts";

let fastgen: Fastgen;
let server: TestServer;
beforeAll(async () => {
  fastgen = await Fastgen.load(undefined, { device: "cpu", threads: 1, scheduling_policy: "priority" });
  server = await startServer(fastgen);
});
afterAll(async () => {
  server?.stop();
  await fastgen?.close();
});

const QUESTION = "What is 17 + 25?";
const greedy = { temperature: 0, max_tokens: 24 };
const complete = async (body: object) => json(await server.post("/v1/completions", { ...greedy, ...body }));
const chat = async (body: object) =>
  json(
    await server.post("/v1/chat/completions", { messages: [{ role: "user", content: QUESTION }], ...greedy, ...body }),
  );
const encode = async (text: string) => [...(await fastgen.tokenize(text, { add_special_tokens: false }))];

/** A text's characters, as Python counts them. */
const slice = (text: string, from: number, to?: number) => [...text].slice(from, to).join("");

describe("which tokens may be sampled", () => {
  test("allowed_token_ids", async () => {
    const allowed = await encode("a b c");
    const { choices } = await complete({ prompt: QUESTION, allowed_token_ids: allowed, return_token_ids: true, n: 3 });
    for (const { token_ids } of choices) {
      expect(token_ids).toHaveLength(24);
      expect(token_ids.filter((id: number) => !allowed.includes(id))).toEqual([]);
    }
  });

  test("bad_words: of one token and of several, with and without a space before them", async () => {
    const free = (await chat({ return_token_ids: true })).choices[0];
    const text: string = free.message.content;
    for (const length of [1, 2, 3]) {
      const ids = free.token_ids.slice(0, length);
      const word = fastgen.detokenize(ids).trimStart();
      expect(text.trimStart()).toStartWith(word);
      const { choices } = await chat({ bad_words: [word], return_token_ids: true });
      expect(` ${choices[0].token_ids.join(" ")} `).not.toContain(` ${ids.join(" ")} `);
      // What comes before the forbidden token is free.
      expect(choices[0].token_ids.slice(0, length - 1)).toEqual(ids.slice(0, -1));
    }
  });

  test("beside them, other requests of the same steps answer as they do alone", async () => {
    const alone = await Promise.all([1, 2, 3].map((seed) => complete({ prompt: "The sea", temperature: 1, seed })));
    const together = await Promise.all([
      ...[1, 2, 3].map((seed) => complete({ prompt: "The sea", temperature: 1, seed })),
      complete({ prompt: "The sky", bad_words: ["of the", "blue"], max_tokens: 40 }),
      complete({ prompt: "The sky", allowed_token_ids: await encode("a b c"), max_tokens: 40 }),
    ]);
    const text = ({ choices }: { choices: { text: string }[] }) => choices[0]!.text;
    expect(together.slice(0, 3).map(text)).toEqual(alone.map(text));
  });

  test("a request that leaves none is a 400", async () => {
    const [id] = await encode("a");
    const { error } = await complete({ prompt: "x", allowed_token_ids: [id], bad_words: ["a"] });
    expect(error).toMatchObject({
      type: "invalid_request_error",
      message: expect.stringContaining("allowed_token_ids"),
    });
  });
});

describe("log probabilities", () => {
  test("of chosen ids: the same numbers that alternatives have, in the order asked for", async () => {
    const tops = (await fastgen.generate(QUESTION, { ...greedy, logprobs: 20 })).choices[0]!.logprobs!;
    const [first] = tops;
    const ids = first!.top
      .slice(0, 5)
      .map(({ id }) => id)
      .toReversed();
    const chosen = await fastgen.generate(QUESTION, { ...greedy, logprobs: 0, logprob_token_ids: ids });
    const position = chosen.choices[0]!.logprobs![0]!;
    expect(position.top.map(({ id }) => id)).toEqual(ids);
    for (const { id, logprob } of position.top) {
      expect(logprob).toBeCloseTo(first!.top.find((one) => one.id === id)!.logprob, 4);
    }
    const { choices } = await chat({ logprobs: true, logprob_token_ids: ids, max_tokens: 1 });
    expect(choices[0].logprobs.content[0].top_logprobs).toHaveLength(5);
  });

  test("ranks of prompt tokens are among all tokens", async () => {
    const { prompt_logprobs } = await fastgen.generate("qxz 👋 the sea", { max_tokens: 1, prompt_logprobs: 20 });
    const positions = prompt_logprobs!.slice(1) as PositionLogprobs[];
    expect(positions.some(({ rank }) => rank > 20)).toBe(true);
    for (const { id, rank, top } of positions) {
      const place = top.findIndex((one) => one.id === id);
      if (place < 0) expect(rank).toBeGreaterThan(20);
      else expect(rank).toBe(place + 1);
    }
    const reply = await complete({ prompt: "qxz", prompt_logprobs: 1 });
    for (const position of reply.choices[0].prompt_logprobs.slice(1)) {
      for (const { rank } of Object.values<{ rank: number }>(position)) expect(rank).toBeGreaterThan(0);
    }
  });

  /** Each token stands in the text where its offset says, up to a character that it only begins or continues. */
  function checkOffsets(text: string, { tokens, text_offset }: { tokens: string[]; text_offset: number[] }) {
    for (const [i, token] of tokens.entries()) {
      const next = text_offset[i + 1] ?? [...text].length;
      expect(next).toBeGreaterThanOrEqual(text_offset[i]!);
      const part = slice(text, text_offset[i]!, next);
      if (!token.includes("\ufffd") && part !== "") expect(part).toBe(token);
    }
  }

  test("text_offset counts characters of the text that is returned, also those split over tokens", async () => {
    const prompt = "héllo 👋🏽 wörld 漢字";
    for (const given of [prompt, await encode(prompt)]) {
      const { choices } = await complete({ prompt: given, echo: true, logprobs: 0 });
      const { text, logprobs } = choices[0];
      expect(text).toStartWith(prompt);
      checkOffsets(text, logprobs);
      const count = (await encode(prompt)).length;
      // The answer begins where the prompt ends.
      expect(logprobs.text_offset[count]).toBe([...prompt].length);
    }
  });

  test("special tokens are counted where the echo has them", async () => {
    const text = "<|user|>Hi<|end|>";
    const ids = await encode(text);
    expect(ids.length).toBeGreaterThanOrEqual(3);
    const offsetsOf = async (body: object) => {
      const { choices } = await complete({ echo: true, logprobs: 0, max_tokens: 1, ...body });
      return [choices[0].text, choices[0].logprobs.text_offset.slice(0, ids.length)];
    };
    // A text is echoed as it was sent.
    const [echoed, offsets] = await offsetsOf({ prompt: text });
    expect(echoed).toStartWith(text);
    expect([offsets[1], offsets.at(-1)]).toEqual([8, 10]);
    // Ids are echoed as text, without special tokens unless they are asked for.
    const [bare, bareOffsets] = await offsetsOf({ prompt: ids });
    expect(bare).toStartWith("Hi");
    expect([bareOffsets[1], bareOffsets.at(-1)]).toEqual([0, 2]);
    const [full, fullOffsets] = await offsetsOf({ prompt: ids, skip_special_tokens: false });
    expect(full).toStartWith(text);
    expect([fullOffsets[1], fullOffsets.at(-1)]).toEqual([8, 10]);
  });

  test("tokens of a stop string that is cut off stand at the end of the text", async () => {
    const prompt = `<|user|>${QUESTION}<|end|><|assistant|>`;
    const whole = (await complete({ prompt })).choices[0].text;
    const stop = slice(whole, 4, 9);
    const { choices } = await complete({ prompt, stop, logprobs: 0 });
    expect(choices[0]).toMatchObject({ text: slice(whole, 0, 4), stop_reason: stop });
    const length = [...choices[0].text].length;
    expect(Math.max(...choices[0].logprobs.text_offset)).toBeLessThanOrEqual(length);
    checkOffsets(choices[0].text, choices[0].logprobs);
  });
});

describe("stop strings that are a special token's text", () => {
  test("end the answer, which reports them, and are shown if that is asked for", async () => {
    const ends = { ignore_eos: true, stop: ["<|end|>"], max_tokens: 100 };
    const { choices } = await chat(ends);
    expect(choices[0]).toMatchObject({ finish_reason: "stop", stop_reason: "<|end|>" });
    expect(choices[0].message.content).not.toContain("<|end|>");
    const shown = (await chat({ ...ends, include_stop_str_in_output: true })).choices[0];
    expect(shown.message.content).toBe(`${choices[0].message.content}<|end|>`);
    const seen = (await chat({ ...ends, skip_special_tokens: false })).choices[0];
    expect(seen.message.content).toBe(choices[0].message.content);
  });
});

describe("the prompt", () => {
  const idsOf = async (body: object): Promise<number[]> =>
    (await complete({ max_tokens: 1, return_token_ids: true, ...body })).choices[0].prompt_token_ids;

  test("truncate_prompt_tokens keeps its end, or its start, and -1 what fits", async () => {
    const text = "one two three four five six seven";
    const ids = await encode(text);
    for (const prompt of [text, ids]) {
      expect(await idsOf({ prompt, truncate_prompt_tokens: 3 })).toEqual(ids.slice(-3));
      expect(await idsOf({ prompt, truncate_prompt_tokens: 3, truncation_side: "right" })).toEqual(ids.slice(0, 3));
      expect(await idsOf({ prompt, truncate_prompt_tokens: 300 })).toEqual(ids);
    }
    const { max_model_len } = fastgen.model;
    const long = text.repeat(max_model_len);
    expect(await idsOf({ prompt: long, truncate_prompt_tokens: -1, max_tokens: 10 })).toHaveLength(max_model_len - 10);
    const echoed = await complete({ prompt: text, truncate_prompt_tokens: 2, echo: true, max_tokens: 1 });
    expect(echoed.choices[0].text).toStartWith(fastgen.detokenize(ids.slice(-2)));
  });

  test("an overflow begins as clients know it", async () => {
    const { max_model_len } = fastgen.model;
    const begin = `This model's maximum context length is ${max_model_len} tokens. However, `;
    for (const body of [
      { prompt: Array(max_model_len).fill(9) },
      { prompt: "x", max_tokens: max_model_len },
      { prompt: "x ".repeat(1_000_000) },
    ]) {
      const { error } = await complete(body);
      expect(error).toMatchObject({ type: "invalid_request_error", code: "context_length_exceeded" });
      expect(error.message).toStartWith(begin);
    }
  });

  test("an error names the limit as the request does", async () => {
    const { error } = await chat({ max_tokens: 1, max_completion_tokens: 1_000_000 });
    expect(error).toMatchObject({ param: "max_completion_tokens", code: "context_length_exceeded" });
    expect(error.message).toContain("as max_completion_tokens says");
  });

  test("cache_salt keeps cached pages apart", async () => {
    const prompt = Array.from({ length: 200 }, (_, i) => 10 + (i % 90));
    const cached: number[] = [];
    for (const cache_salt of ["a", "b", "a"]) {
      const { usage } = await complete({ prompt, cache_salt, max_tokens: 1 });
      cached.push(usage.prompt_tokens_details.cached_tokens);
    }
    expect(cached).toEqual([0, 0, 192]);
  });
});

test("a seed of 64 bits is itself: its neighbour gives another answer", async () => {
  const ask = async (seed: string) => {
    const body = `{"prompt":"The sea","temperature":2,"max_tokens":16,"seed":${seed}}`;
    return (await json(await server.post("/v1/completions", body))).choices[0].text;
  };
  const near = ["9223372036854775807", "9223372036854775806", "9223372036854775805"];
  const texts = await Promise.all(near.map(ask));
  expect(new Set(texts).size).toBe(3);
  expect(await ask(near[0]!)).toBe(texts[0]);
});

test("priorities need the policy", async () => {
  expect((await complete({ prompt: "x", priority: -5 })).choices).toHaveLength(1);
  const fcfs = await Fastgen.load(undefined, { device: "cpu", threads: 1 });
  try {
    const error = await fcfs.start("x", {}, { priority: 1 }).catch((thrown) => thrown);
    expect(error).toMatchObject({
      param: "priority",
      message: expect.stringContaining("--scheduling-policy priority"),
    });
    expect((await fcfs.generate("x", { max_tokens: 1 }, { priority: 0 })).choices).toHaveLength(1);
  } finally {
    await fcfs.close();
  }
});
