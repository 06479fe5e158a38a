import { expect, spyOn, test } from "bun:test";
import { MessageChannel } from "node:worker_threads";
import type { EngineCapacity } from "../engine-config.ts";
import { HOST_PAGES_PATIENCE } from "./offload/host-pages.ts";
import { FINISH, type FromWorker } from "./protocol.ts";
import type { Scheduler } from "./scheduler/scheduler.ts";
import { fakeMatcher } from "./testing/fake-grammar.ts";
import { FakeLibrary } from "./testing/fake-library.ts";
import { config, internals, prompt, request } from "./testing/scheduler-rig.ts";
import { EngineWorker, type LoadedEngine } from "./worker.ts";

/**
 * A worker over the fake library, whose host pages are what `made` says: one number a look, the last one for ever. Its steps say
 * that they ran for `runSeconds`.
 */
function workerOf(wanted: number, made: number[], runSeconds = 0) {
  const capacity = { pages: config.pages, hostPages: wanted, follows: false };
  const library = new FakeLibrary({ ...config, hostPages: wanted, vocabSize: 97 });
  const looks = { count: 0 };
  const engine: LoadedEngine = {
    load() {},
    sleep() {},
    wake() {},
    ready: () => ({}) as EngineCapacity,
    progress: () => ({ done: 1, total: 1, finished: true, hostPages: made[Math.min(looks.count++, made.length - 1)]! }),
    copyPages: (copies) => library.copy(copies),
    submit: (plan) => library.submit(plan),
    refusedSlot: -1,
    giveMask: (row, words) => library.giveMask(row, words),
    giveMaskSource: (row, _, check, source) => library.giveMatcher(row, library.matchers.get(source)!, check !== null),
    giveFollower() {},
    wait: () => ({ ...library.wait(), runSeconds }),
    traceStart() {},
    traceStop() {},
    close() {},
  };
  const { port1, port2 } = new MessageChannel();
  const messages: FromWorker[] = [];
  port1.postMessage = (message: FromWorker) => void messages.push(message);
  const worker = new EngineWorker(port1, engine, { ...config, kvBytes: 1, shape: { vocabSize: 97 } }, capacity, {
    open: (pointer) => library.openMatcher(pointer),
    fill: 1,
    check: 2,
    follow: () => {
      throw new Error("its sampler takes no grammars along");
    },
    followerFunctions: new Uint8Array(0),
  });
  const { scheduler } = worker as unknown as { scheduler: Scheduler };
  const { cache } = internals(scheduler);
  const close = () => {
    worker.wake({ type: "close" });
    port1.close();
    port2.close();
  };
  return { worker, messages, cache, looks, close, library, engine, scheduler, mail: port2 };
}

test("host pages are used as the library makes them, and looked at no more once all are there", () => {
  const { worker, messages, cache, looks, close } = workerOf(8, [2, 2, 3, 8]);
  expect([cache.hostPages, looks.count]).toEqual([2, 1]);
  worker.wake({ type: "add", requests: [request(prompt(9), 2)] });
  expect(cache.hostPages).toBeGreaterThanOrEqual(3);
  worker.wake({ type: "add", requests: [request(prompt(9), 20)] });
  expect([cache.hostPages, looks.count]).toEqual([8, 4]);
  expect(messages.some(({ type }) => type === "warning")).toBe(false);
  close();
});

test("fewer host pages than wanted are told once, as a warning", () => {
  const now = spyOn(performance, "now");
  const { worker, messages, close } = workerOf(8, [2]);
  const start = performance.now();
  for (let i = 0; i < 3; i++) {
    worker.wake({ type: "add", requests: [request(prompt(9), 2)] });
    expect(messages.filter(({ type }) => type === "warning")).toHaveLength(i === 0 ? 0 : 1);
    now.mockReturnValue(start + (i + 1) * 2 * HOST_PAGES_PATIENCE);
  }
  expect(messages.find(({ type }) => type === "warning")).toMatchObject({
    message: expect.stringContaining("gives 2"),
  });
  now.mockRestore();
  close();
});

test("matchers are given to the library by their pointers, and freed: also those that come after the end", () => {
  const { worker, messages, close, library } = workerOf(0, [0]);
  const grammar = {
    states: [
      {
        next: new Map([
          [5, 1],
          [6, 1],
        ]),
      },
      { next: new Map(), stopped: true },
    ],
    stopIds: [3],
  };
  const one = () => request(prompt(9), 20, { grammar: { matcher: fakeMatcher(grammar), after: [] } });
  worker.wake({ type: "add", requests: [one(), one()] });
  const ends = messages.flatMap((message) => (message.type === "step" ? [...message.finish] : []));
  expect(ends.filter((end) => end !== 0).map((end) => FINISH[end])).toEqual(["stop", "stop"]);
  close();
  worker.wake({ type: "add", requests: [one()] });
  expect([...library.matchers.values()].map(({ freed }) => freed)).toEqual([true, true, true]);
});

