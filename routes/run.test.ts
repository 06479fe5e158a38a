/** A request from its admission to its end: places in the queue, aborts, usage, and how it is counted. */
import { afterEach, expect, test } from "bun:test";
import type { Context } from "hono";
import { FastgenError } from "../src/errors.ts";
import type { FastgenApi, PositionLogprobs } from "../src/types.ts";
import type { Env } from "./context.ts";
import { Metrics } from "./metrics/metrics.ts";
import { completionLogprobs, promptLogprobs, tokenNames } from "./reply/logprobs.ts";
import { jsonParts } from "./reply/long-json.ts";
import { merge, Run } from "./run.ts";
import { Service } from "./service.ts";
import { events, FakeFastgen, type FakeOptions, json, startServer, type TestServer, until } from "./testing.ts";

const servers: TestServer[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.stop();
});

async function serve(fakeOptions: FakeOptions = {}, options: Parameters<typeof startServer>[1] = {}) {
  const fake = new FakeFastgen(fakeOptions);
  const server = await startServer(fake, options);
  servers.push(server);
  return { fake, ...server };
}

/** Whether exactly `count` sequences can be admitted now. */
function hasRoomFor(service: Service, count: number): boolean {
  const admits = (more: number) => {
    try {
      service.admit(more);
      service.release(more);
      return true;
    } catch {
      return false;
    }
  };
  return admits(count) && !admits(count + 1);
}

/** A value of the metrics: the sum of the series that begin so. */
async function metric(service: Service, begin: string): Promise<number> {
  const text = await (await service.metrics.reply()).text();
  const lines = text.split("\n").filter((line) => line.startsWith(`vllm:${begin}`));
  expect(lines.length).toBeGreaterThan(0);
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" ") + 1)), 0);
}

/** A request's context, as far as a Run looks at it. */
function contextOf(signal = new AbortController().signal) {
  const record = {
    started: performance.now(),
    promptTokens: null,
    completionTokens: null,
    error: null,
    releaseBody() {},
  };
  const context = { req: { raw: { signal } }, get: () => record };
  return { context: context as unknown as Context<Env>, record };
}

function start(fakeOptions: FakeOptions = {}, prompts: string[] = ["a"], params: object = {}, signal?: AbortSignal) {
  const fake = new FakeFastgen(fakeOptions);
  const service = new Service({ maxQueued: 10, errorLog: () => {} });
  service.ready(fake);
  const { context, record } = contextOf(signal);
  return { fake, service, record, running: Run.start(context, service, prompts, params) };
}

test("a client that has gone before its request is started gets nothing generated", async () => {
  const { fake, service, running } = start({}, ["a"], {}, AbortSignal.abort());
  const run = await running;
  expect(fake.calls[0]!.aborted).toBe(true);
  await expect(run.collect()).rejects.toMatchObject({ kind: "aborted" });
  expect(fake.calls[0]!.tokens).toBe(0);
  expect(hasRoomFor(service, 10)).toBe(true);
  expect(await metric(service, 'request_success_total{finished_reason="abort"')).toBe(1);
});

test("a client that goes while it is answered ends every sequence of its request", async () => {
  const gone = new AbortController();
  const { fake, service, running } = start({ pace: () => Bun.sleep(1) }, ["a", "b"], { n: 2 }, gone.signal);
  const run = await running;
  expect(hasRoomFor(service, 6)).toBe(true);
  const collected = run.collect();
  await until(() => fake.calls.every(({ tokens }) => tokens > 0));
  gone.abort();
  await expect(collected).rejects.toMatchObject({ kind: "aborted" });
  expect(fake.calls.map(({ aborted }) => aborted)).toEqual([true, true]);
  expect(hasRoomFor(service, 10)).toBe(true);
});

test("a prompt that is refused ends the others, and gives all places back", async () => {
  const { fake, service, running } = start({ max_model_len: 4 }, ["a", "far too long", "b"], { n: 3 });
  await expect(running).rejects.toMatchObject({ code: "context_length_exceeded" });
  expect(fake.calls.map(({ options }) => options.signal!.aborted)).toEqual([true, true, true]);
  expect(hasRoomFor(service, 10)).toBe(true);
});

