import { expect, test } from "bun:test";
import { type FakeDisk, FakeStore } from "./fake-store.ts";
import { PAGE_TOKENS } from "./page-cache.ts";
import { config, internals, prompt, Rig, request } from "./scheduler-rig.ts";

const CONFIG = { ...config, pages: 24, hostPages: 16 };

/** An engine with a disk. Its store does what it is asked for at once, unless `isSlow`. */
class DiskRig extends Rig {
  readonly store: FakeStore;
  readonly warnings: string[] = [];
  isSlow = false;

  constructor(
    disk: FakeDisk = new Map(),
    capacity = 1000,
    over: Partial<typeof CONFIG> = {},
    lost?: (d: string) => boolean,
  ) {
    super({ ...CONFIG, ...over });
    // A load may have to wait for copies, and a sequence for two loads.
    this.patience = 8;
    this.store = new FakeStore(this.library, disk, capacity, lost);
    this.scheduler.useStore(this.store);
    this.update();
  }

  /** As the worker does between steps. */
  update(): void {
    if (!this.isSlow) this.store.tick();
    this.warnings.push(...this.scheduler.disk!.update());
  }

  override step(): boolean {
    this.update();
    const goesOn = super.step();
    if (this.scheduler.stepsInFlight > 0) return goesOn;
    return this.scheduler.disk!.idle(this.plan, (copies) => this.library.copy(copies)) || goesOn;
  }

  get disk() {
    return this.scheduler.stats();
  }

  /** Runs one request to its end, and writes what is to be written. Returns the prompt tokens that were found. */
  run(tokens: ArrayLike<number>, over: Parameters<typeof request>[2] = {}, maxTokens = 3): number {
    const one = request(tokens, maxTokens, over);
    this.add(one);
    this.finish();
    this.update();
    return this.received.get(one.id)!.cachedTokens;
  }
}

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

test("the disk never holds more than it may, and what was used last stays", () => {
  const disk: FakeDisk = new Map();
  const rig = new DiskRig(disk, 12, { pages: 40, hostPages: 40 });
  const favourite = prompt(4 * PAGE_TOKENS + 1, 99);
  for (let flavour = 1; flavour < 9; flavour++) {
    rig.run(favourite);
    rig.run(prompt(4 * PAGE_TOKENS + 1, flavour));
  }
  expect(rig.store.most).toBeLessThanOrEqual(12);
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
    expect(disk.size).toBe(5);
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
      const { diskPages: pages, diskCapacity: capacity } = rig.disk;
      expect(pages).toBeLessThanOrEqual(capacity);
      expect(rig.store.most).toBeLessThanOrEqual(Math.max(capacity, disk.size));
      expect(internals(rig.scheduler).setAside.size).toBe(0);
    }
  }
});