const endless = { states: [{ next: new Map([5, 6, 7].map((id) => [id, 0])) }], stopIds: [3] };
const early = () => request(prompt(9), 4, { grammar: { matcher: null, after: [] } });

test("a matcher that comes while its step runs is in time for that step", () => {
  const { worker, messages, close, library, engine, mail } = workerOf(0, [0], 0.05);
  worker.wake({ type: "add", requests: [request(prompt(9, 1), 1)] });
  const one = early();
  const { submit } = engine;
  engine.submit = (plan) => {
    submit(plan);
    engine.submit = submit;
    mail.postMessage({ type: "matchers", ids: [one.id], matchers: [fakeMatcher(endless)] });
  };
  worker.wake({ type: "add", requests: [one] });
  // The first step was the other request's.
  expect(messages.at(-1)).toMatchObject({ type: "step", stats: { steps: 1 + 4 } });
  expect(library.computedTokens).toBe(9 + 9 + 3);
  close();
});

test("nothing runs while all wait for their grammars, and a matcher that comes lets its sequence go on", () => {
  const { worker, messages, close, scheduler, library } = workerOf(0, [0]);
  const [one, other] = [early(), early()];
  worker.wake({ type: "add", requests: [one, other] });
  expect([scheduler.aliveCount, scheduler.activeCount]).toEqual([2, 0]);
  const ids = [one.id, other.id];
  worker.wake({ type: "matchers", ids, matchers: [fakeMatcher(endless), fakeMatcher(endless)] });
  expect(scheduler.aliveCount).toBe(0);
  const finish = messages.flatMap((message) => (message.type === "step" ? [...message.finish] : []));
  expect(finish.filter((end) => end !== 0).map((end) => FINISH[end])).toEqual(["length", "length"]);
  // One that comes for a sequence that has ended, or after the end of all, is freed.
  worker.wake({ type: "matchers", ids: [one.id], matchers: [fakeMatcher(endless)] });
  close();
  worker.wake({ type: "matchers", ids: [one.id], matchers: [fakeMatcher(endless)] });
  expect([...library.matchers.values()].map(({ freed }) => freed)).toEqual([true, true, true, true]);
});

test("a grammar that is compiled while generation is held is kept for what is held, computed again or not", () => {
  for (const clearCache of [false, true]) {
    const { worker, messages, close, library, scheduler } = workerOf(0, [0]);
    const one = early();
    worker.wake({ type: "add", requests: [one] });
    worker.wake({ type: "command", id: 1, command: { type: "hold", mode: "keep", clearCache } });
    expect(messages.at(-1)).toMatchObject({ type: "done", id: 1, error: null });
    worker.wake({ type: "matchers", ids: [one.id], matchers: [fakeMatcher(endless)] });
    expect(scheduler.aliveCount).toBe(1);
    const before = library.computedTokens;
    worker.wake({ type: "command", id: 2, command: { type: "release" } });
    expect(scheduler.aliveCount).toBe(0);
    // Its last prompt token at least, for the logits; and what it samples but the last token.
    expect(library.computedTokens - before).toBe(9 + 3);
    close();
    expect([...library.matchers.values()].map(({ freed }) => freed)).toEqual([true]);
  }
});

test("mode wait waits for what awaits its grammar, and abort ends it", () => {
  const { worker, messages, close } = workerOf(0, [0]);
  const [one, other] = [early(), early()];
  const answers = () => messages.flatMap((message) => (message.type === "done" ? [message.id] : []));
  worker.wake({ type: "add", requests: [one] });
  worker.wake({ type: "command", id: 1, command: { type: "hold", mode: "wait", clearCache: true } });
  worker.wake({ type: "add", requests: [other] });
  expect(answers()).toEqual([]);
  worker.wake({ type: "matchers", ids: [one.id], matchers: [fakeMatcher(endless)] });
  expect(answers()).toEqual([1]);
  worker.wake({ type: "command", id: 2, command: { type: "hold", mode: "abort", clearCache: true } });
  const ends = messages.flatMap((message) =>
    message.type === "step" ? [...message.requestIds].map((id, i) => [id, FINISH[message.finish[i]!]]) : [],
  );
  expect(ends.filter(([, finish]) => finish !== "")).toEqual([
    [one.id, "length"],
    [other.id, "abort"],
  ]);
  close();
});
