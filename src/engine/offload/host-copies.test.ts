/** Pages that come back from the host: when their sequences are computed, who goes first, and what is counted. */
import { expect, test } from "bun:test";
import { FG } from "../../ffi/layout.ts";
import { PAGE_TOKENS, pageKey } from "../pages/page-cache.ts";
import type { SchedulerConfig } from "../scheduler/scheduler-config.ts";
import { config, internals, prompt, Rig, request } from "../testing/scheduler-rig.ts";

const PAGES = 6;
const LENGTH = PAGES * PAGE_TOKENS + 1;

const HOST: SchedulerConfig = { ...config, pages: 20, maxContext: 640, maxStepTokens: 512, hostPages: 40 };

/** A rig through which more prompts have gone than its device holds. */
function withPagesOnHost(): Rig {
  const rig = new Rig(HOST, 1);
  for (let flavour = 1; flavour < 8; flavour++) {
    rig.add(request(prompt(LENGTH, flavour), 1));
    rig.finish();
  }
  return rig;
}

/** A prompt whose pages are on the host alone. */
function flavourOnHost(rig: Rig): number {
  const { cache } = internals(rig.scheduler);
  for (let flavour = 1; flavour < 8; flavour++) {
    const tokens = Int32Array.from(prompt(LENGTH, flavour));
    const node = cache.find(cache.root, pageKey(cache.root.key, tokens.subarray(0, PAGE_TOKENS)), tokens, 0);
    if (node && node.page < 0) return flavour;
  }
  throw new Error("nothing is on the host alone");
}

/** The tokens that each sequence of the plan computes, and the directions of the plan's copies. */
function planned(rig: Rig) {
  const { plan } = rig;
  return {
    counts: Array.from({ length: plan.seqCount }, (_, i) => plan.sequence(i).count),
    directions: Array.from({ length: plan.copyCount }, (_, i) => plan.copies[i * 3 + 2]!),
  };
}

test("beside other sequences, pages come back during a step, and theirs is computed from the next one on", () => {
  const rig = withPagesOnHost();
  const flavour = flavourOnHost(rig);
  rig.add(request(prompt(20, 40), 20));
  rig.step();
  const again = request(prompt(LENGTH, flavour), 3);
  rig.add(again);
  expect(rig.scheduler.plan(rig.plan)).toBe(true);
  const first = planned(rig);
  expect(first.counts).toEqual([1]);
  expect(first.directions.filter((one) => one !== FG.TO_HOST)).toEqual(new Array(PAGES).fill(FG.TO_DEVICE_BESIDE));
  rig.library.submit(rig.plan);
  rig.scheduler.submitted();
  rig.scheduler.commit(rig.library.wait());
  rig.scheduler.takeMessage();
  expect(rig.scheduler.plan(rig.plan)).toBe(true);
  expect(planned(rig).counts.toSorted()).toEqual([1, 1]);
});

test("where there is nothing else to compute, the step waits for the pages", () => {
  const rig = withPagesOnHost();
  const again = request(prompt(LENGTH, flavourOnHost(rig)), 3);
  rig.add(again);
  expect(rig.scheduler.plan(rig.plan)).toBe(true);
  const { counts, directions } = planned(rig);
  expect(counts).toEqual([1]);
  expect(directions.filter((one) => one !== FG.TO_HOST)).toEqual(new Array(PAGES).fill(FG.TO_DEVICE));
});

test("a sequence that shares pages on their way waits for them like the one that brought them back", () => {
  const rig = withPagesOnHost();
  const flavour = flavourOnHost(rig);
  rig.add(request(prompt(20, 40), 20));
  rig.step();
  rig.add(request(prompt(LENGTH, flavour), 3), request([...prompt(LENGTH, flavour), 1, 2], 3));
  rig.finish();
  rig.checkEnd();
});

