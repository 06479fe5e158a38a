/** Order, fairness and accounts of the scheduler: who goes first, what is kept, and what is counted. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { FastgenError } from "../../errors.ts";
import { FG } from "../../ffi/layout.ts";
import { StepPlan } from "../../ffi/step-plan.ts";
import { PAGE_TOKENS } from "../pages/page-cache.ts";
import { type EngineRequest, FINISH, type StepMessage } from "../protocol.ts";
import { FakeLibrary } from "../testing/fake-library.ts";
import { type Internals, internals, prompt, request } from "../testing/scheduler-rig.ts";
import { Scheduler } from "./scheduler.ts";
import type { SchedulerConfig } from "./scheduler-config.ts";
import { STEP_TILE, WORTH_A_TILE } from "./step-size.ts";

const VOCAB = 50;

const config: SchedulerConfig = {
  maxSeqs: 8,
  maxStepTokens: 128,
  maxContext: 1280,
  pages: 40,
  hostPages: 0,
  prefixCaching: true,
  vocabSize: VOCAB,
};

/** A scheduler driven as the worker drives it. It checks what must hold after every plan and every message. */
class Drive {
  readonly scheduler: Scheduler;
  readonly library: FakeLibrary;
  readonly messages: StepMessage[] = [];
  /** Requests that were given a slot. */
  readonly fills = new Set<EngineRequest>();
  /** By id: how each ended. */
  readonly ends = new Map<number, string>();
  commits = 0;
  /** Times that a plan sent somebody back to the queue. */
  preempted = 0;
  private readonly plan: StepPlan;
  private readonly requests: EngineRequest[] = [];

  constructor(
    more: Partial<SchedulerConfig> = {},
    readonly depth = FG.STEPS_IN_FLIGHT as number,
  ) {
    const all = { ...config, ...more };
    this.scheduler = new Scheduler(all);
    this.library = new FakeLibrary(all);
    this.plan = new StepPlan(all.maxSeqs, all.maxStepTokens);
  }

  get inside(): Internals {
    return internals(this.scheduler);
  }

  /** Admission then looks only so many tokens ahead: it admits too many, and pages run out. */
  seeOnly(outputs: number): this {
    this.inside.estimate.expected = (maxTokens, soFar) => Math.min(maxTokens, soFar + outputs);
    return this;
  }

  add(...requests: EngineRequest[]): void {
    this.requests.push(...requests);
    for (const request of requests) this.scheduler.add(request);
  }

  /** Plans one step and submits it; false when there is none. */
  submit(): boolean {
    const before = [...this.inside.running];
    const planned = this.scheduler.plan(this.plan);
    const gone = before.filter((seq) => seq.state === "waiting").length;
    this.preempted += gone;
    // They are the youngest.
    expect(before.slice(before.length - gone).every((seq) => seq.state === "waiting")).toBe(true);
    if (!planned) return false;
    const { fills } = this.plan;
    // Pages that were just taken from the youngest are for those they were taken for. Who begins now ran before: its pages have arrived.
    const began = fills.map(({ sampling }) => before.some(({ request }) => request.sampling === sampling));
    if (gone > 0) expect(began).not.toContain(false);
    for (const fill of fills) {
      const request = this.requests.find(({ sampling }) => sampling === fill.sampling)!;
      this.fills.add(request);
      expect(fill.promptLength).toBe(request.prompt.length);
    }
    this.library.submit(this.plan);
    return true;
  }

  commit(): void {
    this.scheduler.commit(this.library.wait());
    this.commits++;
    this.take();
  }

  take(): void {
    const message = this.scheduler.takeMessage();
    this.messages.push(message);
    for (const [i, id] of message.requestIds.entries()) {
      if (message.finish[i] !== 0) this.ends.set(id, FINISH[message.finish[i]!]!);
    }
    const { running, waiting, swapped } = message.stats;
    expect(running + waiting + swapped).toBe(this.scheduler.aliveCount);
    const queue = this.inside.queue.all.map(({ arrival }) => arrival);
    expect(queue).toEqual(queue.toSorted((a, b) => a - b));
  }

  /** One turn of the worker's loop; false when nothing is left. */
  step(): boolean {
    while (this.scheduler.stepsInFlight < this.depth && this.submit());
    if (this.scheduler.stepsInFlight > 0) this.commit();
    else this.take();
    return this.scheduler.aliveCount > 0;
  }

  finish(): this {
    for (let i = 0; this.step(); i++) if (i > 20_000) throw new Error("it does not end");
    return this;
  }

  /** Values of one field of all messages, where there are any. */
  told<T>(field: (message: StepMessage) => Map<number, T> | null): T[] {
    return this.messages.flatMap((message) => [...(field(message)?.values() ?? [])]);
  }
}