test("a request that is too many for the queue takes no place and starts nothing", async () => {
  const { fake, service, running } = start({}, ["a", "b", "c"], { n: 4 });
  await expect(running).rejects.toMatchObject({ kind: "invalid_request", param: "n" });
  expect(fake.calls).toEqual([]);
  expect(hasRoomFor(service, 10)).toBe(true);
  service.admit(7);
  const { context } = contextOf();
  await expect(Run.start(context, service, ["a"], { n: 4 })).rejects.toMatchObject({ kind: "overloaded" });
  const run = await Run.start(context, service, ["a"], { n: 3 });
  await run.collect();
  service.release(7);
  expect(hasRoomFor(service, 10)).toBe(true);
});

test("what runs in the engine takes no place in the queue", async () => {
  const fake = new FakeFastgen({ running: 4 });
  const service = new Service({ maxQueued: 10 });
  service.ready(fake);
  service.admit(6);
  service.admit(6);
  expect(() => service.admit(3)).toThrow(/8 of 10 sequences wait/);
  service.release(12);
});

test("several prompts and choices: answers in their order, usage summed, each request counted once", async () => {
  const { fake, service, record, running } = start({ answer: "xyz" }, ["a", "bcd"], { n: 2, max_tokens: 2 });
  const run = await running;
  const choices = await run.collect();
  expect(choices.map(({ text }) => text)).toEqual(["xy", "xy", "xy", "xy"]);
  expect(run.usage()).toEqual({
    prompt_tokens: 4,
    completion_tokens: 8,
    total_tokens: 12,
    prompt_tokens_details: { cached_tokens: 0 },
  });
  expect(record).toMatchObject({ promptTokens: 4, completionTokens: 8, error: null });
  run.end(new FastgenError("internal", "late"));
  expect(record.error).toBeNull();
  expect(await metric(service, 'request_success_total{finished_reason="length"')).toBe(4);
  expect(await metric(service, 'request_success_total{finished_reason="abort"')).toBe(0);
  expect(await metric(service, "request_params_n_count")).toBe(2);
  expect(await metric(service, "request_params_n_sum")).toBe(4);
  expect(await metric(service, "request_prompt_tokens_sum")).toBe(4);
  expect(await metric(service, "request_generation_tokens_sum")).toBe(8);
  expect(fake.calls).toHaveLength(2);
  expect(hasRoomFor(service, 10)).toBe(true);
});

test("cached tokens of all prompts are in the usage", async () => {
  const { running } = start({ answer: "x" }, ["a", "b"]);
  const run = await running;
  for (const [i, generation] of run.generations.entries()) generation.usage.cached_tokens = 64 * (i + 1);
  await run.collect();
  expect(run.usage().prompt_tokens_details.cached_tokens).toBe(192);
});

test("failures and aborts are told apart, each choice counted", async () => {
  const failing = start({ answer: "xyz", failAfter: 1 }, ["a"], { n: 3 });
  const run = await failing.running;
  await expect(run.collect()).rejects.toMatchObject({ kind: "device" });
  expect(failing.record.error).toMatchObject({ kind: "device" });
  expect(await metric(failing.service, 'request_success_total{finished_reason="error"')).toBe(3);
  expect(await metric(failing.service, 'request_success_total{finished_reason="abort"')).toBe(0);
  expect(failing.fake.calls[0]!.aborted).toBe(true);

  const left = start({ answer: "xyz" }, ["a"], { n: 2 });
  (await left.running).end();
  expect(left.fake.calls[0]!.aborted).toBe(true);
  expect(await metric(left.service, 'request_success_total{finished_reason="abort"')).toBe(2);
  expect(hasRoomFor(left.service, 10)).toBe(true);

  const aborted = start({ answer: "xyz" }, ["a"], { n: 2 });
  (await aborted.running).end(new FastgenError("aborted", "the client went away"));
  expect(await metric(aborted.service, 'request_success_total{finished_reason="abort"')).toBe(2);
  expect(await metric(aborted.service, 'request_success_total{finished_reason="error"')).toBe(0);
});

test("places come back one by one, as choices end", async () => {
  const gates = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let asked = 0;
  const pace = () => gates[asked++]?.promise;
  const { service, running } = start({ answer: "x", pace }, ["a", "b"]);
  const collected = (await running).collect();
  expect(hasRoomFor(service, 8)).toBe(true);
  gates[0]!.resolve();
  await until(() => hasRoomFor(service, 9));
  gates[1]!.resolve();
  await collected;
  expect(hasRoomFor(service, 10)).toBe(true);
});

