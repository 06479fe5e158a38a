/** Weights that change while a model is served, with the real library on the CPU, by the library's API and over HTTP. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import * as path from "node:path";
import { json, startServer, type TestServer, until } from "../routes/testing.ts";
import { chooseDevice, engineConfig } from "../src/device.ts";
import { EngineFront } from "../src/engine/front.ts";
import type { Command } from "../src/engine/protocol.ts";
import type { FastgenError } from "../src/errors.ts";
import { Fastgen } from "../src/fastgen.ts";
import { openModel } from "../src/model/load.ts";
import { engineRequests, resolveParams } from "../src/request/request.ts";
import type { LoadOptions } from "../src/types.ts";
import { modelFolder, weightsFolder } from "./weight-folders.ts";

const OPTIONS: LoadOptions = { device: "cpu", dtype: "float32", threads: 1, max_model_len: 1024, max_num_seqs: 8 };
const GREEDY = { temperature: 0, max_tokens: 24, ignore_eos: true, logprobs: 0 };
const PROMPT =
  "Once upon a time there was a small model that could add numbers, and it was asked for more than it knew. ".repeat(2);

const PROMPT_IDS = Int32Array.from({ length: 100 }, (_, i) => 10 + ((i * 37) % 500));
const LIMITS = { vocabSize: 1024, maxContext: 1024, stopIds: [] };

/** Tensors of the second layer, and of all layers. */
const folders = {
  first: modelFolder(),
  second: modelFolder((name) => name.includes("layers.1.")),
  third: modelFolder((name) => name.includes("down_proj")),
};
const made: string[] = Object.values(folders);
afterAll(() => {
  for (const folder of made) rmSync(folder, { recursive: true });
});
function keep(folder: string): string {
  made.push(folder);
  return folder;
}

/** What a fresh engine answers with the weights of a folder: ids and log probabilities. */
async function answer(fastgen: Fastgen, prompt: string | number[] = PROMPT, max_tokens = GREEDY.max_tokens) {
  const { choices } = await fastgen.generate(prompt, { ...GREEDY, max_tokens });
  const [{ token_ids, logprobs }] = choices as [(typeof choices)[0]];
  return { token_ids, logprobs: logprobs!.map(({ logprob }) => logprob) };
}

/** Keeps an engine busy, so that an answer beside it lasts: generations that nobody reads. Returns what ends them. */
async function keepBusy(fastgen: Fastgen): Promise<() => void> {
  const long = { temperature: 0, max_tokens: 900, ignore_eos: true };
  const others = await Promise.all(Array.from({ length: 7 }, (_, i) => fastgen.start(`Number ${i}`, long)));
  return () => {
    for (const other of others) other.abort();
  };
}

const fresh: Record<keyof typeof folders, Awaited<ReturnType<typeof answer>>> = {} as never;
beforeAll(async () => {
  for (const name of Object.keys(folders) as (keyof typeof folders)[]) {
    await using fastgen = await Fastgen.load(folders[name], OPTIONS);
    fresh[name] = await answer(fastgen);
  }
});

test("the weights of these tests make a difference", () => {
  expect(fresh.second.token_ids).not.toEqual(fresh.first.token_ids);
  expect(fresh.third.token_ids).not.toEqual(fresh.second.token_ids);
});

