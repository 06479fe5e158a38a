/** What the engine tells of time and of steps, measured with a clock that a test turns. */
import { expect, test } from "bun:test";
import { StepPlan } from "../../ffi/step-plan.ts";
import { NO_LATE_MASKS } from "../masks/late-masks.ts";
import type { EngineRequest, EngineStats, SequenceStart } from "../protocol.ts";
import { Scheduler } from "../scheduler/scheduler.ts";
import { FakeLibrary } from "../testing/fake-library.ts";
import { greedyRequest } from "../testing/scheduler-rig.ts";

const CONFIG = {
  maxSeqs: 2,
  maxStepTokens: 64,
  maxContext: 512,
  pages: 16,
  hostPages: 0,
  prefixCaching: true,
  vocabSize: 50,
};
/** Milliseconds that each step takes. */
const STEP = 100;

/** A scheduler whose clock moves with each step, and what it told of each request's start. */
function start(...requests: EngineRequest[]) {
  let now = 5000;
  const scheduler = new Scheduler(CONFIG, NO_LATE_MASKS, () => now);
  const library = new FakeLibrary(CONFIG);
  const plan = new StepPlan(CONFIG.maxSeqs, CONFIG.maxStepTokens);
  const starts = new Map<number, SequenceStart[]>(requests.map(({ id }) => [id, []]));
  const stats: EngineStats[] = [];
  for (const one of requests) scheduler.add(one);
  const step = () => {
    // One step in flight at a time, so that it is plain what waits for what.
    if (scheduler.plan(plan)) library.submit(plan);
    now += STEP;
    if (scheduler.stepsInFlight > 0) scheduler.commit(library.wait());
    const message = scheduler.takeMessage();
    for (const [entry, told] of message.starts ?? []) starts.get(message.requestIds[entry]!)!.push(told);
    stats.push(message.stats);
  };
  const finish = () => {
    for (let i = 0; i < 1000 && scheduler.aliveCount > 0; i++) step();
    expect(scheduler.aliveCount).toBe(0);
  };
  return { scheduler, library, starts, stats, step, finish, wait: (ms: number) => (now += ms) };
}

test("who gets a slot at once has not waited; who waits for one has, as long as it took", () => {
  // Two slots: the third waits until the first has its three tokens.
  const { starts, finish } = start(greedyRequest(1, 10, 3), greedyRequest(2, 10, 20), greedyRequest(3, 10, 1));
  finish();
  expect(starts.get(1)).toEqual([{ queuedSeconds: 0, prefillSeconds: 0.1 }]);
  expect(starts.get(2)).toEqual([{ queuedSeconds: 0, prefillSeconds: 0.1 }]);
  expect(starts.get(3)).toEqual([{ queuedSeconds: 0.3, prefillSeconds: 0.1 }]);
});

test("a prompt of several chunks takes as many steps; time before the engine looks counts as waiting", () => {
  const { starts, finish, wait } = start(greedyRequest(1, 64 * 3, 2));
  wait(250);
  finish();
  expect(starts.get(1)).toEqual([{ queuedSeconds: 0.25, prefillSeconds: 0.3 }]);
});

test("a sequence that waits again after it has begun is told of once", () => {
  const { scheduler, starts, step, finish, wait } = start(greedyRequest(1, 10, 5));
  step();
  scheduler.pause(1);
  wait(10_000);
  scheduler.resume(1);
  finish();
  expect(starts.get(1)).toEqual([{ queuedSeconds: 0, prefillSeconds: 0.1 }]);
});

test("who ends before it begins is not told of, and who has nothing to compute has waited for nothing", () => {
  const { scheduler, starts, step, finish } = start(
    greedyRequest(1, 10, 50),
    greedyRequest(2, 10, 50),
    greedyRequest(3, 10, 1),
  );
  step();
  scheduler.abort(3);
  scheduler.add({ ...greedyRequest(4, 1, 0), promptLogprobs: 0 });
  starts.set(4, []);
  finish();
  expect(starts.get(3)).toEqual([]);
  expect(starts.get(4)).toEqual([{ queuedSeconds: 0, prefillSeconds: 0 }]);
});

test("every step tells its tokens, which add up to what was computed; totals never fall", () => {
  const { library, stats, finish } = start(greedyRequest(1, 100, 7), greedyRequest(2, 3, 30), greedyRequest(3, 150, 2));
  finish();
  let sum = 0;
  let before = { steps: 0 } as EngineStats;
  for (const now of stats) {
    if (now.steps > before.steps) sum += now.stepTokens;
    for (const name of ["steps", "promptTokens", "generatedTokens", "prefixQueriedTokens", "preemptions"] as const) {
      expect(now[name]).toBeGreaterThanOrEqual(before[name] ?? 0);
    }
    before = now;
  }
  expect(sum).toBe(library.computedTokens);
  expect(before.generatedTokens).toBe(39);
});
