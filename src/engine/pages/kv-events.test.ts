import { expect, test } from "bun:test";
import { decode } from "@msgpack/msgpack";
import fc from "fast-check";
import { DiskRig } from "../testing/disk-rig.ts";
import type { FakeDisk } from "../testing/fake-store.ts";
import { config, internals, prompt, Rig, request } from "../testing/scheduler-rig.ts";
import { KvEventLog } from "./kv-events.ts";
import { PAGE_TOKENS, PageCache, type PageNode, pageKey } from "./page-cache.ts";

interface Told {
  parent: bigint | null;
  tokens: number[];
  extra: string[] | null;
  media: Set<string>;
}

/** What somebody knows who has read every batch: pages by their hashes. Events that contradict it throw. */
class Follower {
  readonly pages = new Map<bigint, Told>();
  readonly types: string[] = [];

  read(batch: Uint8Array | null): void {
    if (!batch) return;
    const [time, events, rank] = decode(batch, { useBigInt64: true }) as [number, Record<string, unknown>[], number];
    expect([typeof time, rank]).toEqual(["number", 3]);
    expect(events.length).toBeGreaterThan(0);
    for (const event of events) this.apply(event);
  }

  private apply(event: Record<string, unknown>): void {
    this.types.push(event.type as string);
    const hashes = (event.block_hashes ?? []) as bigint[];
    const medium = event.medium as string;
    if (event.type === "AllBlocksCleared") this.pages.clear();
    else if (event.type === "BlockStored") {
      const { token_ids, extra_keys } = event as { token_ids: number[]; extra_keys: (string[] | null)[] };
      expect([token_ids.length, extra_keys.length]).toEqual([hashes.length * PAGE_TOKENS, hashes.length]);
      let parent = event.parent_block_hash as bigint | null;
      for (const [i, hash] of hashes.entries()) {
        const tokens = token_ids.slice(i * PAGE_TOKENS, (i + 1) * PAGE_TOKENS);
        const page = this.pages.get(hash) ?? { parent, tokens, extra: extra_keys[i]!, media: new Set() };
        expect([page.parent, page.tokens, page.extra]).toEqual([parent, tokens, extra_keys[i]!]);
        if (page.media.has(medium)) throw new Error("stored twice");
        page.media.add(medium);
        this.pages.set(hash, page);
        parent = hash;
      }
    } else {
      for (const hash of hashes) {
        if (!this.pages.get(hash)?.media.delete(medium)) throw new Error("removed where it was not stored");
        if (this.pages.get(hash)!.media.size === 0) this.pages.delete(hash);
      }
    }
  }
}

/** The pages that requests can find, from inside the cache. */
function findable(cache: PageCache): Map<bigint, Set<string>> {
  const { index } = cache as unknown as { index: Map<bigint, { page: number; hostPage: number; salt: string | null }> };
  const found = new Map<bigint, Set<string>>();
  for (const [key, { page, hostPage, salt }] of index) {
    const media = new Set([...(page >= 0 ? ["GPU"] : []), ...(hostPage >= 0 ? ["CPU"] : [])]);
    if (salt !== null && media.size > 0) found.set(key, media);
  }
  return found;
}

function rigWithLog(overrides: Partial<typeof config>) {
  const log = new KvEventLog(3);
  const rig = new Rig({ ...config, pageListener: log, ...overrides });
  return { rig, log, cache: internals(rig.scheduler).cache, follower: new Follower() };
}

test("whatever is computed, evicted, brought back and cleared, the events tell what can be found where", () => {
  const wanted = fc.record({
    flavour: fc.nat(3),
    pages: fc.integer({ min: 1, max: 6 }),
    outputs: fc.integer({ min: 1, max: 80 }),
    salt: fc.constantFrom("", "", "a", "b"),
    scored: fc.boolean(),
    clear: fc.nat(9),
  });
  const seen = new Set<string>();
  fc.assert(
    fc.property(fc.array(wanted, { minLength: 1, maxLength: 14 }), fc.nat(6), (requests, hostPages) => {
      const { rig, log, cache, follower } = rigWithLog({ pages: 12, hostPages, maxSeqs: 3 });
      const compare = () => {
        follower.read(log.take());
        const told = new Map([...follower.pages].map(([key, { media }]) => [key, media]));
        expect(told).toEqual(findable(cache));
      };
      for (const { flavour, pages, outputs, salt, scored, clear } of requests) {
        const tokens = prompt(pages * PAGE_TOKENS + 1, flavour);
        rig.add(request(tokens, outputs, { cacheSalt: salt, promptLogprobs: scored ? 0 : -1 }));
        rig.step();
        compare();
        if (clear === 0) rig.scheduler.clearCache(false);
      }
      for (let i = 0; i < 3000 && rig.step(); i++) compare();
      rig.checkEnd();
      compare();
      for (const type of follower.types) seen.add(type);
    }),
    { numRuns: 150 },
  );
  expect([...seen].sort()).toEqual(["AllBlocksCleared", "BlockRemoved", "BlockStored"]);
});

