/** Front, worker and libfastgen_cpu.so together, on a small model with random weights. */
import { afterEach, expect } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Worker } from "node:worker_threads";
import fc from "fast-check";
import { type EngineConfig, type EngineSampling, GREEDY } from "../engine-config.ts";
import { FastgenError } from "../errors.ts";
import { samplingSchema } from "../params.ts";
import { engineRequests, resolveParams } from "../request/request.ts";
import { failure } from "../testing.ts";
import { EngineFront, type SequenceEvent } from "./front.ts";
import { type EngineRequest, PLAIN, type ProfileOrder, type TokenLogprobs } from "./protocol.ts";
import { engineTest, SMALL_ENGINE } from "./testing/small-engine.ts";

const VOCAB = 500;
const PAGE_BYTES = 2 * 2 * 2 * 32 * 64 * 4;

const config: EngineConfig = {
  ...SMALL_ENGINE,
  threads: 2,
  maxSeqs: 8,
  maxStepTokens: 64,
  maxContext: 512,
  kvBytes: 64 * PAGE_BYTES,
  shape: {
    ...SMALL_ENGINE.shape,
    layers: 2,
    hiddenSize: 64,
    heads: 4,
    kvHeads: 2,
    intermediateSize: 96,
    vocabSize: VOCAB,
    layerWindow: new Int32Array(2),
  },
};

const fronts: EngineFront[] = [];
afterEach(async () => {
  await Promise.all(fronts.splice(0).map((front) => front.close()));
});

async function start(overrides: Partial<EngineConfig> = {}): Promise<EngineFront> {
  const front = await EngineFront.start({ ...config, ...overrides });
  fronts.push(front);
  return front;
}

function request(
  length: number,
  flavour: number,
  maxTokens: number,
  overrides: Partial<EngineRequest> = {},
): EngineRequest {
  return {
    id: 0,
    prompt: Int32Array.from({ length }, (_, i) => (i * 7 + flavour * 31) % VOCAB),
    sampling: {
      seed: BigInt(flavour),
      temperature: flavour % 2 === 0 ? 0 : 1,
      topP: 0.95,
      topK: 0,
      minP: 0,
      repetitionPenalty: flavour % 3 === 0 ? 1.2 : 1,
      presencePenalty: 0,
      frequencyPenalty: flavour % 5 === 0 ? 0.5 : 0,
      biasIds: new Int32Array(0),
      bias: new Float32Array(0),
      processedLogprobs: flavour % 4 === 1,
    },
    maxTokens,
    minTokens: 0,
    stopIds: new Int32Array(0),
    logprobs: 1,
    promptLogprobs: -1,
    ...PLAIN,
    ...overrides,
  };
}

interface Output {
  tokens: number[];
  logprobs: number[];
  promptLogprobs: TokenLogprobs | null;
  last: SequenceEvent;
}

function run(front: EngineFront, one: EngineRequest, onToken?: (count: number, id: number) => void): Promise<Output> {
  const { promise, resolve } = Promise.withResolvers<Output>();
  const tokens: number[] = [];
  const logprobs: number[] = [];
  let promptLogprobs: TokenLogprobs | null = null;
  const [id] = front.add([one], (_, event) => {
    if (event.token >= 0) {
      tokens.push(event.token);
      logprobs.push(...(event.logprobs?.logprobs ?? []));
    }
    promptLogprobs ??= event.promptLogprobs;
    if (event.finish !== "") resolve({ tokens, logprobs, promptLogprobs, last: event });
    else onToken?.(tokens.length, id!);
  });
  return promise;
}

/** A request that runs: it has its first token, and is far from its last. */
async function runLong(front: EngineFront): Promise<{ running: Promise<Output> }> {
  const begun = Promise.withResolvers<void>();
  const running = run(front, request(10, 1, 400), () => begun.resolve());
  await begun.promise;
  return { running };
}

const mixed = () =>
  Array.from({ length: 12 }, (_, i) => request(30 + ((i * 53) % 170), i, 140 + ((i * 17) % 60), { minTokens: i % 4 }));

async function outputsOf(front: EngineFront, requests: EngineRequest[]) {
  const outputs = await Promise.all(requests.map((one) => run(front, one)));
  return outputs.map(({ tokens, logprobs, last }) => ({ tokens, logprobs, finish: last.finish }));
}

