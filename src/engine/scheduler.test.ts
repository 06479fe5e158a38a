/** The scheduler against the fake library: whatever is thrown at it, each sequence ends with what it would say alone. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { GREEDY } from "../engine-config.ts";
import { FastgenError } from "../errors.ts";
import { FG } from "../ffi/layout.ts";
import { StepPlan } from "../ffi/step-plan.ts";
import {
  expectedLogprob,
  expectedOutput,
  expectedPromptLogprobs,
  type FakeConfig,
  FakeLibrary,
} from "./fake-library.ts";
import type { OutputEstimate } from "./output-estimate.ts";
import { PAGE_TOKENS, type PageCache } from "./page-cache.ts";
import { type EngineRequest, FINISH, type StepMessage, type TokenLogprobs } from "./protocol.ts";
import { Scheduler, type SchedulerConfig } from "./scheduler.ts";
import type { Sequence } from "./sequence.ts";
import { STEP_TILE, WORTH_A_TILE } from "./step-size.ts";

const VOCAB = 50;

interface Received {
  request: EngineRequest;
  tokens: number[];
  logprobs: (TokenLogprobs | null)[];
  promptLogprobs: TokenLogprobs | null;
  cachedTokens: number;
  finish: string;
  error: string | null;
  /** Number of the commit that ended it. */
  endedAt: number;
}

/** A scheduler and a fake library driven as the worker drives the real ones. */
class Rig {
  readonly scheduler: Scheduler;
  readonly library: FakeLibrary;
  readonly received = new Map<number, Received>();
  readonly plan: StepPlan;
  commits = 0;
  maxRunning = 0;

  constructor(
    readonly config: SchedulerConfig,
    readonly depth = FG.STEPS_IN_FLIGHT as number,
  ) {
    const fake: FakeConfig = { ...config, vocabSize: VOCAB };
    this.scheduler = new Scheduler(config);
    this.library = new FakeLibrary(fake);
    this.plan = new StepPlan(config.maxSeqs, config.maxStepTokens);
  }

  add(...requests: EngineRequest[]): void {
    for (const request of requests) {
      this.received.set(request.id, {
        request,
        tokens: [],
        logprobs: [],
        promptLogprobs: null,
        cachedTokens: 0,
        finish: "",
        error: null,
        endedAt: -1,
      });
      this.scheduler.add(request);
    }
  }

  /** One turn of the worker's loop; false when nothing is left to do. */
  step(fail: FastgenError | null = null): boolean {
    const { scheduler } = this;
    while (scheduler.stepsOut < this.depth && scheduler.plan(this.plan)) this.library.submit(this.plan);
    this.checkConsistency();
    if (scheduler.stepsOut === 0) {
      this.take(scheduler.takeMessage());
      return scheduler.aliveCount > 0;
    }
    const result = this.library.wait();
    scheduler.commit(fail ?? result);
    this.commits++;
    this.take(scheduler.takeMessage());
    this.checkConsistency();
    return true;
  }

  finish(limit = 20_000): void {
    let idle = 0;
    for (let i = 0; i < limit; i++) {
      const before = this.commits;
      if (!this.step()) return;
      idle = this.commits === before ? idle + 1 : 0;
      if (idle > 2) throw new Error("sequences wait and none can run");
    }
    throw new Error(`not finished after ${limit} steps`);
  }

  private take(message: StepMessage): void {
    expect(new Set(message.requestIds).size).toBe(message.requestIds.length);
    this.maxRunning = Math.max(this.maxRunning, message.stats.running);
    for (const [i, id] of message.requestIds.entries()) {
      const got = this.received.get(id)!;
      if (got.finish !== "") throw new Error(`request ${id} got news after its end`);
      if (message.tokens[i]! >= 0) {
        got.tokens.push(message.tokens[i]!);
        got.logprobs.push(message.logprobs?.get(i) ?? null);
      }
      got.promptLogprobs = message.promptLogprobs?.get(i) ?? got.promptLogprobs;
      got.cachedTokens = message.cachedTokens?.get(i) ?? got.cachedTokens;
      got.finish = FINISH[message.finish[i]!]!;
      got.error = message.errors?.get(i)?.message ?? null;
      if (got.finish !== "") got.endedAt = this.commits;
    }
  }