test("the pages of a prompt are one event: their chained hashes, parent, tokens and salt", () => {
  const { rig, log, follower } = rigWithLog({ maxStepTokens: 512 });
  const tokens = prompt(3 * PAGE_TOKENS + 5);
  rig.add(request(tokens, 1, { cacheSalt: "tenant" }));
  rig.finish();
  const batch = log.take()!;
  follower.read(batch);
  expect(follower.types).toEqual(["BlockStored"]);
  let key = Bun.hash.wyhash("tenant", 1n);
  const hashes = [0, 1, 2].map((i) => {
    key = pageKey(key, Int32Array.from(tokens.slice(i * PAGE_TOKENS, (i + 1) * PAGE_TOKENS)));
    return key;
  });
  expect(decode(batch, { useBigInt64: true })).toEqual([
    expect.any(Number),
    [
      {
        type: "BlockStored",
        block_hashes: hashes,
        parent_block_hash: null,
        token_ids: tokens.slice(0, 3 * PAGE_TOKENS),
        block_size: PAGE_TOKENS,
        lora_id: null,
        medium: "GPU",
        lora_name: null,
        extra_keys: [["tenant"], null, null],
        group_idx: 0,
      },
    ],
    3,
  ]);
  expect(log.take()).toBeNull();
  // The next one goes on behind them.
  rig.add(request([...tokens.slice(0, 3 * PAGE_TOKENS), ...prompt(PAGE_TOKENS + 1, 9)], 1, { cacheSalt: "tenant" }));
  rig.finish();
  follower.read(log.take());
  expect([...follower.pages.values()].map(({ parent, extra }) => [parent, extra])).toEqual([
    [null, ["tenant"]],
    [hashes[0]!, null],
    [hashes[1]!, null],
    [hashes[2]!, null],
  ]);
});

test("a page that waits on the host alone is told of when another sequence computes it; a cleared cache is one event", () => {
  const log = new KvEventLog(0);
  const cache = new PageCache(1, 1, log);
  const copies = { copyPage() {} };
  const tokens = new Int32Array(PAGE_TOKENS);
  const events = () => {
    const [, list] = decode(log.take()!, { useBigInt64: true }) as [number, { type: string; medium?: string }[]];
    return list.map(({ type, medium }) => `${type} ${medium ?? ""}`.trim());
  };
  const compute = () => {
    const page = cache.allocate(copies);
    cache.register(cache.root, pageKey(0n, tokens), tokens, 0, page);
    cache.release(page);
  };
  compute();
  expect(events()).toEqual(["BlockStored GPU"]);
  compute();
  expect(events()).toEqual(["BlockStored CPU", "BlockRemoved GPU", "BlockStored GPU"]);
  cache.clear();
  expect(events()).toEqual(["AllBlocksCleared"]);
});

test("an event is of one memory", () => {
  const log = new KvEventLog(0);
  const tokens = new Int32Array(PAGE_TOKENS);
  const node = (key: bigint, parent: PageNode | null) => ({ parent, key, tokens, salt: "" }) as PageNode;
  const first = node(1n, node(0n, null));
  const second = node(2n, first);
  log.stored(first, "GPU");
  log.stored(second, "CPU");
  log.removed(second, "CPU");
  log.removed(first, "GPU");
  const [, events] = decode(log.take()!, { useBigInt64: true }) as [number, { type: string; medium: string }[]];
  expect(events.map(({ type, medium }) => `${type} ${medium}`)).toEqual([
    "BlockStored GPU",
    "BlockStored CPU",
    "BlockRemoved CPU",
    "BlockRemoved GPU",
  ]);
});