test("the youngest gives pages back, keeps its place in the queue, and gets none in the same step", () => {
  const arrival = fc.record({ length: fc.integer({ min: 1, max: 200 }), maxTokens: fc.integer({ min: 1, max: 150 }) });
  const settings = fc.record({
    hostPages: fc.constantFrom(0, 4, 30),
    sight: fc.constantFrom(1, 20),
    depth: fc.constantFrom(1, 2),
    /** Steps after which somebody who waits is aborted. */
    abortAfter: fc.integer({ min: 1, max: 60 }),
  });
  let preempted = 0;
  let swapped = 0;
  fc.assert(
    fc.property(fc.array(arrival, { minLength: 6, maxLength: 16, size: "max" }), settings, (arrivals, s) => {
      const drive = new Drive({ maxSeqs: 6, maxContext: 640, pages: 12, hostPages: s.hostPages }, s.depth);
      drive.seeOnly(s.sight);
      const requests = arrivals.map(({ length, maxTokens }, i) => request(prompt(length, i), maxTokens));
      drive.add(...requests.slice(0, 5));
      for (let i = 0; i < 10; i++) drive.step();
      drive.add(...requests.slice(5));
      let promptTokens = arrivals.reduce((sum, { length }) => sum + length, 0);
      for (let i = 0; drive.step(); i++) {
        const waiting = drive.inside.queue.all;
        const back = waiting.filter(({ cachedTokens }) => cachedTokens >= 0);
        expect(drive.scheduler.stats().swapped).toBe(s.hostPages > 0 ? back.length : 0);
        swapped += back.length;
        const aborted = i % s.abortAfter === s.abortAfter - 1 ? waiting[0] : undefined;
        if (!aborted) continue;
        if (aborted.cachedTokens < 0) promptTokens -= aborted.promptLength;
        drive.scheduler.abort(aborted.request.id);
      }
      expect(drive.scheduler.stats()).toMatchObject({ running: 0, waiting: 0, swapped: 0 });
      expect(drive.scheduler.stats().preemptions).toBe(drive.preempted);
      // A prompt counts when it first begins, and no more when it comes back.
      expect(drive.scheduler.stats()).toMatchObject({ promptTokens, prefixQueriedTokens: promptTokens });
      expect(drive.ends.size).toBe(requests.length);
      preempted += drive.preempted;
    }),
    { numRuns: 150 },
  );
  expect(Math.min(preempted, swapped)).toBeGreaterThan(20);
});

test("of a prompt that is no longer used the end is forgotten before its beginning", () => {
  const drive = new Drive({ pages: 10, maxContext: 640, maxStepTokens: 640 });
  const long = prompt(6 * PAGE_TOKENS + 1, 1);
  drive.add(request(long, 1));
  drive.finish();
  // Takes the four free pages and evicts two of the six.
  drive.add(request(prompt(6 * PAGE_TOKENS - 1, 2), 1));
  drive.finish();
  drive.add(request(long, 1));
  drive.finish();
  const cached = drive.told((message) => message.cachedTokens);
  expect(cached).toHaveLength(1);
  expect(cached[0]!).toBeGreaterThanOrEqual(3 * PAGE_TOKENS);
});

test("counters count what happened", () => {
  const drive = new Drive({ maxStepTokens: 512 });
  const text = prompt(2 * PAGE_TOKENS + 10);
  drive.add(request(text, 5));
  drive.finish();
  drive.add(request(text, 7), request(prompt(PAGE_TOKENS + 3), 1), request(prompt(90, 3), 2, { promptLogprobs: 0 }));
  drive.finish();
  expect(drive.scheduler.stats()).toMatchObject({
    promptTokens: 2 * text.length + PAGE_TOKENS + 3 + 90,
    generatedTokens: 5 + 7 + 1 + 2,
    prefixQueriedTokens: 2 * text.length + PAGE_TOKENS + 3,
    prefixHitTokens: 3 * PAGE_TOKENS,
    preemptions: 0,
    steps: drive.commits,
  });
  expect(drive.scheduler.stats().steps).toBeGreaterThan(7);
});

test("cached tokens are told once, with a sequence's first news, down to a single page", () => {
  const drive = new Drive({ maxStepTokens: 512 });
  const text = prompt(2 * PAGE_TOKENS + 10);
  drive.add(request(text, 5));
  drive.finish();
  expect(drive.told((message) => message.cachedTokens)).toEqual([]);
  drive.add(request(text, 5));
  drive.finish();
  drive.add(request(prompt(PAGE_TOKENS + 1), 5));
  drive.finish();
  expect(drive.told((message) => message.cachedTokens)).toEqual([2 * PAGE_TOKENS, PAGE_TOKENS]);
});

test("a prompt that was aborted has no log probabilities", () => {
  const drive = new Drive({ maxStepTokens: 64 });
  const scoring = request(prompt(300), 5, { promptLogprobs: 1 });
  drive.add(scoring);
  drive.step();
  drive.scheduler.abort(scoring.id);
  drive.finish();
  expect(drive.ends.get(scoring.id)).toBe("abort");
  expect(drive.told((message) => message.promptLogprobs)).toEqual([]);
});

