/** Sequences that wait for pages that another one is computing: which pages, in which order, and at what cost. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { FastgenError } from "../../errors.ts";
import { PAGE_TOKENS } from "../pages/page-cache.ts";
import type { EngineRequest } from "../protocol.ts";
import { MOST_ARRIVAL_LOOKUPS } from "../scheduler/awaited-pages.ts";
import type { SchedulerConfig } from "../scheduler/scheduler-config.ts";
import { MOST_PARKING_LOOKUPS } from "../scheduler/step-planner.ts";
import { config, expectTooLittle, internals, prompt, Rig, request, VOCAB } from "../testing/scheduler-rig.ts";

function parkedCount(rig: Rig): number {
  return internals(rig.scheduler).queue.all.filter((seq) => seq.awaitedKey !== null).length;
}

/** A sequence that computes a long prompt, 64 tokens a step, and others that wait for it: each has 512 tokens in common. */
function shareLong(overrides: Partial<SchedulerConfig> = {}, waiters = 3) {
  const rig = new Rig({ ...config, maxStepTokens: 64, pages: 60, ...overrides });
  const [computer, ...others] = Array.from({ length: waiters + 1 }, (_, i) => request([...prompt(512), i], 4));
  rig.add(computer!, ...others);
  for (let i = 0; i < 3; i++) rig.step();
  expect(parkedCount(rig)).toBe(waiters);
  return { rig, computer: computer!, others };
}

const cachedTokens = (rig: Rig, requests: EngineRequest[]) =>
  requests.map(({ id }) => rig.received.get(id)!.cachedTokens);
const endsOf = (rig: Rig, requests: EngineRequest[]) => requests.map(({ id }) => rig.received.get(id)!.endedAt);

test("who waits for a prefix starts when it is computed, in the order of arrival", () => {
  const { rig, computer, others } = shareLong({ maxSeqs: 2 });
  rig.finish();
  rig.checkEnd();
  expect(cachedTokens(rig, others)).toEqual([512, 512, 512]);
  const ends = endsOf(rig, [computer, ...others]);
  expect(ends).toEqual(ends.toSorted((a, b) => a - b));
  expect(rig.library.computedTokens).toBe(513 + 3 + 3 * (1 + 3));
});

test("when the computing sequence is aborted, the oldest that waits computes in its place", () => {
  const { rig, computer, others } = shareLong();
  rig.scheduler.abort(computer.id);
  rig.step();
  expect(parkedCount(rig)).toBe(2);
  rig.finish();
  rig.checkEnd();
  const [first, ...rest] = cachedTokens(rig, others);
  expect(first).toBeLessThan(512);
  expect(rest).toEqual([512, 512]);
});

test("when the computing sequence fails, those that wait for it do not", () => {
  const { rig, others } = shareLong();
  rig.expectedErrors = ["a bad step"];
  rig.step(new FastgenError("internal", "a bad step"));
  rig.finish();
  rig.checkEnd();
  expect(others.map(({ id }) => rig.received.get(id)!.finish)).toEqual(["length", "length", "length"]);
});

test("when the computing sequence gives its pages back, it computes again before those that wait for it", () => {
  const rig = new Rig({ ...config, maxStepTokens: 16, pages: 13 });
  expectTooLittle(rig.scheduler, 1);
  const growing = request(prompt(180, 5), 40);
  const [computer, waiter] = [request([...prompt(600), 1], 2), request([...prompt(600), 2], 2)];
  rig.add(growing);
  while (rig.received.get(growing.id)!.tokens.length === 0) rig.step();
  rig.add(computer);
  rig.step();
  rig.add(waiter);
  let turnsParked = 0;
  while (rig.scheduler.stats().preemptions === 0) {
    expect(rig.step()).toBe(true);
    turnsParked += parkedCount(rig);
  }
  expect(turnsParked).toBeGreaterThan(2);
  expect(rig.received.get(computer.id)!.finish).toBe("");
  rig.finish();
  rig.checkEnd();
  const [first, second] = endsOf(rig, [computer, waiter]);
  expect(first!).toBeLessThanOrEqual(second!);
});