describe("the library", () => {
  let fastgen: Fastgen;
  beforeAll(async () => {
    fastgen = await Fastgen.load(folders.first, OPTIONS);
  });
  afterAll(() => fastgen.close());

  test("answers under new weights are those of an engine that started with them, to the bit", async () => {
    expect(await answer(fastgen)).toEqual(fresh.first);
    await fastgen.updateWeights({ folder: folders.second });
    expect(fastgen.weight_version).toBe("1");
    expect(await answer(fastgen)).toEqual(fresh.second);
    await fastgen.updateWeights({ folder: keep(weightsFolder(folders.third)), weight_version: "step-2" });
    expect(fastgen.weight_version).toBe("step-2");
    expect(await answer(fastgen)).toEqual(fresh.third);
    await fastgen.updateWeights({ folder: folders.first });
    expect(fastgen.weight_version).toBe("3");
    expect(await answer(fastgen)).toEqual(fresh.first);
  });

  test("in mid-answer: what follows is what an engine with the new weights makes of the same tokens", async () => {
    await fastgen.updateWeights({ folder: folders.first, weight_version: "a" });
    const stop = await keepBusy(fastgen);
    const generation = await fastgen.start(PROMPT, { ...GREEDY, max_tokens: 200 });
    const whole = generation.completion();
    await until(() => generation.usage.completion_tokens > 5);
    await fastgen.pause({ mode: "keep" });
    const before = generation.usage.completion_tokens;
    expect(before).toBeLessThan(200);
    await Bun.sleep(20);
    expect(generation.usage.completion_tokens).toBe(before);
    await fastgen.updateWeights({ folder: folders.second, weight_version: "b" });
    expect(fastgen.is_paused).toBe(true);
    await fastgen.resume();
    stop();
    const { choices, prompt_token_ids } = await whole;
    expect(choices[0]!.weight_versions).toEqual([
      { start: 0, version: "a" },
      { start: before, version: "b" },
    ]);
    const ids = choices[0]!.token_ids;
    expect(ids).toHaveLength(200);
    await using other = await Fastgen.load(folders.second, OPTIONS);
    const continued = await answer(other, [...prompt_token_ids, ...ids.slice(0, before)], 200 - before);
    expect(ids.slice(before)).toEqual(continued.token_ids);
    expect(choices[0]!.logprobs!.slice(before).map(({ logprob }) => logprob)).toEqual(continued.logprobs);
  });

  test("weights that do not fit change nothing", async () => {
    await fastgen.updateWeights({ folder: folders.second, weight_version: "whole" });
    const cut = keep(weightsFolder(folders.first));
    truncateSync(path.join(cut, "model.safetensors"), 1_000_000);
    const wrong = [
      [keep(weightsFolder(folders.first, (name) => name.includes("layers.1.mlp.up"))), "up"],
      [cut, "model.safetensors"],
      [path.join(folders.first, "nowhere"), "nowhere"],
      [path.join(folders.first, "config.json"), "config.json"],
    ] as const;
    for (const [folder, named] of wrong) {
      const error = await fastgen.updateWeights({ folder }).catch((thrown) => thrown);
      expect(error).toMatchObject({
        kind: "invalid_request",
        param: "folder",
        message: expect.stringContaining(named),
      });
    }
    expect(fastgen.weight_version).toBe("whole");
    expect(await answer(fastgen)).toEqual(fresh.second);
  });

  test("sleep gives the memory back, and level 1 brings the weights with it", async () => {
    await fastgen.updateWeights({ folder: folders.second });
    await fastgen.sleep({ level: 1 });
    expect(fastgen.is_sleeping).toBe(true);
    const waiting = answer(fastgen);
    await fastgen.wakeUp({ tags: ["weights"] });
    expect(fastgen.is_sleeping).toBe(true);
    await fastgen.wakeUp();
    expect(fastgen.is_sleeping).toBe(false);
    expect(await waiting).toEqual(fresh.second);
  });

  test("sleep of level 2 wants new weights, while the KV cache sleeps or later", async () => {
    await fastgen.sleep({ level: 2 });
    await fastgen.wakeUp({ tags: ["weights"] });
    await fastgen.updateWeights({ folder: folders.third });
    await fastgen.wakeUp({ tags: ["kv_cache"] });
    expect(await answer(fastgen)).toEqual(fresh.third);
    await fastgen.sleep({ level: 2 });
    const waiting = await fastgen.start(PROMPT, GREEDY);
    await fastgen.wakeUp();
    expect(fastgen.weights_problem).toStartWith("the weights are gone");
    await expect(answer(fastgen)).rejects.toThrow(/the weights are gone.*\/wake_up.*\/update_weights/);
    await fastgen.updateWeights({ folder: folders.first });
    expect(fastgen.weights_problem).toBeNull();
    expect((await waiting.completion()).choices[0]!.token_ids).toEqual(fresh.first.token_ids);
    expect(await answer(fastgen)).toEqual(fresh.first);
  });

  test("abort() ends what has the id, with what it has", async () => {
    const long = { ...GREEDY, max_tokens: 900 };
    const [one, other] = await Promise.all([
      fastgen.start(PROMPT, long, { request_id: "one" }),
      fastgen.start("Another", { ...GREEDY, max_tokens: 30 }, { request_id: "other" }),
    ]);
    const stop = await keepBusy(fastgen);
    await until(() => one.usage.completion_tokens > 3);
    expect([fastgen.abort("one"), fastgen.abort("nobody")]).toEqual([1, 0]);
    stop();
    const { choices } = await one.completion();
    expect(choices[0]!.finish_reason).toBe("abort");
    expect(choices[0]!.token_ids.length).toBeGreaterThan(3);
    expect((await other.completion()).choices[0]!.finish_reason).toBe("length");
    expect([fastgen.abort("one"), fastgen.abort(null)]).toEqual([0, 0]);
  });
});