  /** Reference counts are those of the running sequences' page lists; slots are used once; nothing is lost. */
  checkConsistency(): void {
    const { cache, running, waiting, freeSlots, computing } = internals(this.scheduler);
    const refs = new Int32Array(cache.pages);
    for (const seq of running) {
      for (const page of seq.pages) refs[page]!++;
      for (const [i, node] of seq.nodes.entries()) {
        if (node.page !== seq.pages[i]) throw new Error("a sequence's node is on another page");
      }
    }
    if (!same(refs, cache.refs)) throw new Error("reference counts are wrong");
    const unreferenced = refs.reduce((count, n) => count + (n === 0 ? 1 : 0), 0);
    if (unreferenced !== cache.available) throw new Error("a page is lost, or free twice");
    const slots = new Set([...freeSlots, ...running.map((seq) => seq.slot)]);
    if (slots.size !== this.config.maxSeqs) throw new Error("a slot is lost, or used twice");
    for (let i = 1; i < running.length; i++) {
      if (running[i - 1]!.arrival >= running[i]!.arrival) throw new Error("running sequences are out of order");
    }
    if (waiting.some((seq) => seq.pages.length > 0)) throw new Error("a waiting sequence holds pages");
    for (const seq of computing.values()) {
      if (seq.state !== "running") throw new Error("a page is awaited from a sequence that does not run");
    }
  }

  /** All pages are free or cached, and every result is what the sequence gives alone. */
  checkEnd(): void {
    const { cache, freeSlots } = internals(this.scheduler);
    expect(cache.available).toBe(cache.pages);
    expect(freeSlots.length).toBe(this.config.maxSeqs);
    expect(this.scheduler.stats()).toMatchObject({ running: 0, waiting: 0, swapped: 0, paused: 0 });
    if (!this.config.prefixCaching) {
      expect([cache.empty, cache.emptyHost]).toEqual([cache.pages, cache.hostPages]);
    }
    for (const got of this.received.values()) {
      const { request } = got;
      const alone = expectedOutput(request, VOCAB);
      if (got.finish === "abort" || got.finish === "error") {
        expect(got.tokens).toEqual(alone.tokens.slice(0, got.tokens.length));
        continue;
      }
      expect({ tokens: got.tokens, finish: got.finish }).toEqual(alone);
      if (request.logprobs >= 0) checkLogprobs(got);
      else expect(got.logprobs.every((one) => one === null)).toBe(true);
      if (request.promptLogprobs >= 0) {
        const { ids, logprobs } = got.promptLogprobs!;
        expect({ ids: [...ids], logprobs: [...logprobs] }).toEqual(expectedPromptLogprobs(request));
      }
    }
  }
}

function checkLogprobs({ request, tokens, logprobs }: Received): void {
  for (const [i, token] of tokens.entries()) {
    const one = logprobs[i]!;
    expect([...one.ids, ...one.logprobs]).toEqual([token, expectedLogprob(token, request.prompt.length + i)]);
    expect([...one.topIds]).toEqual(Array.from({ length: request.logprobs }, (_, n) => token + n));
  }
}

interface Internals {
  cache: PageCache;
  running: Sequence[];
  waiting: Sequence[];
  freeSlots: number[];
  computing: Map<bigint, Sequence>;
  estimate: OutputEstimate;
}

/** The invariants are about what is inside; no caller needs to see it. */
function internals(scheduler: Scheduler): Internals {
  return scheduler as unknown as Internals;
}

function same(a: Int32Array, b: Int32Array): boolean {
  return a.every((value, i) => value === b[i]);
}

let lastId = 0;

function request(prompt: ArrayLike<number>, maxTokens: number, more: Partial<EngineRequest> = {}): EngineRequest {
  return {
    id: ++lastId,
    prompt: Int32Array.from(prompt),
    sampling: { ...GREEDY, temperature: 1 },
    maxTokens,
    minTokens: 0,
    stopIds: new Int32Array(0),
    logprobs: -1,
    promptLogprobs: -1,
    ...more,
  };
}

/** Tokens that differ by `flavour`. */
function prompt(length: number, flavour = 0): number[] {
  return Array.from({ length }, (_, i) => (i * 7 + flavour * 13 + (i >> 3)) % VOCAB);
}

const config: SchedulerConfig = {
  maxSeqs: 8,
  maxStepTokens: 128,
  maxContext: 640,
  pages: 40,
  hostPages: 0,
  prefixCaching: true,
};

// Properties

