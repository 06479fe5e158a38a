/** What the front owes its callers when things end: ids, listeners, traces and signals. The engine is a small real one. */
import { afterEach, expect, spyOn } from "bun:test";
import type { Worker } from "node:worker_threads";
import { GREEDY } from "../engine-config.ts";
import { EngineFront, type SequenceEvent } from "./front.ts";
import { type EngineRequest, PLAIN, type ToWorker } from "./protocol.ts";
import { engineTest, SMALL_ENGINE, SMALL_VOCAB } from "./testing/small-engine.ts";

interface Internals {
  worker: Worker;
  nextId: number;
}

const fronts: EngineFront[] = [];
afterEach(async () => {
  await Promise.all(fronts.splice(0).map((front) => front.close()));
});

async function start(signal?: AbortSignal): Promise<EngineFront> {
  const front = await EngineFront.start(SMALL_ENGINE, { signal });
  fronts.push(front);
  return front;
}

const inside = (front: EngineFront) => front as unknown as Internals;

function request(length: number, maxTokens: number, more: Partial<EngineRequest> = {}): EngineRequest {
  return {
    id: 0,
    prompt: Int32Array.from({ length }, (_, i) => (i * 7) % SMALL_VOCAB),
    sampling: GREEDY,
    maxTokens,
    minTokens: 0,
    stopIds: new Int32Array(0),
    logprobs: -1,
    promptLogprobs: -1,
    ...PLAIN,
    ...more,
  };
}

/** Adds requests as one and gives their events, by request, once all have ended. */
async function run(front: EngineFront, ...requests: EngineRequest[]): Promise<SequenceEvent[][]> {
  const events = requests.map(() => [] as SequenceEvent[]);
  const { promise, resolve } = Promise.withResolvers<void>();
  let left = requests.length;
  front.add(requests, (index, event) => {
    events[index]!.push(event);
    if (event.finish !== "" && --left === 0) resolve();
  });
  await promise;
  return events;
}

/** Starts a request that does not end for a while; resolves when it has its first token. */
async function runLong(front: EngineFront): Promise<number> {
  const begun = Promise.withResolvers<void>();
  const [id] = front.add([request(10, 1000)], () => begun.resolve());
  await begun.promise;
  return id!;
}

/** What was sent to the worker of one kind since the spy began. */
const sent = (spy: { mock: { calls: unknown[][] } }, type: ToWorker["type"]) =>
  spy.mock.calls.map(([message]) => message as ToWorker).filter((message) => message.type === type);

engineTest("an id is given out again only when its sequence has ended", async () => {
  const front = await start();
  const alive = await runLong(front);
  inside(front).nextId = alive - 1;
  const [next] = front.add([request(4, 1)], () => {});
  expect(next).not.toBe(alive);
  const largest = 2 ** 31 - 1;
  inside(front).nextId = largest - 1;
  const ids = front.add([request(4, 1), request(4, 1)], () => {});
  expect(ids[0]).toBe(largest);
  expect(ids[1]).toBeGreaterThanOrEqual(0);
  expect(ids[1]).toBeLessThan(largest);
});

engineTest("what has ended is not aborted: nothing is sent for it", async () => {
  const front = await start();
  await run(front, request(4, 1));
  const spy = spyOn(inside(front).worker, "postMessage");
  front.abort([1, 2, 99]);
  expect(sent(spy, "abort")).toEqual([]);
  const alive = await runLong(front);
  front.abort([99, alive]);
  expect(sent(spy, "abort")).toEqual([{ type: "abort", ids: [alive] }]);
});

engineTest("a listener that throws has its sequence ended in the engine too", async () => {
  const front = await start();
  const onWarning = () => {};
  process.on("warning", onWarning);
  const spy = spyOn(inside(front).worker, "postMessage");
  const [id] = front.add([request(10, 1000)], () => {
    throw new Error("a listener's bug");
  });
  await run(front, request(10, 30));
  process.off("warning", onWarning);
  expect(sent(spy, "abort")).toEqual([{ type: "abort", ids: [id!] }]);
  await run(front, request(4, 1));
  expect(front.stats.running).toBe(0);
  expect(front.stats.generatedTokens).toBeLessThan(500);
});

