/** The order in which pages leave the device and the host. */
import { expect, test } from "bun:test";
import { PAGE_TOKENS, PageCache, type PageNode, pageKey } from "./page-cache.ts";

const noCopies = { copyPage() {} };
const tokensOf = (flavour: number) => new Int32Array(PAGE_TOKENS).fill(flavour);

function add(cache: PageCache, flavour: number): PageNode {
  const tokens = tokensOf(flavour);
  return cache.register(cache.root, pageKey(cache.root.key, tokens), tokens, 0, cache.allocate(noCopies))!;
}

/** The same, but for `used` pages that sequences refer to. */
function pressDeviceBut(cache: PageCache, used: number): void {
  const pages = Array.from({ length: cache.pages - used }, () => cache.allocate(noCopies));
  for (const page of pages) cache.release(page);
}

const isThere = (cache: PageCache, flavour: number) =>
  cache.find(cache.root, pageKey(cache.root.key, tokensOf(flavour)), tokensOf(flavour), 0) !== null;

/** Takes every device page, so that all that is cached there must leave it; then gives them back empty. */
function pressDevice(cache: PageCache): void {
  const pages = Array.from({ length: cache.pages }, () => cache.allocate(noCopies));
  for (const page of pages) cache.release(page);
}

const nodeOf = (cache: PageCache, flavour: number) =>
  cache.find(cache.root, pageKey(cache.root.key, tokensOf(flavour)), tokensOf(flavour), 0)!;

test("what a waiting sequence will start from leaves last; of several, what the last of them needs leaves first", () => {
  const cache = new PageCache(4, 0);
  const nodes = [1, 2, 3, 4].map((flavour) => add(cache, flavour));
  for (const { page } of nodes) cache.release(page);
  cache.await(nodes[0]!, 8);
  cache.await(nodes[1]!, 7);
  cache.await(nodes[3]!, 9);
  cache.await(nodes[3]!, 6);
  cache.awaitNoMore(nodes[3]!);
  const left: boolean[][] = [];
  for (let i = 0; i < 4; i++) {
    cache.allocate(noCopies);
    left.push([1, 2, 3, 4].map((flavour) => isThere(cache, flavour)));
  }
  expect(left).toEqual([
    [true, true, false, true],
    [false, true, false, true],
    [false, false, false, true],
    [false, false, false, false],
  ]);
});

test("what nobody waits for any longer leaves like other pages", () => {
  const cache = new PageCache(2, 0);
  const nodes = [add(cache, 1), add(cache, 2)];
  for (const { page } of nodes) cache.release(page);
  cache.await(nodes[1]!, 0);
  cache.awaitNoMore(nodes[1]!);
  // Nothing was used twice so far: the newest leaves, so that others stay.
  cache.allocate(noCopies);
  expect([isThere(cache, 1), isThere(cache, 2)]).toEqual([true, false]);
});

test("the host gives up copies of what the device holds too, before anything is lost", () => {
  const cache = new PageCache(2, 2);
  for (const flavour of [1, 2]) {
    cache.release(add(cache, flavour).page);
    pressDevice(cache);
  }
  const pages: number[] = [];
  cache.acquire([nodeOf(cache, 1)], pages, noCopies);
  expect(cache.room).toBe(2);
  cache.release(add(cache, 3).page);
  pressDeviceBut(cache, 1);
  expect([1, 2, 3].map((flavour) => isThere(cache, flavour))).toEqual([true, true, true]);
  expect(nodeOf(cache, 1).hostPage).toBe(-1);
});

test("on the host, too, ends leave before their beginnings, and a page that follows others is kept with them", () => {
  const cache = new PageCache(3, 3);
  const nodes: PageNode[] = [];
  for (const flavour of [1, 2, 3]) {
    const parent = nodes.at(-1) ?? cache.root;
    const tokens = tokensOf(flavour);
    nodes.push(cache.register(parent, pageKey(parent.key, tokens), tokens, 0, cache.allocate(noCopies))!);
  }
  for (const { page } of nodes.toReversed()) cache.release(page);
  pressDevice(cache);
  expect(nodes.map(({ hostPage }) => hostPage >= 0)).toEqual([true, true, true]);
  // Another page is used twice, and so is worth more than any of these.
  const other = add(cache, 4);
  cache.release(other.page);
  cache.release(cache.allocate(noCopies));
  cache.acquire([other], [], noCopies);
  cache.release(other.page);
  pressDevice(cache);
  expect(nodes.map((node) => cache.isCached(node))).toEqual([true, true, false]);
  expect(cache.isCached(other)).toBe(true);
});

test("a sequence that takes back what it gave up is no second use", () => {
  const cache = new PageCache(2, 0);
  const [first, second] = [add(cache, 1), add(cache, 2)];
  cache.release(first.page);
  cache.acquire([first], [], noCopies, false);
  expect(first.gap).toBe(-1);
  cache.release(first.page);
  cache.release(second.page);
  // Had the first been used twice, it would be worth more than the second.
  cache.allocate(noCopies);
  expect([isThere(cache, 1), isThere(cache, 2)]).toEqual([true, false]);
});

test("once second uses come soon, of pages used once the oldest leaves", () => {
  const cache = new PageCache(4, 0);
  const again = add(cache, 1);
  cache.release(again.page);
  cache.release(cache.allocate(noCopies));
  cache.acquire([again], [], noCopies);
  cache.release(again.page);
  for (const flavour of [2, 3]) cache.release(add(cache, flavour).page);
  for (let i = 0; i < 2; i++) cache.allocate(noCopies);
  expect([1, 2, 3].map((flavour) => isThere(cache, flavour))).toEqual([true, false, true]);
});

test("what a waiting sequence needs takes the host page of what none needs, and not the other way round", () => {
  for (const [first, second] of [
    [true, false],
    [false, true],
  ]) {
    const cache = new PageCache(1, 1);
    const onHost = add(cache, 1);
    cache.release(onHost.page);
    pressDevice(cache);
    if (first) cache.await(onHost, 0);
    const onDevice = add(cache, 2);
    cache.release(onDevice.page);
    if (second) cache.await(onDevice, 0);
    pressDevice(cache);
    expect([cache.isCached(onHost), cache.isCached(onDevice)]).toEqual([first!, second!]);
  }
});

test("a page that is forgotten gives its place on the host back", () => {
  const cache = new PageCache(2, 3);
  const node = add(cache, 1);
  cache.release(node.page);
  pressDevice(cache);
  expect(cache.emptyHost).toBe(2);
  cache.forget(node);
  expect([cache.emptyHost, cache.empty, isThere(cache, 1)]).toEqual([3, 2, false]);
});
