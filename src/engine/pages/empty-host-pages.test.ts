import { expect, test } from "bun:test";
import { FG } from "../../ffi/layout.ts";
import { EmptyHostPages } from "./empty-host-pages.ts";
import { PAGE_TOKENS, PageCache, pageKey } from "./page-cache.ts";

test("the page that has been empty for longest is taken first", () => {
  const empty = new EmptyHostPages();
  empty.grow(2);
  expect([empty.take(), empty.take(), empty.take()]).toEqual([0, 1, -1]);
  empty.add(1);
  empty.grow(3);
  empty.add(0);
  expect([empty.take(), empty.take(), empty.take(), empty.size, empty.count]).toEqual([1, 2, 0, 0, 3]);
});

test("a sixteenth of the pages is not to spare, and never more than 64", () => {
  const empty = new EmptyHostPages();
  empty.grow(15);
  expect(empty.spare).toBe(15);
  empty.grow(64);
  expect(empty.spare).toBe(60);
  for (let i = 0; i < 62; i++) empty.take();
  expect(empty.spare).toBe(0);
  empty.grow(64 + 4096);
  expect(empty.spare).toBe(2 + 4096 - 64);
});

/** More pages than fit are read in turns. Returns the copies that this needs: [page, host page, direction]. */
function copiesOfTurns(cache: PageCache, documents: number, turns: number): number[][] {
  const copies: number[][] = [];
  const list = { copyPage: (...copy: number[]) => void copies.push(copy) };
  for (let i = 0; i < documents * turns; i++) {
    const tokens = new Int32Array(PAGE_TOKENS).fill(i % documents);
    const key = pageKey(cache.root.key, tokens);
    const known = cache.find(cache.root, key, tokens, 0);
    const pages: number[] = [];
    if (known) cache.acquire([known], pages, list);
    else pages.push(cache.register(cache.root, key, tokens, 0, cache.allocate(list))!.page);
    cache.release(pages[0]!);
  }
  return copies;
}

test("a page that goes to the host takes a place that has not been read since several others went there", () => {
  const copies = copiesOfTurns(new PageCache(32, 64), 94, 40);
  const savesBefore = new Map<number, number>();
  const between: number[] = [];
  let saves = 0;
  for (const [, hostPage, direction] of copies as [number, number, number][]) {
    if (direction !== FG.TO_HOST) savesBefore.set(hostPage, saves);
    else between.push(saves++ - (savesBefore.get(hostPage) ?? Number.NEGATIVE_INFINITY));
  }
  expect(savesBefore.size).toBeGreaterThan(50);
  // 64 / 16 are kept empty.
  expect(Math.min(...between)).toBe(4);
});
