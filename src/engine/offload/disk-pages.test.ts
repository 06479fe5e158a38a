import { expect, test } from "bun:test";
import { PAGE_TOKENS } from "../pages/page-cache.ts";
import { digestKey, PromptDigests } from "../pages/page-digest.ts";
import { DiskRig } from "../testing/disk-rig.ts";
import type { FakeDisk } from "../testing/fake-store.ts";
import { internals, prompt, request } from "../testing/scheduler-rig.ts";

const FIVE_PAGES = prompt(5 * PAGE_TOKENS + 1);

test("a page that was computed is on disk, and another engine that finds it there computes what follows alone", () => {
  const disk: FakeDisk = new Map();
  const first = new DiskRig(disk);
  expect(first.run(FIVE_PAGES)).toBe(0);
  expect(first.disk).toMatchObject({
    diskPages: 5,
    diskCapacity: 1000,
    diskHits: 0,
    diskMisses: 5,
    diskSaved: 5,
    diskSkipped: 0,
  });
  first.checkEnd();
  const second = new DiskRig(disk);
  expect(second.disk).toMatchObject({ diskPages: 5, diskSaved: 0 });
  expect(second.run([...FIVE_PAGES, 3])).toBe(5 * PAGE_TOKENS);
  expect(second.library.computedTokens).toBeLessThan(PAGE_TOKENS);
  expect(second.disk).toMatchObject({ diskHits: 5, diskMisses: 0, diskSaved: 0, diskReadSeconds: 1 });
  // From the second time on they are in memory.
  expect(second.run(FIVE_PAGES)).toBe(5 * PAGE_TOKENS);
  expect(second.disk.diskHits).toBe(5);
  second.checkEnd();
});

test("pages are on disk under their salt, and requests that share no pages leave none there", () => {
  const disk: FakeDisk = new Map();
  new DiskRig(disk).run(FIVE_PAGES, { cacheSalt: "a" });
  new DiskRig(disk).run(FIVE_PAGES, { promptLogprobs: 0 });
  expect(disk.size).toBe(5);
  const digests = new PromptDigests(Int32Array.from(FIVE_PAGES), "a");
  expect([...disk.keys()].sort()).toEqual([4, 1, 0, 2, 3].map((page) => digests.at(page)).sort());
  expect(new DiskRig(disk).run(FIVE_PAGES)).toBe(0);
  expect(new DiskRig(disk).run(FIVE_PAGES, { cacheSalt: "b" })).toBe(0);
  expect(new DiskRig(disk).run(FIVE_PAGES, { cacheSalt: "a" })).toBe(5 * PAGE_TOKENS);
});

test("while a sequence waits for the disk, others run, and those that need the same pages wait with it", () => {
  const disk: FakeDisk = new Map();
  new DiskRig(disk).run(FIVE_PAGES);
  const rig = new DiskRig(disk);
  rig.isSlow = true;
  const [a, b, other] = [request(FIVE_PAGES, 2), request([...FIVE_PAGES, 1], 2), request(prompt(100, 5), 2)];
  rig.add(a, b, other);
  while (rig.received.get(other.id)!.finish === "") rig.step();
  for (let i = 0; i < 5; i++) rig.step();
  expect([a, b].map(({ id }) => rig.received.get(id)!.tokens.length)).toEqual([0, 0]);
  // Nothing can run: the worker sleeps until there is news.
  expect(rig.scheduler.activeCount).toBe(0);
  expect(rig.scheduler.stats()).toMatchObject({ waiting: 2, paused: 0 });
  rig.isSlow = false;
  rig.finish();
  expect([a, b].map(({ id }) => rig.received.get(id)!.cachedTokens)).toEqual([5 * PAGE_TOKENS, 5 * PAGE_TOKENS]);
  expect(rig.disk.diskHits).toBe(5);
  rig.checkEnd();
});

