/** Sequences that pause: who gets their slots, and how they go on. That their output stays the same: scheduler.test.ts. */
import { expect, test } from "bun:test";
import { FG } from "../../ffi/layout.ts";
import { StepPlan } from "../../ffi/step-plan.ts";
import { PAGE_TOKENS } from "../pages/page-cache.ts";
import { type EngineRequest, FINISH } from "../protocol.ts";
import { Scheduler } from "../scheduler/scheduler.ts";
import { FakeLibrary } from "../testing/fake-library.ts";
import { greedyRequest } from "../testing/scheduler-rig.ts";

const LIMITS = { maxSeqs: 1, maxStepTokens: 128, maxContext: 640, pages: 12, hostPages: 3 };
const CONFIG = { ...LIMITS, prefixCaching: true, vocabSize: 50 };

/** A scheduler with its library; `run` takes steps until nothing runs, or `steps` of them. */
function start(...requests: EngineRequest[]) {
  const library = new FakeLibrary(CONFIG);
  const scheduler = new Scheduler(CONFIG, library);
  const plan = new StepPlan(CONFIG.maxSeqs, CONFIG.maxStepTokens);
  const tokens = new Map(requests.map(({ id }) => [id, 0]));
  const ends = new Map<number, string>();
  for (const one of requests) scheduler.add(one);
  const run = (steps = 1000) => {
    for (let i = 0; i < steps; i++) {
      while (scheduler.stepsInFlight < FG.STEPS_IN_FLIGHT && scheduler.plan(plan)) library.submit(plan);
      if (scheduler.stepsInFlight > 0) scheduler.commit(library.wait());
      const message = scheduler.takeMessage();
      for (const [at, id] of message.requestIds.entries()) {
        if (message.tokens[at]! >= 0) tokens.set(id, tokens.get(id)! + 1);
        if (message.finish[at] !== 0) ends.set(id, FINISH[message.finish[at]!]!);
      }
      if (scheduler.stepsInFlight === 0 && scheduler.activeCount === 0) return;
    }
  };
  return { scheduler, library, tokens, ends, run };
}

test("a paused sequence gives its slot to others, and goes on from its cached pages", () => {
  const { scheduler, library, tokens, ends, run } = start(greedyRequest(1, 150, 100), greedyRequest(2, 70, 20));
  run(10);
  scheduler.pause(1);
  scheduler.pause(1);
  scheduler.resume(2);
  const had = tokens.get(1)!;
  run();
  expect([...ends]).toEqual([[2, "length"]]);
  // What was already being computed is kept; then nothing comes.
  expect(tokens.get(1)!).toBeLessThanOrEqual(had + FG.STEPS_IN_FLIGHT);
  expect(scheduler.stats()).toMatchObject({ running: 0, waiting: 0, swapped: 0, paused: 1 });
  expect([scheduler.aliveCount, scheduler.activeCount]).toEqual([1, 0]);
  const before = library.computedTokens;
  scheduler.resume(1);
  run();
  expect([tokens.get(1), ends.get(1)]).toEqual([100, "length"]);
  // At most the page that was not full is computed again.
  expect(library.computedTokens - before).toBeLessThan(100 - had + PAGE_TOKENS);
});

test("paused sequences can be ended, and those that wait can pause", () => {
  const { scheduler, ends, run } = start(greedyRequest(1, 20, 50), greedyRequest(2, 20, 50), greedyRequest(3, 20, 50));
  run(1);
  for (const id of [1, 2, 3]) scheduler.pause(id);
  scheduler.abort(1);
  for (const id of [1, 2]) scheduler.resume(id);
  run();
  expect(Object.fromEntries(ends)).toEqual({ 1: "abort", 2: "length" });
  expect(scheduler.stats()).toMatchObject({ running: 0, waiting: 0, swapped: 0, paused: 1 });
  scheduler.resume(3);
  run();
  expect(ends.get(3)).toBe("length");
});