/** An engine with a disk, what it tells, and who follows it. */
function diskRigWithLog(disk: FakeDisk, capacity: number, pages = 24) {
  const log = new KvEventLog(3);
  const rig = new DiskRig(disk, capacity, { pages, hostPages: 8, pageListener: log });
  const follower = new Follower();
  const follow = () => follower.read(log.take());
  const on = (medium: string) => [...follower.pages.values()].filter(({ media }) => media.has(medium)).length;
  return { rig, follower, follow, on };
}

const FIVE_PAGES = prompt(5 * PAGE_TOKENS + 1);

test("pages on disk are told of once they are written, or used by another engine that finds them there", () => {
  const disk: FakeDisk = new Map();
  const first = diskRigWithLog(disk, 100);
  first.rig.run(FIVE_PAGES, { cacheSalt: "a" });
  first.follow();
  expect([first.on("GPU"), first.on("FS")]).toEqual([5, 5]);
  const second = diskRigWithLog(disk, 100);
  second.follow();
  expect(second.on("FS")).toBe(0);
  second.rig.run([...FIVE_PAGES, 3], { cacheSalt: "a" });
  second.follow();
  expect([second.on("GPU"), second.on("CPU"), second.on("FS")]).toEqual([5, 5, 5]);
  expect([...second.follower.pages]).toEqual(
    [...first.follower.pages].map(([key, page]) => [key, { ...page, media: new Set(["CPU", "GPU", "FS"]) }]),
  );
});

test("pages that the disk has no room for any longer, or loses, are told of; after a cleared cache nothing is there", () => {
  const { rig, follower, follow, on } = diskRigWithLog(new Map(), 7);
  rig.run(FIVE_PAGES);
  rig.run(prompt(4 * PAGE_TOKENS + 1, 2));
  follow();
  expect([on("FS"), rig.disk.diskPages]).toEqual([7, 7]);
  // Sleep: those on disk stay there, and are told of when they are used.
  rig.scheduler.clearCache(true, true);
  follow();
  expect(follower.pages.size).toBe(0);
  rig.run(prompt(4 * PAGE_TOKENS + 1, 2));
  follow();
  expect([on("FS"), rig.disk.diskPages]).toEqual([4, 7]);
  rig.scheduler.clearCache(true);
  follow();
  expect([follower.pages.size, rig.disk.diskPages]).toEqual([0, 0]);
  rig.run(FIVE_PAGES);
  rig.scheduler.disk!.weightsChange();
  follow();
  expect([on("GPU"), on("FS")]).toEqual([5, 0]);
});

test("whatever becomes of pages on a small disk, who follows the events knows of none that is not there", () => {
  const disk: FakeDisk = new Map();
  const wanted = fc.record({
    flavour: fc.nat(4),
    pages: fc.integer({ min: 1, max: 6 }),
    clear: fc.nat(12),
    tick: fc.nat(3),
  });
  fc.assert(
    fc.property(
      fc.array(wanted, { minLength: 1, maxLength: 20 }),
      fc.integer({ min: 3, max: 20 }),
      (requests, capacity) => {
        const { rig, follower, follow, on } = diskRigWithLog(disk, capacity, 12);
        rig.isSlow = true;
        for (const { flavour, pages, clear, tick } of requests) {
          rig.add(request(prompt(pages * PAGE_TOKENS + 1, flavour), 2));
          rig.store.tick(tick);
          rig.step();
          if (clear < 2) rig.scheduler.clearCache(true, clear === 0);
          follow();
          expect(on("FS")).toBeLessThanOrEqual(rig.disk.diskPages);
        }
        rig.isSlow = false;
        rig.finish();
        rig.update();
        follow();
        const onDisk = new Set([...disk.values()].map(String));
        for (const { tokens, media } of follower.pages.values())
          if (media.has("FS")) expect(onDisk).toContain(String(tokens));
      },
    ),
    { numRuns: 100 },
  );
});

test("nothing is told of pages that no other request can find", () => {
  const { rig, log } = rigWithLog({ prefixCaching: false });
  rig.add(request(prompt(300), 80));
  rig.finish();
  expect(log.take()).toBeNull();
  const scored = rigWithLog({});
  scored.rig.add(request(prompt(300), 1, { promptLogprobs: 0 }));
  scored.rig.finish();
  expect(scored.log.take()).toBeNull();
});