test("pages are read while others compute, time and again, and pages whose sequence ends at once are written", () => {
  const disk: FakeDisk = new Map();
  for (let flavour = 1; flavour < 5; flavour++) new DiskRig(disk).run(prompt(5 * PAGE_TOKENS + 1, flavour), {}, 1);
  expect(disk.size).toBe(20);
  const rig = new DiskRig(disk, 1000, { pages: 40 });
  const other = request(prompt(100, 9), 400);
  rig.add(other);
  rig.step();
  for (let flavour = 1; flavour < 5; flavour++) {
    const one = request(prompt(5 * PAGE_TOKENS + 1, flavour), 2);
    rig.add(one);
    while (rig.received.get(one.id)!.finish === "") rig.step();
    expect(rig.received.get(one.id)!.cachedTokens).toBe(5 * PAGE_TOKENS);
  }
  expect(rig.received.get(other.id)!.finish).toBe("");
  rig.finish();
  rig.checkEnd();
});

test("a load that has not begun when the disk is turned off gives its host pages back", () => {
  const disk: FakeDisk = new Map();
  new DiskRig(disk).run(FIVE_PAGES);
  const rig = new DiskRig(disk);
  rig.isSlow = true;
  rig.add(request(prompt(100, 9), 40));
  rig.step();
  const one = request(FIVE_PAGES, 2);
  rig.add(one);
  rig.step();
  expect(rig.store.jobCount).toBe(0);
  rig.scheduler.disk!.weightsChange();
  rig.finish();
  expect(rig.received.get(one.id)!.finish).toBe("length");
  const { cache } = internals(rig.scheduler);
  cache.clear();
  expect(cache.emptyHost).toBe(cache.hostPages);
});

test("pages that were read just before memory was lost are not taken for what they were", () => {
  const disk: FakeDisk = new Map();
  new DiskRig(disk).run(FIVE_PAGES);
  const rig = new DiskRig(disk);
  rig.isSlow = true;
  const one = request(FIVE_PAGES, 2);
  rig.add(one);
  rig.step();
  rig.store.tick();
  rig.scheduler.disk!.loseMemory();
  for (let page = 0; page < rig.config.hostPages; page++) rig.library.hostPage(page).fill(-9);
  rig.scheduler.clearCache(true, true);
  rig.isSlow = false;
  rig.finish();
  rig.checkEnd();
});

test("a sequence that ends, or is paused by its reader, while its pages are read leaves nothing behind", () => {
  const disk: FakeDisk = new Map();
  new DiskRig(disk).run(FIVE_PAGES);
  const rig = new DiskRig(disk);
  rig.isSlow = true;
  const [gone, held] = [request(FIVE_PAGES, 2), request(FIVE_PAGES, 2)];
  rig.add(gone, held);
  rig.step();
  rig.scheduler.abort(gone.id);
  rig.scheduler.pause(held.id);
  rig.isSlow = false;
  for (let i = 0; i < 3; i++) rig.step();
  expect(rig.scheduler.stats()).toMatchObject({ waiting: 0, paused: 1 });
  rig.scheduler.resume(held.id);
  rig.finish();
  expect(rig.received.get(held.id)!.cachedTokens).toBe(5 * PAGE_TOKENS);
  rig.checkEnd();
});

test("where a page in the middle is damaged or gone, what is before it is used, and it is written anew", () => {
  const disk: FakeDisk = new Map();
  new DiskRig(disk).run(FIVE_PAGES);
  const lost = [...disk.keys()][2]!;
  const rig = new DiskRig(disk, 1000, {}, (digest) => digest === lost);
  expect(rig.run(FIVE_PAGES)).toBe(2 * PAGE_TOKENS);
  expect(rig.disk).toMatchObject({ diskHits: 2, diskLost: 1, diskMisses: 3, diskSaved: 1, diskPages: 5 });
  rig.checkEnd();
  expect(new DiskRig(disk).run(FIVE_PAGES)).toBe(5 * PAGE_TOKENS);
});

