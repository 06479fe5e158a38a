import { expect, test } from "bun:test";
import fc from "fast-check";
import { PAGE_TOKENS } from "./pages/page-cache.ts";
import { PrefixIndex, pageKeys } from "./prefix-index.ts";

/** A prompt whose pages hold these values, and `rest` tokens more. */
const prompt = (pages: number[], rest = 0) =>
  Int32Array.from([...pages.flatMap((value) => new Array(PAGE_TOKENS).fill(value)), ...new Array(rest).fill(-1)]);

const keys = (pages: number[], rest = 0, salt = "") => pageKeys(prompt(pages, rest), salt);

test("a prompt has a key for each whole page", () => {
  expect(keys([])).toEqual([]);
  expect(keys([], PAGE_TOKENS - 1)).toEqual([]);
  expect(keys([1, 2], 5)).toEqual(keys([1, 2]));
  expect(new Set(keys([1, 1, 1])).size).toBe(3);
});

test("a page is known only behind the same pages, and with the same salt", () => {
  const index = new PrefixIndex(100);
  index.add(keys([1, 2, 3]));
  expect(index.match(keys([1, 2, 4]))).toBe(2);
  expect(index.match(keys([1, 2, 3, 4]))).toBe(3);
  expect(index.match(keys([2, 3]))).toBe(0);
  expect(index.match(keys([1, 2, 3], 0, "a"))).toBe(0);
  index.add(keys([1], 0, "a"));
  expect(index.match(keys([1, 2, 3], 0, "a"))).toBe(1);
  expect(index.match(keys([1, 2, 3], 0, "b"))).toBe(0);
});

test("beyond its size, the prompt that was sent longest ago is forgotten, its end first", () => {
  const index = new PrefixIndex(4);
  index.add(keys([1, 2]));
  index.add(keys([3, 4]));
  index.add(keys([1, 2]));
  index.add(keys([5]));
  expect([[1, 2], [3, 4], [5]].map((pages) => index.match(keys(pages)))).toEqual([2, 1, 1]);
  index.add(keys([6, 7, 8, 9, 10, 11]));
  expect(index.size).toBe(4);
  expect(index.match(keys([6, 7, 8, 9, 10, 11]))).toBe(4);
  index.clear();
  expect([index.size, index.match(keys([6]))]).toEqual([0, 0]);
});

test("an index that is large enough knows the longest common beginning of all that was sent", () => {
  const pages = fc.array(fc.integer({ min: 0, max: 2 }), { maxLength: 5 });
  fc.assert(
    fc.property(fc.array(pages, { maxLength: 6 }), pages, (sent, asked) => {
      const index = new PrefixIndex(1000);
      for (const one of sent) index.add(keys(one));
      const common = (one: number[]) => {
        const differs = asked.findIndex((value, i) => one[i] !== value);
        return differs < 0 ? asked.length : differs;
      };
      expect(index.match(keys(asked))).toBe(Math.max(0, ...sent.map(common)));
    }),
  );
});
