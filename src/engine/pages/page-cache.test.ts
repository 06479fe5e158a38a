import { expect, test } from "bun:test";
import fc from "fast-check";
import { FG } from "../../ffi/layout.ts";
import { PAGE_TOKENS, PageCache, type PageNode, pageKey } from "./page-cache.ts";

/** Writes copies down as "device>host" and "host>device". */
class Copies {
  list: string[] = [];
  copyPage(page: number, hostPage: number, direction: number): void {
    this.list.push(direction === FG.TO_HOST ? `d${page}>h${hostPage}` : `h${hostPage}>d${page}`);
  }
}

function page(flavour: number): Int32Array {
  return new Int32Array(PAGE_TOKENS).fill(flavour);
}

/** A full page of `flavour` after `parent`, computed by one sequence. */
function add(cache: PageCache, copies: Copies, flavour: number, parent = cache.root): PageNode {
  const tokens = page(flavour);
  return cache.register(parent, pageKey(parent.key, tokens), tokens, 0, cache.allocate(copies))!;
}

function find(cache: PageCache, flavour: number, parent = cache.root): PageNode | null {
  const tokens = page(flavour);
  return cache.find(parent, pageKey(parent.key, tokens), tokens, 0);
}

test("a key depends on every token and on all before it", () => {
  const keys = new Set<bigint>();
  for (let i = 0; i < PAGE_TOKENS; i++) {
    const tokens = page(5);
    tokens[i] = 6;
    keys.add(pageKey(0n, tokens));
  }
  keys.add(pageKey(0n, page(5))).add(pageKey(1n, page(5)));
  expect(keys.size).toBe(PAGE_TOKENS + 2);
  // A view and a copy of it are the same tokens.
  const whole = Int32Array.from({ length: 3 * PAGE_TOKENS }, (_, i) => i);
  const view = whole.subarray(PAGE_TOKENS, 2 * PAGE_TOKENS);
  expect(pageKey(9n, view)).toBe(pageKey(9n, view.slice()));
});

test("a hash that collides never serves other content", () => {
  const cache = new PageCache(4, 0);
  const copies = new Copies();
  const key = 42n;
  const held = cache.register(cache.root, key, page(1), 0, cache.allocate(copies))!;
  expect(cache.find(cache.root, key, page(2), 0)).toBeNull();
  const own = cache.allocate(copies);
  expect(cache.register(cache.root, key, page(2), 0, own)).toBeNull();
  // Once nobody refers to the first, its place may be taken.
  cache.release(held.page);
  const taken = cache.register(cache.root, key, page(2), 0, own)!;
  expect(cache.find(cache.root, key, page(2), 0)).toBe(taken);
  expect(cache.find(cache.root, key, page(1), 0)).toBeNull();
  // The same tokens after another prefix are other content too.
  expect(cache.find(taken, key, page(2), 0)).toBeNull();
  cache.release(own);
  expect([cache.available, cache.empty]).toEqual([4, 3]);
});

test("without a host pool the least recently used page is forgotten, ends before their beginnings", () => {
  const cache = new PageCache(3, 0);
  const copies = new Copies();
  const a = add(cache, copies, 1);
  const b = add(cache, copies, 2, a);
  cache.release(b.page);
  cache.release(a.page);
  add(cache, copies, 3);
  expect(cache.available).toBe(2);
  cache.allocate(copies);
  expect([find(cache, 1), find(cache, 2, a)]).toEqual([a, null]);
  cache.allocate(copies);
  expect(find(cache, 1)).toBeNull();
  expect(cache.allocate(copies)).toBe(-1);
  expect(copies.list).toEqual([]);
});

test("evicted pages go to the host and return when they are asked for", () => {
  const cache = new PageCache(2, 2);
  const copies = new Copies();
  const a = add(cache, copies, 1);
  const b = add(cache, copies, 2, a);
  const [pageA, pageB] = [a.page, b.page];
  cache.release(pageB);
  cache.release(pageA);
  const used = [cache.allocate(copies), cache.allocate(copies)];
  expect(copies.list).toEqual([`d${pageB}>h${b.hostPage}`, `d${pageA}>h${a.hostPage}`]);
  expect([find(cache, 1), find(cache, 2, a)]).toEqual([a, b]);
  for (const one of used) cache.release(one);
  copies.list = [];
  const pages: number[] = [];
  cache.acquire([a, b], pages, copies);
  expect(pages).toEqual([a.page, b.page]);
  expect(copies.list).toEqual([`h${a.hostPage}>d${a.page}`, `h${b.hostPage}>d${b.page}`]);
  // Their copies on the host are still good: to evict them again costs none.
  cache.release(b.page);
  cache.release(a.page);
  copies.list = [];
  cache.allocate(copies);
  expect(copies.list).toEqual([]);
});