test("items of several sources come as they are there; an error of one is the whole's", async () => {
  async function* source(name: string, waits: number[], error?: Error) {
    for (const ms of waits) {
      await Bun.sleep(ms);
      yield `${name}${ms}`;
    }
    if (error) throw error;
  }
  const seen: string[] = [];
  for await (const [which, item] of merge([source("a", [1, 1, 1]), source("b", []), source("c", [30])])) {
    seen.push(`${which}${item}`);
  }
  expect(seen).toEqual(["0a1", "0a1", "0a1", "2c30"]);
  const failing = async () => {
    for await (const _ of merge([source("a", [1]), source("b", [], new Error("no more"))]));
  };
  await expect(failing()).rejects.toThrow("no more");
});

test("totals of the engine have their own names", async () => {
  const fake = new FakeFastgen();
  Object.assign(fake.stats, {
    prompt_tokens: 55,
    generated_tokens: 22,
    prefix_hit_tokens: 33,
    prefix_queried_tokens: 44,
  });
  const metrics = new Metrics(() => fake as FastgenApi);
  for (let scrape = 0; scrape < 2; scrape++) {
    const text = await (await metrics.reply()).text();
    for (const line of [
      'vllm:prompt_tokens_total{engine="0"} 55',
      'vllm:generation_tokens_total{engine="0"} 22',
      'vllm:prefix_cache_hits_total{engine="0"} 33',
      'vllm:prefix_cache_queries_total{engine="0"} 44',
    ]) {
      expect(text).toContain(`\n${line}\n`);
    }
  }
});

test("prompt log probabilities: a token's rank is among all tokens, also beyond the alternatives", () => {
  const one = (id: number, logprob: number) => ({ id, logprob, token: `t${id}`, bytes: [] });
  const position = (id: number, logprob: number, rank: number, top: [number, number][]): PositionLogprobs => ({
    ...one(id, logprob),
    rank,
    top: top.map(([id, logprob]) => one(id, logprob)),
    text_offset: 5,
  });
  const list = promptLogprobs([
    null,
    position(5, -1.5, 2, [
      [7, -0.5],
      [5, -1.25],
    ]),
    position(8, Number.NEGATIVE_INFINITY, 31_000, [[7, -0.5]]),
  ]);
  const text = [...jsonParts(list)].join("");
  // The prompt's own token comes first, which objects would not keep.
  expect(text).toContain('{"8":');
  expect(JSON.parse(text)).toEqual([
    null,
    {
      "5": { logprob: -1.5, rank: 2, decoded_token: "t5" },
      "7": { logprob: -0.5, rank: 1, decoded_token: "t7" },
    },
    {
      "7": { logprob: -0.5, rank: 1, decoded_token: "t7" },
      "8": { logprob: -9999, rank: 31_000, decoded_token: "t8" },
    },
  ]);
});

test("completions' lists: a prompt's first token has no log probability, tokens are named by text or by id", () => {
  const one = (id: number, logprob: number) => ({ id, logprob, token: `t${id}`, bytes: [] });
  const position = { ...one(5, -1.5), top: [one(7, -0.5)], rank: 2, text_offset: 5 };
  const positions = [
    { token: "first", position: null, offset: 0 },
    { token: "second", position, offset: 5 },
  ];
  const lists = { tokens: ["first", "second"], token_logprobs: [null, -1.5], text_offset: [0, 5] };
  expect(completionLogprobs(positions, tokenNames(false))).toEqual({
    ...lists,
    top_logprobs: [null, { t7: -0.5, t5: -1.5 }],
  });
  expect(completionLogprobs(positions, tokenNames(true)).top_logprobs).toEqual([
    null,
    { "token_id:7": -0.5, "token_id:5": -1.5 },
  ]);
});

