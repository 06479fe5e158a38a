import { expect, test } from "bun:test";
import { type Candidate, route } from "./routing.ts";

const idle: Candidate = { load: 0, cachedTokens: 0 };

test("the engine that has a prompt's beginning gets it", () => {
  const candidates = [idle, { load: 500, cachedTokens: 640 }, { load: 0, cachedTokens: 128 }];
  for (const last of [-1, 0, 1, 2]) expect(route(candidates, last)).toBe(1);
});

test("unless it is clearly busier", () => {
  const busy = (load: number) =>
    route(
      [
        { load: 1000, cachedTokens: 0 },
        { load, cachedTokens: 640 },
      ],
      1,
    );
  expect(busy(1000 + 8 * 640 - 1)).toBe(1);
  expect(busy(1000 + 8 * 640 + 1)).toBe(0);
});

test("where nothing is cached, or the same, the one with the least to do gets it", () => {
  expect(
    route(
      [
        { load: 3, cachedTokens: 64 },
        { load: 2, cachedTokens: 64 },
        { load: 4, cachedTokens: 64 },
      ],
      0,
    ),
  ).toBe(1);
  // Where both are worth the same, less load.
  expect(route([{ load: 512, cachedTokens: 64 }, idle], 1)).toBe(1);
});

test("equals take turns", () => {
  const turns = [0];
  for (let i = 0; i < 6; i++) turns.push(route([idle, idle, idle], turns.at(-1)!));
  expect(turns).toEqual([0, 1, 2, 0, 1, 2, 0]);
  expect(route([idle], 0)).toBe(0);
  expect(route([idle, idle], -1)).toBe(0);
});