const arrivals = fc.record({
  /** Step before which it arrives. */
  at: fc.nat(30),
  flavour: fc.nat(2),
  shared: fc.integer({ min: 0, max: 260 }),
  own: fc.integer({ min: 1, max: 150 }),
  maxTokens: fc.integer({ min: 0, max: 200 }),
  minTokens: fc.nat(20),
  stops: fc.nat(2),
  seed: fc.nat(3),
  penalty: fc.boolean(),
  logprobs: fc.constantFrom(-1, -1, 0, 2),
  promptLogprobs: fc.constantFrom(-1, -1, -1, 0, 2),
  choices: fc.constantFrom(1, 1, 1, 3),
  /** Steps after its arrival at which it is cancelled; 0 = never. */
  abortAfter: fc.oneof(fc.constant(0), fc.constant(0), fc.integer({ min: 1, max: 40 })),
  /** Steps after its arrival at which it pauses, 0 = never, and for how many. */
  pauseAfter: fc.oneof(fc.constant(0), fc.constant(0), fc.integer({ min: 1, max: 40 })),
  pausedFor: fc.nat(20),
});

type Arrival = typeof arrivals extends fc.Arbitrary<infer T> ? T : never;

const settings = fc.record({
  maxSeqs: fc.integer({ min: 1, max: 10 }),
  extraTokens: fc.oneof(fc.nat(4), fc.nat(200)),
  spare: fc.integer({ min: 0, max: 20 }),
  hostPages: fc.constantFrom(0, 0, 3, 12),
  prefixCaching: fc.boolean(),
  depth: fc.constantFrom(1, 2, 2),
  /** Outputs that admission expects beyond those there are; 0 = its own estimate, which is never too low here. */
  shortSight: fc.constantFrom(0, 1, 1, 10, 60),
});

function build(arrival: Arrival): EngineRequest[] {
  const tokens = [
    ...prompt(arrival.shared, arrival.flavour),
    ...prompt(arrival.own, arrival.flavour + 5 + arrival.seed),
  ];
  const scoring = arrival.maxTokens === 0;
  return Array.from({ length: arrival.choices }, (_, choice) => {
    const made = request(tokens, arrival.maxTokens, {
      minTokens: Math.min(arrival.minTokens, arrival.maxTokens),
      stopIds: Int32Array.from({ length: arrival.stops }, (_, i) => 3 + 11 * i),
      logprobs: arrival.logprobs,
      promptLogprobs: scoring ? Math.max(0, arrival.promptLogprobs) : arrival.promptLogprobs,
    });
    made.sampling.seed = BigInt(arrival.seed + choice);
    if (arrival.penalty) made.sampling.presencePenalty = 1;
    return made;
  });
}

function play(arrivals: Arrival[], rig: Rig): void {
  const events = new Map<number, (() => void)[]>();
  const at = (step: number, event: () => void) => events.set(step, [...(events.get(step) ?? []), event]);
  for (const arrival of arrivals) {
    const made = build(arrival);
    at(arrival.at, () => rig.add(...made));
    if (arrival.abortAfter > 0) {
      for (const { id } of made) at(arrival.at + arrival.abortAfter, () => rig.scheduler.abort(id));
    }
    if (arrival.pauseAfter > 0) {
      const from = arrival.at + arrival.pauseAfter;
      for (const { id } of made) {
        at(from, () => rig.scheduler.pause(id));
        at(from + arrival.pausedFor, () => rig.scheduler.resume(id));
      }
    }
  }
  const last = Math.max(0, ...events.keys());
  for (let step = 0; step <= last; step++) {
    for (const event of events.get(step) ?? []) event();
    rig.step();
  }
  rig.finish();
}

function rigFor(s: typeof settings extends fc.Arbitrary<infer T> ? T : never): Rig {
  const rig = new Rig(
    {
      maxSeqs: s.maxSeqs,
      maxStepTokens: s.maxSeqs + s.extraTokens,
      maxContext: 640,
      pages: 10 + s.spare,
      hostPages: s.hostPages,
      prefixCaching: s.prefixCaching,
    },
    s.depth,
  );
  if (s.shortSight > 0) expectTooLittle(rig.scheduler, s.shortSight);
  return rig;
}

/** Makes admission look ahead by only so many tokens: it then admits too many, and pages run out. */
function expectTooLittle(scheduler: Scheduler, outputs: number): void {
  internals(scheduler).estimate.expected = (maxTokens, soFar) => Math.min(maxTokens, soFar + outputs);
}

