/** How much is found in the cache under loads that suit a least-recently-used cache, and under loads that empty one. */
import { expect, test } from "bun:test";
import { randomFrom } from "../../testing.ts";
import { PAGE_TOKENS, PageCache, type PageNode, pageKey } from "./page-cache.ts";

/** Pages of each document. */
const DEPTH = 4;

const noCopies = { copyPage() {} };

function tokensOf(document: number, index: number): Int32Array {
  return new Int32Array(PAGE_TOKENS).fill(document * DEPTH + index);
}

/** Reads documents one after another. Returns the share of pages that were found, leaving out the first `warmUp` documents. */
function shareFound(cache: PageCache, documents: readonly number[], warmUp: number): number {
  let found = 0;
  for (const [i, document] of documents.entries()) {
    const nodes: PageNode[] = [];
    const keyOf = (parent: PageNode) => pageKey(parent.key, tokensOf(document, nodes.length));
    for (let parent = cache.root; nodes.length < DEPTH; ) {
      const node = cache.find(parent, keyOf(parent), tokensOf(document, nodes.length), 0);
      if (!node) break;
      nodes.push(node);
      parent = node;
    }
    if (i >= warmUp) found += nodes.length;
    const pages: number[] = [];
    cache.acquire(nodes, pages, noCopies);
    while (nodes.length < DEPTH) {
      const parent = nodes.at(-1) ?? cache.root;
      const page = cache.allocate(noCopies);
      nodes.push(cache.register(parent, keyOf(parent), tokensOf(document, nodes.length), 0, page)!);
      pages.push(page);
    }
    for (const page of pages.toReversed()) cache.release(page);
  }
  return found / ((documents.length - warmUp) * DEPTH);
}

/** The same of a cache that keeps the documents that were used last. */
function shareOfLru(pages: number, documents: readonly number[], warmUp: number): number {
  const kept = new Set<number>();
  let found = 0;
  for (const [i, document] of documents.entries()) {
    if (kept.delete(document) && i >= warmUp) found++;
    kept.add(document);
    if (kept.size * DEPTH > pages) kept.delete(kept.values().next().value!);
  }
  return found / (documents.length - warmUp);
}

/** `count` draws among `kinds` documents, the n-th of which comes in proportion to 1 / n. */
function zipf(count: number, kinds: number, seed: number): number[] {
  const random = randomFrom(seed);
  const sums = Array.from({ length: kinds }, () => 0);
  for (let n = 0; n < kinds; n++) sums[n] = (sums[n - 1] ?? 0) + 1 / (n + 1);
  return Array.from({ length: count }, () => {
    const drawn = random() * sums.at(-1)!;
    return sums.findIndex((sum) => sum >= drawn);
  });
}

const sizes = [
  [160, 0],
  [120, 280],
  [80, 1200],
] as const;

test.each(sizes)(
  "%i device and %i host pages find no less of a Zipf mix than the most recently used would",
  (device, host) => {
    for (const seed of [1, 2, 3]) {
      const documents = zipf(6000, 1000, seed);
      const found = shareFound(new PageCache(device, host), documents, 2000);
      expect(found).toBeGreaterThanOrEqual(shareOfLru(device + host, documents, 2000));
    }
  },
);

test.each(sizes)("%i device and %i host pages keep what is used again while others pass by once", (device, host) => {
  const again = zipf(6000, 400, 7);
  let unique = 1000;
  // Of three documents, two are never seen again.
  const documents = again.flatMap((document) => [document, unique++, unique++]);
  const found = shareFound(new PageCache(device, host), documents, 6000);
  expect(found).toBeGreaterThan(1.1 * shareOfLru(device + host, documents, 6000));
});

test.each(sizes)(
  "%i device and %i host pages keep a part of what is read in turns and does not fit",
  (device, host) => {
    const kept = (device + host) / DEPTH;
    const documents = Array.from({ length: 20 * kept }, (_, i) => i % Math.round(1.4 * kept));
    expect(shareOfLru(device + host, documents, 0)).toBe(0);
    expect(shareFound(new PageCache(device, host), documents, 4 * kept)).toBeGreaterThan(0.6);
  },
);

test("what is used for a while and then never again makes room", () => {
  const documents = Array.from({ length: 4000 }, (_, i) => Math.floor(i / 200) * 20 + (i % 20));
  // 20 documents at a time, each of which is used ten times; 30 fit.
  expect(shareFound(new PageCache(60, 60), documents, 0)).toBeGreaterThan(0.8);
});
