import { expect, test } from "bun:test";
import fc from "fast-check";
import { backlogForAll, chunkTokens, forcedTokens, STEP_TILE } from "./step-size.ts";

test("the longer the backlog, the more prompt tokens, up to the whole budget", () => {
  // Beside a tile of decodes.
  expect(chunkTokens(2048, STEP_TILE, 1000)).toBe(512);
  expect(chunkTokens(2048, STEP_TILE, 2300)).toBe(1024);
  expect(chunkTokens(2048, STEP_TILE, backlogForAll(2048))).toBe(2048 - STEP_TILE);
  expect(chunkTokens(2048, STEP_TILE, 1e9)).toBe(2048 - STEP_TILE);
});

test("the least that a step takes does not grow with a large budget", () => {
  expect(chunkTokens(8192, STEP_TILE, 1000)).toBe(chunkTokens(2048, STEP_TILE, 1000));
  expect(chunkTokens(512, 0, 150)).toBe(128);
});

test("a step ends at a tile's edge rather than a little past it", () => {
  expect(chunkTokens(2048, 40, 1000)).toBe(512 - 40);
  expect(chunkTokens(2048, 40, 600)).toBe(512 - 40);
  // The backlog itself, shorter than what the step would take, ends a little past an edge.
  expect(chunkTokens(2048, 40, 230)).toBe(256 - 40);
});

test("it goes past the edge where too few prompt tokens would be left before it", () => {
  expect(chunkTokens(1024, 170, 400)).toBe(256 - 170);
  expect(chunkTokens(1024, 171, 400)).toBe(256);
  // Before the first edge there is none to stop at.
  expect(chunkTokens(2048, 40, 100)).toBe(512);
  expect(chunkTokens(64, 10, 1000)).toBe(54);
});

test("never more than the budget leaves, and never nothing while something is left", () => {
  const sizes = fc
    .integer({ min: 1, max: 4096 })
    .chain((max) => fc.tuple(fc.constant(max), fc.nat(max), fc.nat(20_000)));
  fc.assert(
    fc.property(sizes, ([max, decodes, backlog]) => {
      const tokens = chunkTokens(max, decodes, backlog);
      expect(tokens).toBeWithin(decodes < max ? 1 : 0, max - decodes + 1);
    }),
  );
});

test("forced tokens fill a step's last tile, and open another one where they fill half of it", () => {
  expect([forcedTokens(1, 63), forcedTokens(50, 14), forcedTokens(10, 3)]).toEqual([63, 14, 3]);
  // A tile that is full stays the last one for a few.
  expect([forcedTokens(64, 7), forcedTokens(64, 31), forcedTokens(256, 31)]).toEqual([0, 0, 0]);
  expect([forcedTokens(64, 32), forcedTokens(64, 64), forcedTokens(256, 40)]).toEqual([32, 64, 40]);
  expect([forcedTokens(50, 20), forcedTokens(1, 64 + 20)]).toEqual([14, 63]);
  expect([forcedTokens(64, 0), forcedTokens(0, 0)]).toEqual([0, 0]);
});

test("no more forced tokens are taken than there are, and those that are not would have opened another tile", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 1000 }), fc.integer({ min: 0, max: 1000 }), (tokens, wanted) => {
      const taken = forcedTokens(tokens, wanted);
      expect(taken).toBeGreaterThanOrEqual(0);
      expect(taken).toBeLessThanOrEqual(wanted);
      if (taken < wanted) expect((tokens + taken) % 64).toBe(0);
    }),
  );
});