engineTest(
  "outputs are the same bits alone, in a batch, chunked, cached, and after giving pages back",
  async () => {
    const alone: Awaited<ReturnType<typeof outputsOf>> = [];
    const single = await start({ maxSeqs: 1, maxStepTokens: 512, prefixCaching: false });
    for (const one of mixed()) alone.push(...(await outputsOf(single, [one])));
    expect(alone.every(({ tokens, finish }, i) => finish === "length" && tokens.length === mixed()[i]!.maxTokens)).toBe(
      true,
    );
    expect(new Set(alone.map(({ tokens }) => tokens.join())).size).toBe(alone.length);

    const batched = await start({ maxStepTokens: 37 });
    expect(await outputsOf(batched, mixed())).toEqual(alone);
    // Again, from the cache.
    expect(await outputsOf(batched, mixed())).toEqual(alone);
    expect(batched.stats.prefixHitTokens).toBeGreaterThan(500);

    for (const hostKvBytes of [0, 40 * PAGE_BYTES]) {
      const tight = await start({ kvBytes: 9 * PAGE_BYTES, hostKvBytes });
      // Requests that end long before max_tokens make admission expect the same of those that follow: pages run out.
      const stopIds = Int32Array.from({ length: 100 }, (_, i) => i * 5);
      await outputsOf(
        tight,
        Array.from({ length: 20 }, (_, i) => request(20, i, 200, { stopIds })),
      );
      expect(await outputsOf(tight, mixed())).toEqual(alone);
      expect(tight.stats.preemptions).toBeGreaterThan(0);
      expect(tight.stats).toMatchObject({ running: 0, waiting: 0, swapped: 0 });
    }
  },
  60_000,
);

/** Numbers at which float32 rounds, overflows, loses precision or ends. */
const edges = [0, 1e-46, 2 ** -150, 2 ** -149, 1e-40, 2 ** -126, 1e-7, 0.3, 1, 1 + 2 ** -24, 2, 100, 2 ** 127, 3.5e38];
const edge = fc.oneof(
  fc.constantFrom(...edges, ...edges.map((x) => -x), 1 - 2 ** -26, Number.NaN, Number.POSITIVE_INFINITY),
  fc.double(),
);

const rawSampling: fc.Arbitrary<EngineSampling> = fc
  .record({
    temperature: edge,
    topP: edge,
    topK: fc.constantFrom(-1, 0, 1, VOCAB, 2 ** 31 - 1),
    minP: edge,
    repetitionPenalty: edge,
    presencePenalty: edge,
    frequencyPenalty: edge,
    bias: fc.array(edge, { maxLength: 2 }),
  })
  // Most are sound in all fields but a few: one bad field is what hides best.
  .chain((wild) => fc.subarray(Object.entries(wild), { maxLength: 3 }))
  .map((some) => {
    const { bias, ...rest } = Object.fromEntries(some) as { bias?: number[] } & Partial<EngineSampling>;
    const biasIds = Int32Array.from(bias ?? [], (_, i) => i * 7);
    return { ...GREEDY, temperature: 1, ...rest, biasIds, bias: Float32Array.from(bias ?? []) };
  });

engineTest(
  "sampling parameters at the edges of float32 end their own sequence at most, also while pages are copied",
  async () => {
    const bystanders = () => mixed().slice(0, 5);
    const alone = await outputsOf(await start({ prefixCaching: false }), bystanders());
    const front = await start({ kvBytes: 9 * PAGE_BYTES, hostKvBytes: 12 * PAGE_BYTES });
    const outcomes = new Map<string, number>();
    await fc.assert(
      fc.asyncProperty(fc.array(rawSampling, { minLength: 4, maxLength: 12 }), async (list) => {
        const wild = list.map((sampling, i) => run(front, request(20 + 37 * i, i, 40, { sampling })));
        expect(await outputsOf(front, bystanders())).toEqual(alone);
        for (const { last, tokens } of await Promise.all(wild)) {
          const { finish, error } = last;
          outcomes.set(finish, (outcomes.get(finish) ?? 0) + 1);
          if (finish === "length") expect(tokens.length).toBe(40);
          else expect([finish, error?.kind, tokens.length]).toEqual(["error", "invalid_request", 0]);
        }
        expect(front.alive).toBe(true);
      }),
      { numRuns: 12 },
    );
    expect(Math.min(outcomes.get("length")!, outcomes.get("error")!)).toBeGreaterThan(5);
  },
  60_000,
);