engineTest("each of several sequences gets its own news", async () => {
  const front = await start();
  await run(front, request(70, 1));
  const [silent, told] = await run(
    front,
    request(5, 3),
    request(70, 3, { prompt: request(70, 0).prompt, logprobs: 2 }),
  );
  expect(silent!.map(({ logprobs, cachedTokens }) => [logprobs, cachedTokens])).toEqual(Array(3).fill([null, null]));
  expect(told!.map(({ token, logprobs }) => [token, logprobs!.ids[0], logprobs!.topN])).toEqual(
    told!.map(({ token }) => [token, token, 2]),
  );
  expect(told!.map(({ cachedTokens }) => cachedTokens)).toEqual([64, null, null]);
  expect(told!.map(({ finish }) => finish)).toEqual(["", "", "length"]);
});

engineTest("close() is one, ends the counts of what runs, and is no failure", async () => {
  const front = await start();
  await runLong(front);
  const closing = front.close();
  expect(front.close()).toBe(closing);
  expect(front.stats).toMatchObject({ running: 0, waiting: 0, swapped: 0 });
  await closing;
  expect(front.size).toBe(0);
  const failed = await Promise.race([front.failed, Bun.sleep(20).then(() => null)]);
  expect(failed).toBeNull();
});

engineTest("a profile that can no longer be written is told of", async () => {
  const front = await start();
  const written = front.recordProfile({ engine: 0, steps: null, parts: ["never written", "never written"] }).then(
    () => "written",
    (error) => error.kind,
  );
  await front.close();
  expect(await written).toBe("unavailable");
});

engineTest("the signal of the start is let go of once the engine is there", async () => {
  const { signal } = new AbortController();
  const added = spyOn(signal, "addEventListener");
  const removed = spyOn(signal, "removeEventListener");
  await start(signal);
  expect(added.mock.calls.length).toBe(1);
  expect(removed.mock.calls.map(([type, listener]) => [type, listener])).toEqual([["abort", added.mock.calls[0]![1]]]);
});

engineTest("the start of each sequence comes with its first news, and every step tells its tokens", async () => {
  const front = await start();
  const steps: number[] = [];
  front.onStep = (tokens) => steps.push(tokens);
  const before = performance.now();
  const all = await run(front, request(70, 3), request(5, 2));
  const now = performance.now();
  for (const events of all) {
    expect(events.map((event) => event.start !== null)).toEqual(events.map((_, i) => i === 0));
    const { queuedSeconds, prefillSeconds } = events[0]!.start!;
    expect(queuedSeconds).toBeGreaterThanOrEqual(0);
    expect(prefillSeconds).toBeGreaterThan(0);
    const times = events.map(({ time }) => time);
    expect([before, ...times, now]).toEqual([before, ...times, now].toSorted((a, b) => a - b));
  }
  // Prompts, and each output but the last, which nobody computes further. The engine may run one token past an end.
  const tokens = steps.reduce((sum, step) => sum + step, 0);
  expect(steps).toHaveLength(front.stats.steps);
  expect(tokens).toBeGreaterThanOrEqual(70 + 2 + 5 + 1);
});

engineTest("tokens that were forced come as events of their own, in order, with the one that was sampled", async () => {
  const front = await start();
  const thinking = { budget: 3, isBegin: [], end: Int32Array.of(50, 51, 52), isEnd: [] };
  const [events] = await run(front, request(10, 9, { thinking }));
  expect(events!.length).toBe(9);
  expect(events!.slice(3, 6).map(({ token }) => token)).toEqual([50, 51, 52]);
  // The third token ended the budget: the end of thinking came with it.
  expect(new Set(events!.slice(2, 6).map(({ time }) => time)).size).toBe(1);
  expect(events!.map(({ finish, reason }) => [finish, reason])).toEqual([
    ...Array.from({ length: 8 }, () => ["", null]),
    ["length", null],
  ]);
});