test("pages that a reset removes while they are to be read are not counted as lost", () => {
  const disk: FakeDisk = new Map();
  new DiskRig(disk).run(FIVE_PAGES);
  let isReset = false;
  const rig = new DiskRig(disk, 1000, {}, () => isReset);
  rig.isSlow = true;
  rig.add(request(FIVE_PAGES, 2));
  rig.step();
  expect(rig.store.jobCount).toBe(1);
  rig.scheduler.clearCache(false);
  isReset = true;
  rig.isSlow = false;
  rig.finish();
  expect(rig.disk.diskLost).toBe(0);
  rig.checkEnd();
});

test("the disk never holds more than it may, and what was used last stays", () => {
  const disk: FakeDisk = new Map();
  const rig = new DiskRig(disk, 12, { pages: 40, hostPages: 40 });
  const favourite = prompt(4 * PAGE_TOKENS + 1, 99);
  for (let flavour = 1; flavour < 9; flavour++) {
    rig.run(favourite);
    rig.run(prompt(4 * PAGE_TOKENS + 1, flavour));
  }
  expect(rig.store.most).toBeLessThanOrEqual(12);
  // Each page was written once.
  expect(rig.disk.diskSaved).toBe(4 + 8 * 4);
  expect(rig.disk.diskPages).toBe(disk.size);
  expect(new DiskRig(disk).run(favourite)).toBe(4 * PAGE_TOKENS);
  expect(new DiskRig(disk).run(prompt(4 * PAGE_TOKENS + 1, 1))).toBe(0);
});

test("a disk that does not keep up costs pages on disk and nothing else", () => {
  const rig = new DiskRig(new Map(), 1000);
  rig.isSlow = true;
  for (let flavour = 0; flavour < 12; flavour++) rig.run(prompt(6 * PAGE_TOKENS + 1, flavour));
  rig.isSlow = false;
  rig.update();
  rig.step();
  rig.update();
  const { diskSaved: saved, diskSkipped: skipped } = rig.disk;
  expect(saved).toBeGreaterThan(0);
  expect(skipped).toBeGreaterThan(0);
  expect(saved + skipped).toBeLessThanOrEqual(72);
  rig.checkEnd();
});

test("a cleared cache is clear on disk too, also of what was on its way there or back", () => {
  const disk: FakeDisk = new Map();
  const rig = new DiskRig(disk);
  rig.run(FIVE_PAGES);
  rig.isSlow = true;
  rig.run(prompt(3 * PAGE_TOKENS + 1, 4));
  expect(rig.store.jobCount).toBeGreaterThan(0);
  rig.scheduler.clearCache(false);
  rig.isSlow = false;
  rig.update();
  expect([disk.size, rig.disk.diskPages]).toEqual([0, 0]);
  expect(rig.run(prompt(3 * PAGE_TOKENS + 1, 4))).toBe(0);
  rig.run(FIVE_PAGES);
  const other = new DiskRig(disk);
  other.isSlow = true;
  const one = request(FIVE_PAGES, 2);
  other.add(one);
  other.step();
  other.scheduler.clearCache(false);
  other.isSlow = false;
  other.finish();
  expect(other.received.get(one.id)!.cachedTokens).toBe(0);
  other.checkEnd();
});

test("memory that sleeps is neither written to disk nor filled from there, and pages on disk outlive it", () => {
  const disk: FakeDisk = new Map();
  const rig = new DiskRig(disk);
  rig.run(FIVE_PAGES);
  rig.isSlow = true;
  rig.run(prompt(3 * PAGE_TOKENS + 1, 4));
  const kept = disk.size;
  rig.scheduler.disk!.loseMemory();
  rig.scheduler.clearCache(true, true);
  rig.library.weights = 1;
  rig.isSlow = false;
  rig.update();
  expect(disk.size).toBe(kept);
  rig.library.weights = 0;
  expect(rig.run(FIVE_PAGES)).toBe(5 * PAGE_TOKENS);
  // However often saves are given up, later ones find host pages.
  for (let flavour = 10; flavour < 16; flavour++) {
    rig.isSlow = true;
    rig.run(prompt(3 * PAGE_TOKENS + 1, flavour));
    rig.scheduler.disk!.loseMemory();
    rig.scheduler.clearCache(true, true);
    rig.isSlow = false;
    rig.update();
  }
  const before = disk.size;
  rig.run(prompt(3 * PAGE_TOKENS + 1, 20));
  expect(disk.size).toBe(before + 3);
  rig.checkEnd();
});