test("every sequence ends with what it gives alone, whatever runs beside it", () => {
  let preemptions = 0;
  let copies = 0;
  let hits = 0;
  fc.assert(
    fc.property(fc.array(arrivals, { minLength: 1, maxLength: 30, size: "max" }), settings, (list, s) => {
      const rig = rigFor(s);
      play(list, rig);
      rig.checkEnd();
      const stats = rig.scheduler.stats();
      preemptions += stats.preemptions;
      copies += rig.library.pagesReturned;
      hits += stats.prefixHitTokens;
    }),
    { numRuns: 120 },
  );
  // The cases that matter did occur.
  expect(Math.min(preemptions, copies, hits)).toBeGreaterThan(0);
}, 60_000);

// One thing at a time

test("ends known beforehand cost no extra step; an end found late drops the token after it", () => {
  const rig = new Rig(config);
  const known = request(prompt(70), 9);
  rig.add(known);
  rig.finish();
  // The last token sampled is never computed.
  expect(rig.library.computedTokens).toBe(70 + 8);
  const { tokens } = expectedOutput(known, VOCAB);
  const late = request(prompt(70), 9, { stopIds: Int32Array.of(tokens[4]!) });
  const length = tokens.indexOf(tokens[4]!) + 1;
  const before = rig.library.computedTokens;
  rig.add(late);
  rig.finish();
  expect(rig.received.get(late.id)!.tokens).toEqual(tokens.slice(0, length));
  expect(rig.library.computedTokens - before).toBe(70 - PAGE_TOKENS + length);
  rig.checkEnd();
});

test("a prefix is computed once, also when all who share it come together", () => {
  const rig = new Rig({ ...config, maxStepTokens: 512 });
  rig.add(request([...prompt(300), 1], 4), request([...prompt(300), 2], 4), request([...prompt(300), 3], 4));
  rig.finish();
  rig.checkEnd();
  const cached = [...rig.received.values()].map((got) => got.cachedTokens);
  expect(cached).toEqual([0, 256, 256]);
  expect(rig.library.computedTokens).toBe(301 + 2 * (301 - 256) + 3 * 3);
  // A whole prompt in the cache still leaves a token to compute.
  const again = request(prompt(256), 2);
  rig.add(again);
  rig.finish();
  rig.checkEnd();
  expect(rig.received.get(again.id)!.cachedTokens).toBe(192);
});

test("without prefix caching nothing is shared and nothing is kept", () => {
  const rig = new Rig({ ...config, prefixCaching: false });
  rig.add(request(prompt(200), 3), request(prompt(200), 3));
  rig.finish();
  rig.checkEnd();
  expect(rig.library.computedTokens).toBe(2 * 202);
  expect(rig.scheduler.stats()).toMatchObject({ prefixQueriedTokens: 0, prefixHitTokens: 0, pagesUsed: 0 });
});

test("an aborted sequence frees its pages and slot for the next step, in whatever state it is", () => {
  const rig = new Rig({ ...config, maxSeqs: 1, prefixCaching: false });
  const prefilling = request(prompt(400), 5);
  const waiting = request(prompt(10, 1), 5);
  rig.add(prefilling, waiting);
  rig.step();
  rig.scheduler.abort(waiting.id);
  rig.scheduler.abort(prefilling.id);
  expect(internals(rig.scheduler).cache.empty).toBe(config.pages);
  const decoding = request(prompt(100, 2), 50);
  rig.add(decoding);
  for (let i = 0; i < 6; i++) rig.step();
  expect(rig.received.get(decoding.id)!.tokens.length).toBeGreaterThan(1);
  rig.scheduler.abort(decoding.id);
  rig.scheduler.abort(decoding.id);
  rig.scheduler.abort(12345678);
  expect(internals(rig.scheduler).cache.empty).toBe(config.pages);
  rig.finish();
  rig.checkEnd();
  expect([...rig.received.values()].map((got) => got.finish)).toEqual(["abort", "abort", "abort"]);
});

test("pages swapped to the host come back instead of being computed again", () => {
  const compute = (hostPages: number) => {
    const rig = new Rig({ ...config, maxSeqs: 4, maxContext: 640, pages: 12, hostPages });
    expectTooLittle(rig.scheduler, 1);
    rig.add(request(prompt(190, 1), 250), request(prompt(190, 2), 250), request(prompt(190, 3), 250));
    rig.finish();
    rig.checkEnd();
    expect(rig.scheduler.stats().preemptions).toBeGreaterThan(0);
    return rig.library;
  };
  const recomputing = compute(0);
  const swapping = compute(24);
  expect(swapping.pagesReturned).toBeGreaterThan(0);
  // Only what did not fill a page is computed twice.
  expect(swapping.computedTokens).toBeLessThan(recomputing.computedTokens);
  expect(swapping.computedTokens).toBeLessThan(3 * (190 + 249) + 20 * PAGE_TOKENS);
});

