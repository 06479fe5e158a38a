/** What was sampled and what scoring says of it, on the CPU with the built-in model: the same, to the bit. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { Fastgen } from "fastgen";
import { json, startServer, type TestServer } from "../routes/testing.ts";
import { promptIds, QUESTIONS, sample, score } from "./rescoring.ts";

let fastgen: Fastgen;
let server: TestServer;
beforeAll(async () => {
  fastgen = await Fastgen.load(undefined, { device: "cpu", threads: 1 });
  server = await startServer(fastgen);
});
afterAll(async () => {
  await server?.stop();
  await fastgen?.close();
});

test("sampled and scored log probabilities are equal", async () => {
  // The model is sure of its answers: it takes some heat for them to differ.
  const params = { max_tokens: 40, n: 4, temperature: 4, top_k: 50, seed: 3 };
  const sampled = (
    await Promise.all(QUESTIONS.map(async (question) => sample(server, await promptIds(server, question), params)))
  ).flat();
  expect(sampled).toHaveLength(16);
  expect(new Set(sampled.map(({ token_ids }) => token_ids.join())).size).toBeGreaterThan(8);
  const logprobs = sampled.map(({ logprobs }) => logprobs);
  expect(await score(server, sampled)).toEqual(logprobs);
  // Long prompts that several have in common are taken from the cache.
  const long = (await promptIds(server, `${QUESTIONS[0]} `.repeat(40))).slice(0, 200);
  const answers = await sample(server, long, params);
  const hits = fastgen.stats.prefix_hit_tokens;
  expect(await score(server, answers)).toEqual(answers.map(({ logprobs }) => logprobs));
  expect(fastgen.stats.prefix_hit_tokens - hits).toBe(answers.length * 192);
});

test("a sequence with an id that the model does not have is refused in the route's own words", async () => {
  const sequences = [{ prompt_token_ids: [1], token_ids: [99_999] }];
  const reply = await server.post("/inference/v1/score", { sequences });
  expect(reply.status).toBe(400);
  const { error } = await json(reply);
  expect(error.param).toBe("sequences");
  expect(error.message).toStartWith("sequences: 99999 is not a token id");
});

test("a rollout's seed draws it again", async () => {
  const ids = await promptIds(server, QUESTIONS[0]!);
  const body = { token_ids: ids, sampling_params: { max_tokens: 20, n: 2, temperature: 4 }, return_rollout: true };
  // The seed has 64 bits: JSON.parse would round it.
  const text = await (await server.post("/inference/v1/generate", body)).text();
  const seeds = [...text.matchAll(/"seed":(-?\d+)/g)].map((match) => match[1]);
  for (const [i, choice] of JSON.parse(text).choices.entries()) {
    const again = `{"token_ids":${JSON.stringify(ids)},"sampling_params":{"max_tokens":20,"temperature":4,"seed":${seeds[i]}}}`;
    const { choices } = await json(await server.post("/inference/v1/generate", again));
    expect(choices[0].token_ids).toEqual(choice.token_ids);
  }
});

test("processed log probabilities are what follows from the raw ones, temperature and top_k", async () => {
  const [temperature, top_k] = [4, 5];
  const ids = await promptIds(server, QUESTIONS[2]!);
  const ask = async (logprobs_mode: string) => {
    const sampling_params = { max_tokens: 40, temperature, top_k, seed: 9, logprobs: 8, logprobs_mode };
    return (await json(await server.post("/inference/v1/generate", { token_ids: ids, sampling_params }))).choices[0];
  };
  const [raw, processed] = [await ask("raw_logprobs"), await ask("processed_logprobs")];
  expect(processed.token_ids).toEqual(raw.token_ids);
  let unlikely = 0;
  for (const [i, { token_id, logprob, top_logprobs }] of processed.logprobs.content.entries()) {
    const before = raw.logprobs.content[i];
    const kept: number[] = before.top_logprobs
      .filter(({ rank }: { rank: number }) => rank <= top_k)
      .map((one: { logprob: number }) => one.logprob / temperature);
    const sum = Math.log(kept.reduce((total, value) => total + Math.exp(value), 0));
    expect(kept).toHaveLength(top_k);
    expect(token_id).toBe(before.token_id);
    expect(logprob).toBeCloseTo(before.logprob / temperature - sum, 5);
    // Beyond top_k nothing is left; -9999 is how JSON says so.
    expect(top_logprobs.filter((one: { logprob: number }) => one.logprob > -9999)).toHaveLength(top_k);
    if (logprob < -0.1) unlikely++;
  }
  expect(unlikely).toBeGreaterThan(0);
});

test("masks count, and so do ids whose log probabilities are asked for", async () => {
  const ids = await promptIds(server, QUESTIONS[1]!);
  const ask = async (allowed: number[], more: object) => {
    const mode = { logprobs: 0, logprobs_mode: "processed_logprobs" };
    const sampling_params = { max_tokens: 1, temperature: 2, ...mode, allowed_token_ids: allowed, ...more };
    return (await json(await server.post("/inference/v1/generate", { token_ids: ids, sampling_params }))).choices[0];
  };
  expect((await ask([70], {})).logprobs.content[0]).toMatchObject({ token_id: 70, logprob: 0, rank: 1 });
  const allowed = [70, 71, 72];
  const { top_logprobs } = (await ask(allowed, { logprob_token_ids: [70, 71, 72, 73] })).logprobs.content[0];
  const byId = new Map<number, number>(
    top_logprobs.map((one: { token_id: number; logprob: number }) => [one.token_id, one.logprob]),
  );
  expect(byId.get(73)).toBe(-9999);
  expect(allowed.reduce((sum, id) => sum + Math.exp(byId.get(id)!), 0)).toBeCloseTo(1, 5);
});
