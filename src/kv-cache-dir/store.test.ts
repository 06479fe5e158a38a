/** The store with its threads, on memory of this process. */

import { ptr } from "bun:ffi";
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HEADER_BYTES } from "./page-file.ts";
import { KvCacheDir, type StoreNews } from "./store.ts";

const PART = 4096;
const RANKS = 2;
const HOST_PAGES = 8;
const FILE = HEADER_BYTES + RANKS * PART;
const digest = (n: number) => n.toString(16).padStart(64, "0");

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "fastgen-store-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** A store over host pages of its own: page p of rank r is filled with p * 2 + r + `from`. */
class Opened {
  readonly memory: Uint8Array[];
  readonly store: KvCacheDir;
  calls = 0;

  constructor(from: number, limitBytes = 100 * FILE, setup: Record<string, string> = {}, dir_ = dir) {
    this.memory = Array.from({ length: HOST_PAGES * RANKS }, (_, i) => new Uint8Array(PART).fill(from + i));
    this.store = new KvCacheDir({
      place: { path: dir_, bytes: limitBytes, engine: 0, engines: 1 },
      source: { setup, weights: { seed: 1 } },
      ranks: RANKS,
      partBytes: PART,
      hostPage: (page) => Array.from({ length: RANKS }, (_, rank) => Number(ptr(this.memory[page * RANKS + rank]!))),
      onNews: () => this.calls++,
    });
  }

  /** The next news of this type. All that came before it is forgotten. */
  async next<T extends StoreNews["type"]>(type: T): Promise<Extract<StoreNews, { type: T }>> {
    for (let i = 0; i < 1000; i++) {
      for (const news of this.store.news()) {
        if (news.type === type) return news as Extract<StoreNews, { type: T }>;
        if (news.type === "failed") throw new Error(news.message);
      }
      await Bun.sleep(10);
    }
    throw new Error(`no news of type ${type}`);
  }

  bytes(page: number): number[] {
    return Array.from({ length: RANKS }, (_, rank) => new Set(this.memory[page * RANKS + rank]!)).flatMap((set) => [
      ...set,
    ]);
  }
}

const pages = (...list: [number, number][]) => list.map(([n, hostPage]) => ({ digest: digest(n), hostPage }));

test("pages that are saved come back in another process's place, all ranks of them, whoever reads", async () => {
  const first = new Opened(10);
  const opened = await first.next("opened");
  expect(opened).toMatchObject({ capacity: 100, digests: [], warning: null });
  first.store.save(pages([1, 0], [2, 1], [3, 2], [4, 3], [5, 4], [6, 5]));
  expect((await first.next("saved")).digests).toEqual([1, 2, 3, 4, 5, 6].map(digest));
  expect(first.calls).toBeGreaterThan(0);
  first.store.close();
  const second = new Opened(100);
  expect((await second.next("opened")).digests.sort()).toEqual([1, 2, 3, 4, 5, 6].map(digest));
  const id = second.store.load(pages([6, 0], [5, 1], [4, 2], [3, 3], [9, 4], [1, 5], [2, 6]));
  const { id: got, digests, lost, left } = await second.next("loaded");
  expect([got, digests.sort(), lost, left]).toEqual([id, [1, 2, 3, 4, 5, 6].map(digest), [digest(9)], []]);
  expect([0, 1, 2, 3, 5, 6].map((page) => second.bytes(page))).toEqual(
    [5, 4, 3, 2, 0, 1].map((page) => [10 + page * 2, 11 + page * 2]),
  );
  // What is removed is gone; the rest goes with clear().
  second.store.remove([digest(1)]);
  second.store.save(pages([7, 7]));
  await second.next("saved");
  expect(statSync(join(opened.folder, digest(7))).size).toBe(FILE);
  expect(readdirSync(opened.folder)).not.toContain(digest(1));
  second.store.clear();
  second.store.interrupt();
  expect(readdirSync(opened.folder).sort()).toEqual(["about.json", "engine", "lock"]);
  second.store.close();
});

test("a smaller size than before keeps what was used last, and pages of other setups make room first", async () => {
  const other = new Opened(10, 100 * FILE, { dtype: "a" });
  const { folder } = await other.next("opened");
  other.store.save(pages([1, 0], [2, 1]));
  await other.next("saved");
  other.store.close();
  const own = new Opened(50, 4 * FILE, { dtype: "b" });
  expect((await own.next("opened")).warning).toContain("dtype was a and is b");
  own.store.save(pages([3, 0], [4, 1]));
  await own.next("saved");
  expect(readdirSync(folder)).toContain(digest(1));
  own.store.save(pages([5, 2]));
  const { digests } = await own.next("saved");
  expect(digests).toEqual([digest(5)]);
  expect(readdirSync(folder)).not.toContain(digest(1));
  own.store.close();
});

test("interrupted, threads leave what they have not begun, and work goes on afterwards", async () => {
  const one = new Opened(10);
  await one.next("opened");
  one.store.save(pages(...Array.from({ length: 400 }, (_, i): [number, number] => [i, i % HOST_PAGES])));
  one.store.interrupt();
  const { digests, left } = await one.next("saved");
  expect(digests.length + left.length).toBe(400);
  expect(left.length).toBeGreaterThan(0);
  one.store.save(pages([1000, 0]));
  expect((await one.next("saved")).digests).toEqual([digest(1000)]);
  one.store.close();
});

test("who does not wait for threads takes their memory: what goes on later does not touch it", async () => {
  const one = new Opened(10);
  await one.next("opened");
  one.store.save(pages(...Array.from({ length: 90 }, (_, i): [number, number] => [i, i % HOST_PAGES])));
  await one.next("saved");
  one.store.load(pages(...Array.from({ length: 90 }, (_, i): [number, number] => [i, i % HOST_PAGES])));
  // They have not even begun: none hears of it before it is over.
  one.store.interrupt(0);
  for (const part of one.memory) part.fill(200);
  const { digests, left } = await one.next("loaded");
  expect(digests.length + left.length).toBe(90);
  expect(left.length).toBeGreaterThan(0);
  for (let page = 0; page < HOST_PAGES; page++) expect(one.bytes(page)).toEqual([200, 200]);
  // What is asked for from now on gets it again.
  one.store.load(pages([3, 0]));
  expect((await one.next("loaded")).digests).toEqual([digest(3)]);
  expect(one.bytes(0)).toEqual([10 + 3 * RANKS, 11 + 3 * RANKS]);
  one.store.close();
});

test("what the file system refuses is told of once, and nothing hangs on it", async () => {
  const one = new Opened(10);
  const { folder } = await one.next("opened");
  rmSync(folder, { recursive: true });
  one.store.save(pages([1, 0]));
  expect((await one.next("failed")).message).toContain("ENOENT");
  one.store.save(pages([2, 0]));
  one.store.close();
  const blocked = join(dir, "file");
  writeFileSync(blocked, "");
  const two = new Opened(10, 100 * FILE, {}, join(blocked, "cache"));
  expect((await two.next("failed")).message).toContain("ENOTDIR");
  two.store.close();
});