engineTest("whatever the schema lets pass, the library accepts", async () => {
  const front = await start();
  const number = (least: number, most: number) =>
    fc.oneof(
      fc.constantFrom(...edges, ...edges.map((x) => -x), least, most, most - 2 ** -24, least + 2 ** -24),
      fc.double({ noNaN: true, min: least, max: most }),
    );
  const params = fc.record(
    {
      temperature: number(0, 100),
      top_p: number(0, 1),
      min_p: number(0, 1),
      top_k: fc.integer({ min: -1 }),
      repetition_penalty: number(0, 100),
      presence_penalty: number(-2, 2),
      frequency_penalty: number(-2, 2),
      logit_bias: fc.dictionary(fc.nat(VOCAB - 1).map(String), number(-100, 100), { maxKeys: 3 }),
      seed: fc.maxSafeInteger(),
    },
    { requiredKeys: [] },
  );
  const passes = params.filter((one) => samplingSchema.safeParse(one).success);
  const limits = { vocabSize: VOCAB, maxContext: config.maxContext, stopIds: [] };
  await fc.assert(
    fc.asyncProperty(fc.array(passes, { minLength: 8, maxLength: 8 }), async (list) => {
      const requests = list.flatMap((one) =>
        engineRequests(resolveParams({ ...one, max_tokens: 5 }, {}), request(9, 1, 1).prompt, limits, "prompt"),
      );
      for (const { last } of await Promise.all(requests.map((one) => run(front, one)))) {
        expect(last).toMatchObject({ finish: "length", error: null });
      }
    }),
    { numRuns: 40 },
  );
});

engineTest("prompt log probabilities agree with those of the same tokens when generated", async () => {
  const front = await start();
  const generated = await run(front, request(70, 2, 30));
  const whole = Int32Array.from([...request(70, 2, 30).prompt, ...generated.tokens]);
  const scored = await run(front, request(1, 0, 0, { prompt: whole, promptLogprobs: 2, logprobs: -1 }));
  expect(scored.last).toMatchObject({ token: -1, finish: "length" });
  const { ids, logprobs, topIds } = scored.promptLogprobs!;
  expect([...ids]).toEqual([...whole.subarray(1)]);
  expect([...logprobs.subarray(69)]).toEqual(generated.logprobs);
  expect(topIds.length).toBe(2 * ids.length);
});

engineTest("stop ids end a sequence, and are held back below minTokens", async () => {
  const front = await start();
  const free = await run(front, request(20, 2, 30));
  const stop = free.tokens[5]!;
  const stopIds = Int32Array.of(stop);
  const stopped = await run(front, request(20, 2, 30, { stopIds }));
  const end = free.tokens.indexOf(stop) + 1;
  expect([stopped.last.finish, stopped.tokens]).toEqual(["stop", free.tokens.slice(0, end)]);
  const held = await run(front, request(20, 2, 30, { stopIds, minTokens: 20 }));
  expect(held.tokens.slice(0, 20)).not.toContain(stop);
});

engineTest("tokens stream, and an abort ends a sequence while others go on", async () => {
  const front = await start();
  const other = run(front, request(50, 1, 60));
  const arrivals = new Set<number>();
  const aborted = await run(front, request(40, 2, 400), (count, id) => {
    arrivals.add(performance.now());
    if (count === 3) front.abort([id, 999]);
  });
  expect(aborted.last).toMatchObject({ token: -1, finish: "abort" });
  expect(aborted.tokens.length).toBeLessThan(400);
  expect(arrivals.size).toBeGreaterThan(2);
  expect((await other).tokens.length).toBe(60);
  expect(front.size).toBe(0);
});

engineTest("thousands that wait end at once when they are aborted, and the engine goes on", async () => {
  const front = await start({ maxSeqs: 1 });
  const outcome: string[] = [];
  const many = Array.from({ length: 4096 }, (_, i) => request(4, i, 2, { logprobs: -1 }));
  const ids = front.add(many, (_, event) => {
    if (event.finish !== "") outcome.push(event.finish);
  });
  front.abort(ids);
  while (front.size > 0) await Bun.sleep(5);
  expect(outcome.length).toBe(many.length);
  expect((await run(front, request(4, 0, 2))).last.finish).toBe("length");
});

engineTest("a listener that throws loses its own sequence only", async () => {
  const front = await start();
  const warnings: string[] = [];
  const onWarning = (warning: Error) => void warnings.push(warning.message);
  process.on("warning", onWarning);
  front.add([request(10, 1, 50)], () => {
    throw new Error("a listener's bug");
  });
  expect((await run(front, request(10, 2, 20))).tokens.length).toBe(20);
  process.off("warning", onWarning);
  expect([front.size, warnings]).toEqual([0, ["a listener's bug"]]);
});

