/** The scheduler against the fake library: whatever is thrown at it, each sequence generates what it would generate alone. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { GREEDY } from "../../engine-config.ts";
import { FastgenError } from "../../errors.ts";
import { FG } from "../../ffi/layout.ts";
import { maskOf } from "../masks/token-mask.ts";
import { PAGE_TOKENS } from "../pages/page-cache.ts";
import type { EngineRequest } from "../protocol.ts";
import { expectedOutput } from "../testing/fake-model.ts";
import { config, expectTooLittle, internals, prompt, Rig, request, VOCAB } from "../testing/scheduler-rig.ts";
import { Scheduler } from "./scheduler.ts";
import { STEP_TILE, WORTH_A_TILE } from "./step-size.ts";

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
  /** Whether the library refuses its sampling parameters. */
  refused: fc.constantFrom(false, false, false, false, true),
  logprobs: fc.constantFrom(-1, -1, 0, 2),
  promptLogprobs: fc.constantFrom(-1, -1, -1, 0, 2),
  scoreFrom: fc.oneof(fc.constant(0), fc.nat(400)),
  choices: fc.constantFrom(1, 1, 1, 3),
  /** The first of the ids that are allowed, of which there are ten; -1 = all are. */
  allowedFrom: fc.oneof(fc.constant(-1), fc.nat(VOCAB - 10)),
  /** Of so many tokens each. */
  badWords: fc.array(fc.array(fc.nat(VOCAB - 1), { minLength: 1, maxLength: 3 }), { maxLength: 3 }),
  chosenLogprobs: fc.boolean(),
  salt: fc.constantFrom("", "", "a", "b"),
  priority: fc.constantFrom(0, 0, 1, -1),
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
  lateHostPages: fc.boolean(),
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
  const chosen = arrival.chosenLogprobs && arrival.logprobs >= 0 && arrival.promptLogprobs < 0 && !scoring;
  return Array.from({ length: arrival.choices }, (_, choice) => {
    const made = request(tokens, arrival.maxTokens, {
      minTokens: Math.min(arrival.minTokens, arrival.maxTokens),
      stopIds: Int32Array.from({ length: arrival.stops }, (_, i) => 3 + 11 * i),
      logprobs: arrival.logprobs,
      promptLogprobs: scoring ? Math.max(0, arrival.promptLogprobs) : arrival.promptLogprobs,
      scoreFrom: Math.min(arrival.scoreFrom, Math.max(0, tokens.length - 2)),
      allowed:
        arrival.allowedFrom < 0
          ? null
          : maskOf(
              Array.from({ length: 10 }, (_, i) => arrival.allowedFrom + i),
              VOCAB,
            ),
      badWords: arrival.badWords.map((ids) => Int32Array.from(ids)),
      logprobIds: chosen ? Int32Array.of(0, 7, 49) : new Int32Array(0),
      cacheSalt: arrival.salt,
      priority: arrival.priority,
    });
    made.sampling.seed = BigInt(arrival.seed + choice);
    if (arrival.penalty) made.sampling.presencePenalty = 1;
    if (arrival.refused) made.sampling.topP = 0;
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
      vocabSize: VOCAB,
    },
    s.depth,
    s.lateHostPages ? 0 : s.hostPages,
  );
  if (s.shortSight > 0) expectTooLittle(rig.scheduler, s.shortSight);
  return rig;
}

test("every sequence generates what it would alone, whatever runs beside it", () => {
  let preemptions = 0;
  let copies = 0;
  let hits = 0;
  let refusals = 0;
  fc.assert(
    fc.property(fc.array(arrivals, { minLength: 1, maxLength: 30, size: "max" }), settings, (list, s) => {
      const rig = rigFor(s);
      play(list, rig);
      rig.checkEnd();
      const stats = rig.scheduler.stats();
      preemptions += stats.preemptions;
      copies += rig.library.pagesReturned;
      hits += stats.prefixHitTokens;
      for (const { error } of rig.received.values()) refusals += Number(error !== null);
    }),
    { numRuns: 120 },
  );
  // The cases that matter did occur.
  expect(Math.min(preemptions, copies, hits, refusals)).toBeGreaterThan(0);
}, 60_000);

// One thing at a time

test("a paused sequence gives its slot and pages to others, and goes on from its cached pages", () => {
  const rig = new Rig({ ...config, maxSeqs: 1, pages: 12 });
  const slow = request(prompt(150), 100);
  const other = request(prompt(70, 1), 20);
  rig.add(slow, other);
  for (let i = 0; i < 10; i++) rig.step();
  rig.scheduler.pause(slow.id);
  rig.scheduler.pause(slow.id);
  rig.scheduler.resume(other.id);
  const had = rig.received.get(slow.id)!.tokens.length;
  for (let i = 0; i < 60; i++) rig.step();
  expect(rig.received.get(other.id)!.finish).toBe("length");
  // What was already being computed is kept; then nothing comes.
  expect(rig.received.get(slow.id)!.tokens.length).toBeLessThanOrEqual(had + FG.STEPS_IN_FLIGHT);
  expect(rig.scheduler.stats()).toMatchObject({ running: 0, waiting: 0, paused: 1 });
  expect([rig.scheduler.aliveCount, rig.scheduler.activeCount]).toEqual([1, 0]);
  const before = rig.library.computedTokens;
  rig.scheduler.resume(slow.id);
  rig.finish();
  rig.checkEnd();
  // At most the page that was not full is computed again.
  expect(rig.library.computedTokens - before).toBeLessThan(100 - had + PAGE_TOKENS);
});

