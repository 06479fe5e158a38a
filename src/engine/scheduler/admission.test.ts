import { expect, test } from "bun:test";
import fc from "fast-check";
import { PAGE_TOKENS } from "../pages/page-cache.ts";
import { YOUNG_TOKENS, youngLimit } from "./admission.ts";
import { STEP_TILE } from "./step-size.ts";

const MANY = 100_000;
const equal = (start: number, growth: number) => Array.from({ length: 8 }, () => ({ start, growth }));

test("starts as far apart as the limit has it fill the pool, and no more, when the first sequence ends", () => {
  let staggered = 0;
  const sizes = [fc.integer({ min: 1, max: 4000 }), fc.integer({ min: 200, max: 4000 })] as const;
  fc.assert(
    fc.property(...sizes, fc.integer({ min: 500, max: 20_000 }), (start, growth, pages) => {
      const pool = pages * PAGE_TOKENS;
      const first = start + PAGE_TOKENS / 2;
      const mixed = pool / (first + growth / 2);
      const running = mixed < STEP_TILE ? mixed : Math.floor(mixed / STEP_TILE) * STEP_TILE;
      const limit = youngLimit(equal(start, growth), pages, MANY);
      if (limit === Number.POSITIVE_INFINITY) {
        expect(running * (first + growth)).toBeLessThanOrEqual(pool);
        return;
      }
      staggered++;
      const young = Math.min(growth, YOUNG_TOKENS);
      const startsPerStep = (limit * PAGE_TOKENS) / (young * (growth - young / 2));
      // The last of them starts `running / startsPerStep` steps after the first.
      const held = running * (first + growth - running / startsPerStep / 2);
      expect(held / pool).toBeWithin(0.999, 1.001);
    }),
    { numRuns: 500 },
  );
  expect(staggered).toBeGreaterThan(100);
});

test("what the pool holds side by side may start at once", () => {
  expect(youngLimit(equal(100, 1000), 10_000, 256)).toBe(Number.POSITIVE_INFINITY);
  expect(youngLimit(equal(100, 1000), 10_000, MANY)).toBeLessThan(10_000);
  expect(youngLimit(equal(100, 0), 10, MANY)).toBe(Number.POSITIVE_INFINITY);
});

test("sequences that end at different times need to start less far apart", () => {
  const mixed = Array.from({ length: 100 }, (_, i) => ({ start: 128, growth: 20 * (i + 1) }));
  const mean = equal(128, 1010);
  for (const pages of [3000, 3400, 3800]) {
    expect(youngLimit(mixed, pages, 256)).toBeGreaterThan(2 * youngLimit(mean, pages, 256));
  }
});