test("found, missed, saved and restored pages are counted, once for each request", () => {
  const rig = withPagesOnHost();
  const flavour = flavourOnHost(rig);
  const before = rig.scheduler.stats().host;
  rig.add(request(prompt(LENGTH, flavour), 1));
  rig.finish();
  rig.add(request(prompt(LENGTH, 99), 1));
  rig.finish();
  const { hits, misses, restored, pages, pagesHeld } = rig.scheduler.stats().host;
  expect([hits - before.hits, restored - before.restored, misses - before.misses]).toEqual([PAGES, PAGES, PAGES]);
  expect(pages).toBe(40);
  expect(pagesHeld).toBeGreaterThan(0);
  expect(rig.scheduler.stats().pagesHeld).toBeGreaterThan(0);
});

/**
 * What goes to the host while seven prompts run, what they find when they come again, beside another sequence, and what comes back. It
 * takes a second to compute a page.
 */
function withCopiesThatTake(saveSeconds: number, restoreSeconds: number) {
  const rig = new Rig(HOST, 1);
  Object.assign(rig.library, { saveSeconds, restoreSeconds, tokenSeconds: 1 / PAGE_TOKENS });
  for (let flavour = 1; flavour < 8; flavour++) rig.add(request(prompt(LENGTH, flavour), 1));
  rig.finish();
  const { saved } = rig.scheduler.stats().host;
  rig.add(request(prompt(20, 40), 60));
  let found = 0;
  for (let flavour = 1; flavour < 8; flavour++) {
    const again = request(prompt(LENGTH, flavour), 3);
    rig.add(again);
    while (!rig.received.get(again.id)?.finish) rig.step();
    found += rig.received.get(again.id)!.cachedTokens / PAGE_TOKENS;
  }
  rig.finish();
  rig.checkEnd();
  return { saved, found, restored: rig.scheduler.stats().host.restored };
}

test("pages whose copies take longer than computing them are computed, and those that leave the device do not go to the host", () => {
  const { saved, found, restored } = withCopiesThatTake(2, 2);
  // The first that go tell what a copy costs.
  expect(saved).toBeLessThan(2 * PAGES);
  expect(restored).toBe(0);
  // What is on the device still is found.
  expect(found).toBeLessThan(4 * PAGES);
});

test("pages whose copies take half as long come back", () => {
  const { saved, found, restored } = withCopiesThatTake(0.5, 0.5);
  expect(saved).toBeGreaterThan(3 * PAGES);
  expect(restored).toBeGreaterThan(3 * PAGES);
  expect(found).toBe(7 * PAGES);
});

test("pages stay where they are once the first that came back have taken longer than computing them", () => {
  const { saved, restored } = withCopiesThatTake(0.5, 2);
  expect(saved).toBeGreaterThan(3 * PAGES);
  expect(restored).toBeGreaterThan(0);
  expect(restored).toBeLessThanOrEqual(2 * PAGES);
});

test("while pages have to be forgotten, a sequence that finds its pages goes before an older one that does not", () => {
  const rig = new Rig({ ...HOST, hostPages: 0, pages: 12, maxSeqs: 1 }, 1);
  const kept = request(prompt(LENGTH, 1), 1);
  rig.add(kept);
  rig.finish();
  const older = request(prompt(LENGTH, 2), 1);
  const newer = request(prompt(LENGTH, 1), 1);
  rig.add(older, newer);
  rig.finish();
  expect(rig.received.get(newer.id)!.endedAt).toBeLessThan(rig.received.get(older.id)!.endedAt);
  expect(rig.received.get(newer.id)!.cachedTokens).toBe(PAGES * PAGE_TOKENS);
  rig.checkEnd();
});

test("while there is room, they go in the order they came", () => {
  const rig = new Rig({ ...HOST, hostPages: 0, pages: 24, maxSeqs: 1 }, 1);
  rig.add(request(prompt(LENGTH, 1), 1));
  rig.finish();
  const older = request(prompt(LENGTH, 2), 1);
  const newer = request(prompt(LENGTH, 1), 1);
  rig.add(older, newer);
  rig.finish();
  expect(rig.received.get(newer.id)!.endedAt).toBeGreaterThan(rig.received.get(older.id)!.endedAt);
});
