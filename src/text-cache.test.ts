/** Values by text: what is kept within both bounds, and what is told to go. */
import { expect, test } from "bun:test";
import { TextCache } from "./text-cache.ts";

function cacheOf(most: number, mostLength: number) {
  const released: string[] = [];
  const cache = new TextCache<string>(
    (text, value) => text.length + value.length,
    (value) => released.push(value),
    most,
    mostLength,
  );
  return { cache, released };
}

test("beyond its number, what was used longest ago makes room", () => {
  const { cache, released } = cacheOf(2, 1000);
  cache.add("a", "A");
  cache.add("b", "B");
  expect(cache.get("a")).toBe("A");
  cache.add("c", "C");
  expect(released).toEqual(["B"]);
  expect([cache.get("a"), cache.get("b"), cache.get("c")]).toEqual(["A", null, "C"]);
});

test("beyond its length, as many go as must, and their length with them", () => {
  const { cache, released } = cacheOf(100, 20);
  for (const text of ["a", "b", "c"]) cache.add(text, text.repeat(5));
  expect(cache.size).toBe(3);
  cache.add("d", "d".repeat(10));
  expect(released).toEqual(["aaaaa", "bbbbb"]);
  // 17 characters are kept: 3 more fit.
  cache.add("e", "ee");
  expect(cache.size).toBe(3);
});

test("one that is too long stays alone until the next one comes", () => {
  const { cache, released } = cacheOf(100, 20);
  cache.add("a", "A");
  cache.add("b", "B".repeat(50));
  expect([cache.get("a"), cache.get("b")?.length]).toEqual([null, 50]);
  cache.add("c", "C");
  expect([cache.size, cache.get("c")]).toEqual([1, "C"]);
  expect(released.length).toBe(2);
});

test("a cache that is cleared has released everything, and is empty", () => {
  const { cache, released } = cacheOf(100, 20);
  for (const text of ["a", "b"]) cache.add(text, text);
  cache.clear();
  expect(released).toEqual(["a", "b"]);
  cache.add("c", "c".repeat(19));
  cache.add("d", "");
  expect([cache.size, cache.get("c")]).toEqual([1, null]);
});
