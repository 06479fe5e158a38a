import { expect, test } from "bun:test";
import { type BatchJob, runBounded } from "./batch.ts";

function job(ms: number, value: number, weight = 1): BatchJob<number> {
  const run = () => Bun.sleep(ms).then(() => (value < 0 ? Promise.reject(new Error("bad")) : value));
  return { weight, run, abort() {} };
}

test("results come as they finish, with their input's place; one failure disturbs no other", async () => {
  const seen: unknown[] = [];
  for await (const { index, outcome } of runBounded([30, -5, 1], 8, (ms) => job(Math.abs(ms), ms))) {
    seen.push([index, outcome.status]);
  }
  expect(seen).toEqual([
    [2, "fulfilled"],
    [1, "rejected"],
    [0, "fulfilled"],
  ]);
});

test("an endless input is read only as places free up, and closed on an early exit", async () => {
  let read = 0;
  let closed = false;
  let most = 0;
  let alive = 0;
  const aborted: number[] = [];
  async function* endless() {
    try {
      for (;;) yield read++;
    } finally {
      closed = true;
    }
  }
  let taken = 0;
  const prepare = (i: number): BatchJob<number> => ({
    weight: 1,
    run: () => {
      most = Math.max(most, ++alive);
      return Bun.sleep(2).then(() => alive-- && i);
    },
    abort: () => aborted.push(i),
  });
  for await (const _ of runBounded(endless(), 4, prepare)) {
    await Bun.sleep(5);
    if (++taken === 10) break;
  }
  expect(most).toBeLessThanOrEqual(4);
  expect(read).toBeLessThanOrEqual(15);
  expect(closed).toBe(true);
});

test("when the input fails, what was started is finished first", async () => {
  function* failing() {
    yield 1;
    yield 2;
    throw new Error("input broke");
  }
  const seen: number[] = [];
  const all = (async () => {
    for await (const { index } of runBounded(failing(), 8, (i) => job(5, i))) seen.push(index);
  })();
  await expect(all).rejects.toThrow("input broke");
  expect(seen.sort()).toEqual([0, 1]);
});

test("no input, no results", async () => {
  for await (const _ of runBounded([], 4, () => job(1, 1))) throw new Error("unexpected");
});

test("an early exit does not wait for an input that never answers", async () => {
  async function* stuck() {
    yield 1;
    await new Promise(() => {});
  }
  for await (const _ of runBounded(stuck(), 4, (i) => job(1, i))) break;
});

test("weights add up to the limit; what weighs more runs alone", async () => {
  let load = 0;
  const seen: number[] = [];
  const prepare = (weight: number): BatchJob<number> => ({
    weight,
    run: async () => {
      load += weight;
      seen.push(load);
      await Bun.sleep(3);
      load -= weight;
      return weight;
    },
    abort() {},
  });
  let results = 0;
  for await (const _ of runBounded([2, 2, 1, 9, 4, 1, 3], 4, prepare)) results++;
  expect(results).toBe(7);
  expect(Math.max(...seen.filter((at) => at !== 9))).toBeLessThanOrEqual(4);
  expect(seen).toContain(9);
});