test("echoes and prompt log probabilities are those of each choice's own prompt", async () => {
  const { post } = await serve({ answer: "xy" });
  const body = { prompt: ["ab", "cde"], n: 2, max_tokens: 1, echo: true, logprobs: 1, prompt_logprobs: 1 };
  const { choices } = await json(await post("/completions", body));
  expect(choices.map(({ text }: { text: string }) => text)).toEqual(["abx", "abx", "cdex", "cdex"]);
  expect(choices.map((choice: { prompt_logprobs: unknown[] }) => choice.prompt_logprobs.length)).toEqual([2, 2, 3, 3]);
  expect(choices[3].logprobs).toMatchObject({ tokens: ["c", "d", "e", "x"], text_offset: [0, 1, 2, 3] });
  expect(choices[3].logprobs.token_logprobs[0]).toBeNull();
  expect(Object.keys(choices[3].logprobs.top_logprobs[1])).toEqual(["d"]);
});

test("an echo's log probabilities have as many alternatives as the answer's", async () => {
  const { fake, post } = await serve({ answer: "xy" });
  await post("/completions", { prompt: "ab", max_tokens: 1, echo: true, logprobs: 3 });
  expect(fake.calls[0]!.params).toMatchObject({ logprobs: 3, prompt_logprobs: 3 });
});

test("what a request may not say", async () => {
  const { post } = await serve();
  const refusal = async (path: string, body: object) => (await json(await post(path, body))).error?.param;
  const messages = [{ role: "user", content: "Hi" }];
  expect(await refusal("/completions", { prompt: "a", n: 2, best_of: 3 })).toBe("best_of");
  expect(await refusal("/completions", { prompt: "a", n: 2, best_of: 1 })).toBeUndefined();
  expect(await refusal("/completions", { prompt: "a", max_tokens: 0 })).toBe("max_tokens");
  expect(await refusal("/chat/completions", { messages, max_tokens: 0 })).toBe("max_tokens");
});

test("a user's last message is not echoed", async () => {
  const { post } = await serve({ answer: "x" });
  const messages = [{ role: "user", content: "Hi" }];
  const { choices } = await json(await post("/chat/completions", { messages, echo: true }));
  expect(choices[0].message.content).toBe("x");
});

test("a stream's log probabilities come with the token, also while its text is held back", async () => {
  const { post } = await serve({ answer: "👋" });
  const messages = [{ role: "user", content: "Hi" }];
  const lines = await events(await post("/chat/completions", { messages, stream: true, logprobs: true }));
  const frames = lines.slice(0, -1).map((line) => JSON.parse(line));
  const tokens = frames.flatMap(({ choices }) => choices[0].logprobs?.content ?? []);
  expect(tokens).toHaveLength(2);
  expect(lines.at(-1)).toBe("[DONE]");
});

/** Ends every choice by a stop string. */
class Stopping extends FakeFastgen {
  override async start(...args: Parameters<FakeFastgen["start"]>) {
    const generation = await super.start(...args);
    const pieces = generation[Symbol.asyncIterator].bind(generation);
    generation[Symbol.asyncIterator] = async function* () {
      for await (const chunk of { [Symbol.asyncIterator]: pieces }) {
        yield chunk.finish_reason === null ? chunk : { ...chunk, stop_reason: "END" };
      }
    };
    return generation;
  }
}

test("a stream's last frame says what stopped it", async () => {
  const server = await startServer(new Stopping({ answer: "xy" }));
  servers.push(server);
  const messages = [{ role: "user", content: "Hi" }];
  for (const [path, body] of [
    ["/chat/completions", { messages }],
    ["/completions", { prompt: "a" }],
  ] as const) {
    const lines = await events(await server.post(path, { ...body, stream: true }));
    const frames = lines.slice(0, -1).map((line) => JSON.parse(line).choices[0]);
    expect(frames.at(-1)).toMatchObject({ finish_reason: "stop", stop_reason: "END" });
    expect(frames.slice(0, -1).every(({ finish_reason }) => finish_reason === null)).toBe(true);
  }
});

test("what callers do wrong is not in the error log; what they cannot mend is", async () => {
  const { errors, post } = await serve({
    failAfter: 0,
    error: new FastgenError("device", "the device fell off the bus"),
  });
  await post("/completions", { prompt: "a", temperature: -1 });
  await post("/completions", "{");
  expect(errors).toEqual([]);
  await post("/completions", { prompt: "a" });
  expect(errors).toEqual([expect.stringMatching(/^request \S+: device error: the device fell off the bus/)]);
});