test("a parked sequence can be aborted", () => {
  const { rig, others } = shareLong();
  rig.scheduler.abort(others[1]!.id);
  expect(parkedCount(rig)).toBe(2);
  rig.finish();
  rig.checkEnd();
  expect(others.map(({ id }) => rig.received.get(id)!.finish)).toEqual(["length", "abort", "length"]);
});

test("a sequence waits for the pages that it has in common with the computing one, and for no more", () => {
  fc.assert(
    fc.property(fc.nat(600), fc.boolean(), (common, isShort) => {
      const rig = new Rig({ ...config, maxStepTokens: 16, pages: 60 });
      const whole = prompt(600);
      const other = [...whole.slice(0, common), ...whole.slice(common).map((id) => (id + 1) % VOCAB), 7];
      const length = isShort ? common + 1 : other.length;
      rig.add(request(whole, 3), request(other.slice(0, length), 3));
      rig.step();
      const { queue, running } = internals(rig.scheduler);
      const pages = Math.floor(Math.min(common, length - 1) / PAGE_TOKENS);
      const computer = running[0]!;
      const parked = queue.all.find((seq) => seq.awaitedKey !== null);
      expect(parked?.awaitedKey).toBe(pages === 0 ? undefined : computer.key(pages - 1));
      rig.finish();
      rig.checkEnd();
    }),
    { numRuns: 40 },
  );
});

/** Page lookups of each turn, which plans two steps, and how many sequences were parked after it. */
function countLookups(waiters: number) {
  const [prefixPages, maxSeqs] = [32, 64];
  const prefix = prompt(prefixPages * PAGE_TOKENS);
  const rig = new Rig({ ...config, maxSeqs, maxStepTokens: 64, maxContext: 2200, pages: 400 });
  const { cache } = internals(rig.scheduler);
  const turns: { lookups: number; parked: number }[] = [];
  let lookups = 0;
  const find = cache.find.bind(cache);
  cache.find = (...page) => {
    lookups++;
    return find(...page);
  };
  rig.add(...Array.from({ length: waiters + 1 }, (_, i) => request([...prefix, i % VOCAB, i % 49], 1)));
  lookups = 0;
  while (rig.step()) {
    turns.push({ lookups, parked: parkedCount(rig) });
    lookups = 0;
  }
  rig.checkEnd();
  return turns;
}

test("however many wait, planning looks at few pages, and at none of the sequences that are parked", () => {
  const few = countLookups(1000);
  const allParked = few.findIndex(({ parked }) => parked === 1000);
  expect(few.filter(({ parked }) => parked === 1000).length).toBeGreaterThan(10);
  expect(few.slice(allParked + 1).every(({ lookups }) => lookups === 0)).toBe(true);
  const many = countLookups(4000);
  expect(Math.max(...many.map(({ lookups }) => lookups))).toBeLessThanOrEqual(2 * MOST_PARKING_LOOKUPS);
}, 60_000);

test("however many arrive together, a bounded number of pages is looked up for them", () => {
  const prefix = prompt(9 * PAGE_TOKENS);
  const rig = new Rig({ ...config, pages: 40 });
  rig.add(request(prefix, 1));
  rig.finish();
  const { cache } = internals(rig.scheduler);
  const find = cache.find.bind(cache);
  let lookups = 0;
  cache.find = (...page) => {
    lookups++;
    return find(...page);
  };
  const requests = Array.from({ length: 4000 }, () => request(prefix, 1));
  for (const one of requests) rig.scheduler.add(one);
  expect(lookups).toBeGreaterThan(MOST_ARRIVAL_LOOKUPS / 2);
  expect(lookups).toBeLessThan(MOST_ARRIVAL_LOOKUPS + 10);
  rig.scheduler.endAll(null);
});