test("a step that is refused ends those in it, and not those in the one before", () => {
  const drive = new Drive();
  const [first, second] = [request(prompt(20, 1), 1), request(prompt(20, 2), 5)];
  drive.add(first);
  drive.submit();
  drive.add(second);
  const plan = new StepPlan(config.maxSeqs, config.maxStepTokens);
  expect(drive.scheduler.plan(plan)).toBe(true);
  drive.scheduler.refuse(plan, -1, new FastgenError("internal", "refused"));
  drive.commit();
  drive.finish();
  expect([drive.ends.get(first.id), drive.ends.get(second.id)]).toEqual(["length", "error"]);
});

test("what was aborted says nothing of how long outputs are", () => {
  const drive = new Drive();
  const { estimate } = drive.inside;
  const before = estimate.expected(600, 0);
  for (let i = 0; i < 40; i++) {
    const one = request(prompt(10, i), 600);
    drive.add(one);
    drive.step();
    drive.step();
    drive.scheduler.abort(one.id);
  }
  drive.finish();
  expect([...drive.ends.values()].filter((end) => end === "abort")).toHaveLength(40);
  expect(estimate.expected(600, 0)).toBe(before);
  for (let i = 0; i < 40; i++)
    drive.add(request(prompt(10, i), 600, { stopIds: Int32Array.from({ length: VOCAB }, (_, id) => id) }));
  drive.finish();
  expect(estimate.expected(600, 0)).toBeLessThan(before);
});

test("running out of pages makes admission careful", () => {
  const drive = new Drive({ maxSeqs: 4, maxContext: 640, pages: 10 });
  const { estimate } = drive.inside;
  const expected = estimate.expected.bind(estimate);
  drive.seeOnly(1);
  const before = expected(1_000_000, 0);
  drive.add(request(prompt(150, 1), 250), request(prompt(150, 2), 250), request(prompt(150, 3), 250));
  drive.finish();
  expect(drive.scheduler.stats().preemptions).toBeGreaterThan(0);
  expect(expected(1_000_000, 0)).toBeGreaterThan(before);
});

test("one that has long been running is asked for its future pages before another starts", () => {
  const drive = new Drive({ maxStepTokens: 256, pages: 20 });
  drive.add(request(prompt(60, 1), 900));
  for (let i = 0; i < 200; i++) drive.step();
  const late = request(prompt(60, 2), 900);
  drive.add(late);
  for (let i = 0; i < 20; i++) drive.step();
  // There are pages for its start, and none for both of them later on.
  expect(drive.fills.has(late)).toBe(false);
  drive.finish();
  expect(drive.ends.get(late.id)).toBe("length");
});

test("pages that others share do not come free at the first one's end", () => {
  const drive = new Drive({ maxStepTokens: 1024, pages: 22, prefixCaching: true });
  const shared = prompt(10 * PAGE_TOKENS, 1);
  drive.add(request([...shared, 1], 3));
  drive.finish();
  const [short, long] = [request([...shared, 2, 2], 200), request([...shared, 3, 3, 3], 590)];
  drive.add(short, long);
  // Past the outputs in which a sequence counts as young, which keeps others out by itself.
  for (let i = 0; i < 150; i++) drive.step();
  expect(drive.scheduler.stats().running).toBe(2);
  const late = request(prompt(60, 9), 640);
  drive.add(late);
  for (let i = 0; i < 10; i++) drive.step();
  expect(drive.ends.has(short.id)).toBe(false);
  expect(drive.fills.has(late)).toBe(false);
  drive.finish();
  expect(drive.ends.get(late.id)).toBe("length");
});

test("pages of its own that a sequence is about to give back are counted on", () => {
  const drive = new Drive({ maxStepTokens: 1024, maxContext: 1000, pages: 16 });
  const short = request(prompt(8 * PAGE_TOKENS, 1), 60);
  drive.add(short);
  for (let i = 0; i < 5; i++) drive.step();
  const long = request(prompt(60, 2), 640);
  drive.add(long);
  for (let i = 0; i < 10; i++) drive.step();
  // The second did not have to wait for the first one's end.
  expect(drive.ends.has(short.id)).toBe(false);
  expect(drive.fills.has(long)).toBe(true);
  drive.finish();
  expect(drive.scheduler.stats().preemptions).toBe(0);
});

test("sequences that were only imagined, to judge a tile, do not keep others out", () => {
  const count = STEP_TILE + WORTH_A_TILE;
  const drive = new Drive({ maxSeqs: 400, maxStepTokens: 30_000, pages: 2 * count, prefixCaching: false });
  for (let i = 0; i < count; i++) drive.add(request(prompt(PAGE_TOKENS, i), 20));
  drive.submit();
  expect(drive.fills.size).toBe(count);
  drive.commit();
  drive.finish();
  expect(drive.scheduler.stats().preemptions).toBe(0);
});
