/** The order in which pages leave the device and the host. */
import { expect, test } from "bun:test";
import { PAGE_TOKENS, PageCache, type PageNode, pageKey } from "./page-cache.ts";

const noCopies = { copyPage() {} };
const tokensOf = (flavour: number) => new Int32Array(PAGE_TOKENS).fill(flavour);

function add(cache: PageCache, flavour: number): PageNode {
  const tokens = tokensOf(flavour);
  return cache.register(cache.root, pageKey(cache.root.key, tokens), tokens, 0, cache.allocate(noCopies))!;
}

const isThere = (cache: PageCache, flavour: number) =>
  cache.find(cache.root, pageKey(cache.root.key, tokensOf(flavour)), tokensOf(flavour), 0) !== null;

/** Takes every device page, so that all that is cached there must leave it; then gives them back empty. */
function pressDevice(cache: PageCache): void {
  const pages = Array.from({ length: cache.pages }, () => cache.allocate(noCopies));
  for (const page of pages) cache.release(page);
}

test("of pages that came back to the device, the one that leaves it last is the host's youngest", () => {
  const cache = new PageCache(2, 2);
  for (const flavour of [1, 2]) {
    cache.release(add(cache, flavour).page);
    pressDevice(cache);
  }
  const nodeOf = (flavour: number) =>
    cache.find(cache.root, pageKey(cache.root.key, tokensOf(flavour)), tokensOf(flavour), 0)!;
  const pages: number[] = [];
  // They come back in one order and leave in the other.
  cache.acquire([nodeOf(1)], pages, noCopies);
  cache.acquire([nodeOf(2)], pages, noCopies);
  cache.release(nodeOf(2).page);
  cache.release(nodeOf(1).page);
  pressDevice(cache);
  // The host is full: a third page costs the one that left the device longest ago.
  cache.release(add(cache, 3).page);
  pressDevice(cache);
  expect([isThere(cache, 1), isThere(cache, 2), isThere(cache, 3)]).toEqual([true, false, true]);
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