test("a long prompt lets others pass, but never stands still", () => {
  const rig = new Rig({ ...config, maxSeqs: 6, maxStepTokens: 64, maxContext: 1300, pages: 120 });
  const long = request(prompt(1200, 9), 2);
  rig.add(long);
  let flavour = 100;
  let shortEnd = -1;
  while (rig.received.get(long.id)!.finish === "") {
    // Newcomers without end: more than the budget could serve.
    for (let i = 0; i < 2; i++) rig.add(request(prompt(40, ++flavour), 2));
    rig.step();
    shortEnd = Math.max(shortEnd, ...[...rig.received.values()].map((got) => got.endedAt));
    // Half of what decoding leaves (at most 6 of 64) belongs to the oldest prompt.
    expect(rig.commits).toBeLessThan(1200 / 29 + 10);
  }
  expect([...rig.received.values()].filter((got) => got.finish === "length").length).toBeGreaterThan(10);
  rig.finish();
  rig.checkEnd();
});

test("first come, first served", () => {
  const rig = new Rig({ ...config, maxSeqs: 3, pages: 30, prefixCaching: false });
  for (let i = 0; i < 30; i++) rig.add(request(prompt(20 + ((i * 37) % 200), i), 20));
  rig.finish();
  rig.checkEnd();
  const ends = [...rig.received.values()].map((got) => got.endedAt);
  for (let i = 3; i < ends.length; i++) expect(ends[i]!).toBeGreaterThan(ends[i - 3]!);
});

test("a step that fails ends the sequences in it and no others", () => {
  const rig = new Rig({ ...config, maxSeqs: 2 });
  const doomed = [request(prompt(30, 1), 50), request(prompt(30, 2), 50)];
  const spared = request(prompt(200, 3), 10);
  rig.add(...doomed, spared);
  rig.step();
  rig.step(new FastgenError("device", "an ECC error"));
  rig.finish();
  rig.checkEnd();
  for (const { id } of doomed) expect(rig.received.get(id)).toMatchObject({ finish: "error", error: "an ECC error" });
  expect(rig.received.get(spared.id)!.finish).toBe("length");
});

test("a sequence for which no token can be sampled ends with an error, and no other does", () => {
  const rig = new Rig(config);
  const [barren, fine] = [request(prompt(30, 1), 50), request(prompt(90, 2), 20)];
  rig.library.barrenLength = 35;
  rig.add(barren, fine);
  rig.finish();
  rig.checkEnd();
  expect(rig.received.get(barren.id)).toMatchObject({ finish: "error", error: expect.stringContaining("no token") });
  expect(rig.received.get(fine.id)!.finish).toBe("length");
});

test("a step that is refused ends the sequences in it, while the one before it still counts", () => {
  const rig = new Rig({ ...config, maxSeqs: 2 });
  const [running, spared] = [request(prompt(30, 1), 50), request(prompt(200, 2), 10)];
  const late = request(prompt(20, 3), 10);
  rig.add(running, late);
  rig.step();
  rig.add(spared);
  const before = rig.received.get(running.id)!.tokens.length;
  expect(rig.scheduler.plan(rig.plan)).toBe(true);
  rig.scheduler.dropLast(new FastgenError("internal", "no such page"));
  rig.finish();
  rig.checkEnd();
  for (const { id } of [running, late]) expect(rig.received.get(id)).toMatchObject({ error: "no such page" });
  expect(rig.received.get(spared.id)!.finish).toBe("length");
  expect(before).toBeGreaterThan(0);
});

test("requests that cannot run are refused with the reason, one by one", () => {
  const rig = new Rig(config);
  const fine = request(prompt(5), 3);
  const tooLong = request(prompt(600), 41);
  const empty = request([], 4);
  rig.add(tooLong, fine, empty);
  rig.finish();
  rig.checkEnd();
  expect(rig.received.get(tooLong.id)).toMatchObject({ finish: "error", error: expect.stringContaining("640") });
  expect(rig.received.get(empty.id)!.finish).toBe("error");
  expect(rig.received.get(fine.id)!.finish).toBe("length");
  expect(() => new Scheduler({ ...config, maxContext: 40 * PAGE_TOKENS + 1 })).toThrow("lower max_model_len");
  expect(() => new Scheduler({ ...config, maxStepTokens: 7 })).toThrow("max_num_batched_tokens");
});