engineTest("close ends what runs with an error, and later requests are refused", async () => {
  const front = await start();
  const { running } = await runLong(front);
  const closed = front.close();
  expect((await running).last).toMatchObject({ finish: "error", error: { kind: "unavailable" } });
  await closed;
  await front.close();
  expect(front.alive).toBe(false);
  expect(failure(() => front.add([request(4, 0, 2)], () => {})).kind).toBe("unavailable");
});

engineTest("a thread that dies fails what runs, and says so", async () => {
  const front = await start();
  const { running } = await runLong(front);
  await (front as unknown as { worker: Worker }).worker.terminate();
  const { error } = (await running).last;
  expect(error).toMatchObject({ kind: "internal" });
  expect(front.alive).toBe(false);
  expect(await front.failed).toBe(error!);
});

engineTest("a start that cannot succeed says why", async () => {
  const reason = async (overrides: Partial<EngineConfig>) => {
    const error = await start(overrides).catch((thrown) => thrown);
    expect(error).toBeInstanceOf(FastgenError);
    return error as FastgenError;
  };
  expect(await reason({ libraryPath: "/nowhere/lib.so" })).toMatchObject({ kind: "device" });
  expect((await reason({ kvBytes: 7 * PAGE_BYTES })).message).toContain("max_model_len (512)");
  expect((await reason({ shape: { ...config.shape, headDim: 48 } })).kind).toBe("model");
  expect((await reason({ tensors: [] })).kind).toBe("model");
  const where = { path: "/nowhere/model.safetensors", offset: 0, bytes: VOCAB * 64 * 2 };
  const missing = await reason({
    shape: { ...config.shape, layers: 1 },
    tensors: [{ role: "embed", layer: 0, dtype: "bfloat16", dims: [VOCAB, 64], where }],
  });
  expect(missing.kind).toBe("model");
});

engineTest("loading can be aborted", async () => {
  const stop = new AbortController();
  stop.abort();
  const error = await EngineFront.start(config, { signal: stop.signal }).then(
    (front) => front.close(),
    (thrown) => thrown,
  );
  expect(error).toMatchObject({ kind: "aborted" });
});

engineTest("an engine's part of a profile is written, and a path that cannot be written is refused", async () => {
  const front = await start();
  const folder = mkdtempSync(join(tmpdir(), "fastgen-profile-"));
  const order = (name: string, steps: number | null = null): ProfileOrder => ({
    engine: 0,
    steps,
    parts: [join(folder, `${name}.steps`), join(folder, `${name}.trace`)],
  });
  const eventsOf = (name: string) => [
    ...JSON.parse(`[${readFileSync(join(folder, `${name}.steps`), "utf8")}]`),
    ...JSON.parse(readFileSync(join(folder, `${name}.trace`), "utf8")).traceEvents,
  ];
  try {
    front.stopProfile(); // there is none
    const written = front.recordProfile(order("one"));
    const error = await front.recordProfile(order("two")).catch((thrown) => thrown);
    expect(error).toMatchObject({ kind: "invalid_request", message: "a profile is being recorded" });
    await run(front, request(10, 1, 5));
    front.stopProfile();
    await written;
    const names = new Set(eventsOf("one").map(({ name }) => name));
    for (const name of ["plan", "submit", "wait", "commit", "step", "attention"]) expect(names).toContain(name);
    // Three steps end one by themselves.
    const three = front.recordProfile(order("three", 3));
    await run(front, request(10, 1, 20));
    await three;
    const steps = eventsOf("three").filter(({ name, ph }) => name === "step" && ph === "X");
    expect(steps.map(({ args }) => args.step - steps[0].args.step)).toEqual([0, 1, 2]);
    const missing = front.recordProfile(order("missing/none"));
    front.stopProfile();
    const unwritten = await missing.catch((thrown) => thrown);
    expect(unwritten.kind).toBe("unavailable");
    expect(unwritten.message).toMatch(
      /^the profile cannot be written: .*missing is there and has room, and record it again$/,
    );
    // Nothing of it is left over.
    const after = front.recordProfile(order("after", 1));
    expect((await run(front, request(10, 1, 5))).last.finish).toBe("length");
    await after;
  } finally {
    rmSync(folder, { recursive: true });
  }
});