test("a file that is cut short between the look at its header and its load changes nothing", async () => {
  const model = await openModel(folders.first);
  const front = await EngineFront.start(engineConfig(model, chooseDevice("cpu"), OPTIONS));
  const ask = () => {
    const { promise, resolve } = Promise.withResolvers<{ ids: number[]; error: FastgenError | null }>();
    const ids: number[] = [];
    const [request] = engineRequests(resolveParams(GREEDY, {}), PROMPT_IDS, LIMITS, "prompt");
    front.add([request!], (_, { token, finish, error }) => {
      if (token >= 0) ids.push(token);
      if (finish !== "") resolve({ ids, error });
    });
    return promise;
  };
  const folder = keep(weightsFolder(folders.second));
  const update = async (version: string): Promise<Command> => {
    return { type: "update", tensors: await model.weightsIn({ folder }), version, clearCache: null };
  };
  const before = await ask();
  const broken = await update("1");
  const file = path.join(folder, "model.safetensors");
  const bytes = readFileSync(file);
  truncateSync(file, bytes.length - 1000);
  expect(await front.command(broken).catch((error) => error)).toMatchObject({
    kind: "invalid_request",
    message: expect.stringContaining("truncated"),
  });
  expect(front.state).toEqual({ weightVersion: "0", sleeping: false, weightsProblem: null, refusal: null });
  expect(await ask()).toEqual(before);
  rmSync(file);
  writeFileSync(file, bytes);
  await front.command(await update("2"));
  expect(front.state).toMatchObject({ weightVersion: "2", refusal: null });
  const after = await ask();
  expect(after.error).toBeNull();
  expect(after.ids).not.toEqual(before.ids);
  await front.close();
  await using fastgen = await Fastgen.load(folders.second, OPTIONS);
  expect((await answer(fastgen, [...PROMPT_IDS])).token_ids).toEqual(after.ids);
});

describe("over HTTP", () => {
  let fastgen: Fastgen;
  let server: TestServer;
  beforeAll(async () => {
    fastgen = await Fastgen.load(folders.first, OPTIONS);
    server = await startServer(fastgen);
  });
  afterAll(async () => {
    await server.stop();
    await fastgen.close();
  });
  const post = async (route: string, body: object = {}) => json(await server.post(route, body));
  const complete = (more: object = {}) =>
    post("/v1/completions", {
      prompt: PROMPT,
      temperature: 0,
      ignore_eos: true,
      return_token_ids: true,
      max_tokens: 24,
      ...more,
    });

  /** A stream that has begun; returns what reads it to its end. */
  async function openStream(max_tokens: number) {
    const body = { prompt: PROMPT, temperature: 0, ignore_eos: true, max_tokens, stream: true };
    const pieces = (await server.post("/v1/completions", body)).body!.pipeThrough(new TextDecoderStream()).getReader();
    let text = (await pieces.read()).value!;
    return async () => {
      for (let next = await pieces.read(); !next.done; next = await pieces.read()) text += next.value;
      return [...text.matchAll(/^data: (\{.*)$/gm)].map(([, data]) => JSON.parse(data!));
    };
  }

  test("a trainer's turn: pause, update, resume, while a stream is open", async () => {
    const stop = await keepBusy(fastgen);
    const rest = await openStream(300);
    expect(await post("/pause?mode=keep&clear_cache=false")).toEqual({ status: "paused" });
    const waiting = complete();
    expect(await post("/update_weights", { weight_dir: folders.second })).toMatchObject({ weight_version: "1" });
    expect(await post("/resume")).toEqual({ status: "resumed" });
    stop();
    const frames = await rest();
    expect(new Set(frames.map((frame) => frame.weight_version))).toEqual(new Set(["0", "1"]));
    expect(frames.at(-1)).toMatchObject({
      weight_version: "1",
      choices: [{ finish_reason: "length", weight_versions: [{ start: 0, version: "0" }, { version: "1" }] }],
    });
    const { choices, weight_version } = await waiting;
    expect([choices[0].token_ids, weight_version, choices[0].weight_versions]).toEqual([
      fresh.second.token_ids,
      "1",
      undefined,
    ]);
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    expect(metrics).toContain('weight_version="1"');
  });

  test("a wrong folder is a 400, and the old weights go on", async () => {
    const reply = await server.post("/update_weights", { weight_dir: "/nowhere" });
    expect(reply.status).toBe(400);
    expect((await json(reply)).error).toMatchObject({
      param: "weight_dir",
      message: "weight_dir: there is no folder '/nowhere' on the machine of the model",
    });
    expect((await complete()).choices[0].token_ids).toEqual(fresh.second.token_ids);
  });

  test("mode abort: running requests answer with what they have, finish_reason abort", async () => {
    const stop = await keepBusy(fastgen);
    const rest = await openStream(900);
    await post("/pause?mode=abort");
    const frames = await rest();
    stop();
    expect(frames.at(-1).choices[0].finish_reason).toBe("abort");
    expect(frames.length).toBeLessThan(900);
    await post("/resume");
    await post("/pause?mode=keep");
    const named = complete({ max_tokens: 9, request_id: "mine" });
    // It may still be on its way.
    let aborted = 0;
    while (aborted === 0) ({ aborted } = await post("/abort_request", { request_id: "cmpl-mine" }));
    expect(aborted).toBe(1);
    expect((await named).choices[0]).toMatchObject({ finish_reason: "abort", token_ids: [] });
    await post("/resume");
  });
});