test("other weights, and a disk that fails, turn it off with a word, and nobody waits for it any longer", () => {
  /** With the host pages that stay out of use: threads that failed may still write to them. */
  const ends: [(rig: DiskRig) => void, string, number][] = [
    [(rig) => rig.scheduler.disk!.weightsChange(), "the weights change", 0],
    [(rig) => rig.store.fail("ENOSPC: no space left on device"), "no space left", 5],
  ];
  for (const [end, reason, lost] of ends) {
    const disk: FakeDisk = new Map();
    new DiskRig(disk).run(FIVE_PAGES);
    const rig = new DiskRig(disk);
    rig.run(prompt(2 * PAGE_TOKENS + 1, 7));
    rig.isSlow = true;
    const one = request(FIVE_PAGES, 2);
    rig.add(one);
    rig.step();
    end(rig);
    rig.finish();
    expect(rig.received.get(one.id)!.cachedTokens).toBe(0);
    expect(rig.warnings).toHaveLength(1);
    expect(rig.warnings[0]).toContain(reason);
    rig.isSlow = false;
    rig.run(prompt(3 * PAGE_TOKENS + 1, 4));
    expect(disk.size).toBe(7);
    expect(rig.disk).toMatchObject({ diskPages: 0, diskCapacity: 0 });
    rig.checkEnd();
    const { cache } = internals(rig.scheduler);
    cache.clear();
    expect(cache.emptyHost).toBe(cache.hostPages - lost);
  }
});

test("a size that holds not one page turns it off with a word", () => {
  const rig = new DiskRig(new Map(), 0);
  rig.run(FIVE_PAGES);
  expect(rig.warnings[0]).toContain("kv_cache_dir_size");
  expect(rig.disk.diskSaved).toBe(0);
});

test("whatever happens in whatever order, every sequence gets what it gets alone", () => {
  for (let seed = 1; seed <= 24; seed++) {
    let state = seed;
    const random = (n: number) => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      return (state >>> 8) % n;
    };
    const disk: FakeDisk = new Map();
    for (let engine = 0; engine < 3; engine++) {
      const lossy = (digest: string) => seed % 3 === 0 && Number.parseInt(digest[0]!, 16) < 2;
      const rig = new DiskRig(disk, 5 + random(30), { pages: 12 + random(12), hostPages: 1 + random(14) }, lossy);
      rig.isSlow = true;
      for (let round = 0; round < 60; round++) {
        if (random(2) === 0) {
          const [length, flavour] = [random(6 * PAGE_TOKENS) + 2, random(5)];
          rig.add(request(prompt(length, flavour), 1 + random(40), random(6) === 0 ? { cacheSalt: "s" } : {}));
        }
        if (random(2) === 0) rig.store.tick(1);
        if (random(40) === 0) rig.scheduler.clearCache(false);
        if (random(10) === 0)
          rig.scheduler.abort(rig.received.size > 0 ? [...rig.received.keys()][random(rig.received.size)]! : 0);
        rig.step();
      }
      rig.isSlow = false;
      rig.finish();
      rig.checkEnd();
      rig.update();
      expect(rig.listing.size).toBe(rig.disk.diskPages);
      for (const digest of disk.keys()) expect(rig.listing.has(digestKey(digest))).toBe(true);
      const { diskPages: pages, diskCapacity: capacity } = rig.disk;
      expect(pages).toBeLessThanOrEqual(capacity);
      expect(rig.store.most).toBeLessThanOrEqual(Math.max(capacity, disk.size));
      expect(internals(rig.scheduler).setAside.size).toBe(0);
    }
  }
});