test("scoring: prompt log probabilities without a token generated", () => {
  const rig = new Rig({ ...config, maxStepTokens: 50 });
  const scoring = request(prompt(130), 0, { promptLogprobs: 2 });
  const single = request(prompt(1), 0, { promptLogprobs: 0 });
  rig.add(scoring, single);
  rig.finish();
  rig.checkEnd();
  expect(rig.received.get(scoring.id)!.promptLogprobs!.topIds.length).toBe(2 * 129);
  expect(rig.received.get(single.id)!.promptLogprobs!.ids.length).toBe(0);
});

test("admission believes max_tokens: many long outputs fill the pages, and little is computed twice", () => {
  const rig = new Rig({ ...config, maxSeqs: 256, maxStepTokens: 256, maxContext: 1100, pages: 400 });
  for (let i = 0; i < 56; i++) rig.add(request(prompt(32, i), 1000));
  let peak = 0;
  while (rig.step()) peak = Math.max(peak, internals(rig.scheduler).cache.referenced);
  rig.checkEnd();
  expect(peak).toBeGreaterThan(370);
  expect(rig.library.computedTokens).toBeLessThan(1.15 * 56 * (32 + 1000));
  // 25 sequences fit at full length: 56 that start in groups that fit would need three rounds of 1000 steps.
  expect(rig.scheduler.stats().steps).toBeLessThan(2500);
});

test("where sequences end long before max_tokens, admission learns to expect that", () => {
  const rig = new Rig({ ...config, maxSeqs: 64, maxStepTokens: 256, maxContext: 2200, pages: 200 });
  // Every token is a stop id below 10: outputs are about five tokens long.
  const stopIds = Int32Array.from({ length: 10 }, (_, i) => i);
  for (let i = 0; i < 200; i++) rig.add(request(prompt(100, i), 2048, { stopIds }));
  rig.finish();
  rig.checkEnd();
  // Believing max_tokens would run 5 at a time.
  expect(rig.maxRunning).toBeGreaterThan(20);
  expect(rig.scheduler.stats().preemptions).toBe(0);
});

test("beside decodes, chunks end at a tile's edge until the last", () => {
  const rig = new Rig({ ...config, maxStepTokens: 1024, maxContext: 2048 }, 1);
  for (let i = 0; i < 3; i++) rig.add(request(prompt(10, i), 30));
  rig.step();
  rig.add(request(prompt(2000, 9), 5));
  const sizes: number[] = [];
  while (sizes.at(-1) !== 4) {
    rig.step();
    sizes.push(rig.plan.tokenCount);
  }
  const last = 2000 + 5 * 3 - (768 + 512 + 256 + 256);
  expect(sizes).toEqual([768, 512, 256, 256, last, 4]);
  rig.finish();
  rig.checkEnd();
});

/** Sequences that come together and all start in one step if admitted; the first ten end early. */
function crowd(count: number, promptLength: number, pages: number, maxSeqs: number): Rig {
  const rig = new Rig({ ...config, maxSeqs, maxStepTokens: 20_000, pages, prefixCaching: false });
  for (let i = 0; i < count; i++) rig.add(request(prompt(promptLength, i), i < 10 ? 5 : 20));
  return rig;
}

test("admission stops at a tile's edge when pages would last for only a few beyond it", () => {
  // Sequences that keep to their one page; then some that soon have two, with hardly a slot beyond the edge.
  for (const rig of [crowd(300, 8, STEP_TILE + 20, 400), crowd(300, PAGE_TOKENS, 600, STEP_TILE + 4)]) {
    const running: number[] = [];
    while (rig.step()) running.push(rig.scheduler.stats().running);
    rig.checkEnd();
    expect(rig.maxRunning).toBe(STEP_TILE);
    // Those that end early make room below the edge.
    const dip = running.indexOf(STEP_TILE - 10);
    expect(dip).toBeGreaterThan(0);
    expect(running[dip + 1]).toBe(STEP_TILE);
  }
});

test("admission passes a tile's edge when pages would last for many beyond it, however few come", () => {
  const pages = STEP_TILE + WORTH_A_TILE;
  for (const rig of [crowd(STEP_TILE + 1, 8, pages, 400), crowd(300, 8, pages, STEP_TILE + 1)]) {
    rig.finish();
    rig.checkEnd();
    expect(rig.maxRunning).toBe(STEP_TILE + 1);
  }
});