test("a page computed twice is kept once", () => {
  const cache = new PageCache(4, 0);
  const copies = new Copies();
  const first = add(cache, copies, 1);
  const second = add(cache, copies, 1);
  expect(second).toBe(first);
  expect([cache.refs[first.page], cache.empty]).toEqual([2, 3]);
});

test("a cleared cache holds nothing, but for what sequences use; nobody finds that either", () => {
  const copies = new Copies();
  const cache = new PageCache(3, 2);
  const [idle, used] = [add(cache, copies, 1), add(cache, copies, 2)];
  const below = add(cache, copies, 3, used);
  cache.release(idle.page);
  // To the host, for the page of another sequence.
  const own = cache.allocate(copies);
  expect([cache.empty, cache.emptyHost]).toEqual([0, 1]);
  cache.clear();
  expect([cache.empty, cache.emptyHost]).toEqual([0, 2]);
  expect([find(cache, 1), find(cache, 2), find(cache, 3, used)]).toEqual([null, null, null]);
  // What was in use is gone once it is not.
  for (const page of [below.page, used.page, own]) cache.release(page);
  expect([cache.empty, cache.available, cache.emptyHost]).toEqual([3, 3, 2]);
});

// Of 20 host pages, one is kept empty.
test.each([3, 20])(
  "with %i host pages, whatever is allocated, shared, released, evicted and restored, contents are right and no page is lost",
  (HOST) => {
    const PAGES = 6;
    const command = fc.record({
      flavours: fc.array(fc.nat(2), { minLength: 1, maxLength: 4 }),
      releaseOne: fc.boolean(),
      savesPages: fc.nat(3).map((n) => n > 0),
    });
    fc.assert(
      fc.property(fc.array(command, { maxLength: 60, size: "max" }), (commands) => {
        const cache = new PageCache(PAGES, HOST);
        // What each page holds: applied in the order that copies and writes are submitted.
        const device = new Array<string>(PAGES).fill("");
        const host = new Array<string>(HOST).fill("");
        const copies = {
          copyPage(page: number, hostPage: number, direction: number) {
            if (direction === FG.TO_HOST) host[hostPage] = device[page]!;
            else device[page] = host[hostPage]!;
          },
        };
        const holders: number[][] = [];
        const release = (pages: number[]) => {
          for (const one of pages.toReversed()) cache.release(one);
        };
        for (const { flavours, releaseOne, savesPages } of commands) {
          cache.savesPages = savesPages;
          if (releaseOne && holders.length > 0) release(holders.shift()!);
          const nodes: PageNode[] = [];
          for (const flavour of flavours) {
            const node = find(cache, flavour, nodes.at(-1) ?? cache.root);
            if (!node) break;
            nodes.push(node);
          }
          const held = nodes.filter((node) => node.page >= 0 && cache.refs[node.page]! > 0).length;
          if (flavours.length - held > cache.available) continue;
          const pages: number[] = [];
          cache.acquire(nodes, pages, copies);
          const content = (length: number) => flavours.slice(0, length).join();
          for (const [i, one] of pages.entries()) expect(device[one]).toBe(content(i + 1));
          let parent = nodes.at(-1) ?? cache.root;
          for (let i = nodes.length; i < flavours.length; i++) {
            const one = cache.allocate(copies);
            device[one] = content(i + 1);
            const tokens = page(flavours[i]!);
            const node = cache.register(parent, pageKey(parent.key, tokens), tokens, 0, one)!;
            expect(device[node.page]).toBe(content(i + 1));
            pages.push(node.page);
            parent = node;
          }
          holders.push(pages);
          const distinct = new Set(holders.flat());
          expect(cache.referenced).toBe(distinct.size);
        }
        for (const pages of holders) release(pages);
        expect(cache.available).toBe(PAGES);
        cache.clear();
        expect([cache.empty, cache.emptyHost]).toEqual([PAGES, HOST]);
      }),
      { numRuns: 300 },
    );
  },
);