test("a paused sequence can be ended", () => {
  const rig = new Rig(config);
  const [one, two] = [request(prompt(20), 50), request(prompt(20), 50)];
  rig.add(one, two);
  rig.step();
  for (const { id } of [one, two]) rig.scheduler.pause(id);
  rig.scheduler.abort(one.id);
  rig.scheduler.resume(one.id);
  rig.scheduler.resume(two.id);
  rig.finish();
  rig.checkEnd();
  expect([one, two].map(({ id }) => rig.received.get(id)!.finish)).toEqual(["abort", "length"]);
});

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
  rig.expectedErrors = ["an ECC error"];
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
  rig.expectedErrors = [expect.stringContaining("no token")];
  rig.add(barren, fine);
  rig.finish();
  rig.checkEnd();
  expect(rig.received.get(barren.id)).toMatchObject({ finish: "error", error: expect.stringContaining("no token") });
  expect(rig.received.get(fine.id)!.finish).toBe("length");
});

test("a step that is refused ends the sequences in it, while the one before it still counts", () => {
  const rig = new Rig({ ...config, maxSeqs: 2 });
  rig.expectedErrors = ["no such page"];
  const [running, spared] = [request(prompt(30, 1), 50), request(prompt(200, 2), 10)];
  const late = request(prompt(20, 3), 10);
  rig.add(running, late);
  rig.step();
  rig.add(spared);
  const before = rig.received.get(running.id)!.tokens.length;
  expect(rig.scheduler.plan(rig.plan)).toBe(true);
  rig.scheduler.refuse(rig.plan, -1, new FastgenError("internal", "no such page"));
  expect(rig.plan.seqCount).toBe(0);
  rig.finish();
  rig.checkEnd();
  for (const { id } of [running, late]) expect(rig.received.get(id)).toMatchObject({ error: "no such page" });
  expect(rig.received.get(spared.id)!.finish).toBe("length");
  expect(before).toBeGreaterThan(0);
});

test("requests that cannot run are refused with the reason, one by one", () => {
  const rig = new Rig(config);
  rig.expectedErrors = [expect.stringContaining("do not fit the context")];
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

test("scoring after a prompt: what several have in common is computed once", () => {
  const rig = new Rig({ ...config, maxStepTokens: 50 });
  const shared = prompt(2 * PAGE_TOKENS + 10);
  const all = [1, 2, 3, 4].map((flavour) => {
    const tokens = [...shared, ...prompt(20, flavour)];
    return request(tokens, 0, { promptLogprobs: 0, scoreFrom: shared.length - 1 });
  });
  rig.add(...all);
  rig.finish();
  rig.checkEnd();
  const { prefixHitTokens } = rig.scheduler.stats();
  expect(prefixHitTokens).toBe(3 * 2 * PAGE_TOKENS);
  // What begins in the middle of a page takes no more from the cache than the whole pages before.
  const early = request([...shared, ...prompt(20, 1)], 0, { promptLogprobs: 0, scoreFrom: PAGE_TOKENS + 1 });
  rig.add(early);
  rig.finish();
  rig.checkEnd();
  expect(rig.scheduler.stats().prefixHitTokens - prefixHitTokens).toBe(PAGE_TOKENS);
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

test("the pages in use are those that sequences refer to: cached ones count as free", () => {
  const rig = new Rig(config);
  rig.add(request(prompt(300), 20), request([...prompt(300), 1], 20));
  for (let i = 0; i < 6; i++) rig.step();
  expect(rig.scheduler.stats().pagesUsed).toBe(6);
  rig.finish();
  const { cache } = internals(rig.scheduler);
  expect([rig.scheduler.stats().pagesUsed, cache.pages - cache.empty]).toEqual([0, 5]);
  const again = request(prompt(300), 1);
  rig.add(again);
  rig.finish();
  rig.checkEnd();
  expect(rig.received.get(again.id)!.cachedTokens).toBe(256);
});

test("a sequence that the library refuses ends alone, also when it is all of a step that copies pages", () => {
  const rig = new Rig({ ...config, maxSeqs: 4, pages: 10, hostPages: 20 });
  const bad = () => request(prompt(600, 9), 1, { sampling: { ...GREEDY, topP: 0 } });
  const first = request(prompt(400, 1), 3);
  rig.add(first);
  rig.finish();
  // It evicts what the first one left in the cache, and is refused.
  rig.add(bad());
  rig.finish();
  const beside = request([...prompt(400, 1), 5], 3);
  rig.add(beside, bad());
  rig.finish();
  rig.checkEnd();
  expect(rig.received.get(beside.id)!.cachedTokens).toBe(384);
  expect(rig.library.pagesReturned).toBeGreaterThan(0);
});

test("host pages that come late are used from then on, and until then evicted pages are dropped", () => {
  const rig = new Rig({ ...config, maxSeqs: 1, pages: 10, hostPages: 30 }, 1, 0);
  const run = (flavour: number) => {
    const one = request(prompt(600, flavour), 1);
    rig.add(one);
    rig.finish();
    return rig.received.get(one.id)!.cachedTokens;
  };
  run(1);
  run(2);
  // It was evicted when there were few host pages.
  expect(run(1)).toBeLessThan(576);
  run(2);
  expect(run(1)).toBe(576);
  rig.checkEnd();
});
