import { expect, test } from "bun:test";
import { type BatchJob, runBounded } from "./run-bounded.ts";

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

/** A job that ends when the test says so. */
function manual(log: string[]) {
  const ends = new Map<number, () => void>();
  const prepare = (value: number): BatchJob<number> => ({
    weight: 1,
    run: () => {
      log.push(`run ${value}`);
      return new Promise((resolve) => ends.set(value, () => resolve(value)));
    },
    abort: () => log.push(`abort ${value}`),
  });
  return { prepare, end: (value: number) => ends.get(value)!() };
}

test("the limit is used to the full, and one input more is read than fits, never two", async () => {
  const log: string[] = [];
  const { prepare, end } = manual(log);
  let read = 0;
  function* inputs() {
    for (;;) yield read++;
  }
  const results = runBounded(inputs(), 3, prepare);
  const first = results.next();
  for (let i = 0; i < 20; i++) await null;
  expect(log).toEqual(["run 0", "run 1", "run 2"]);
  expect(read).toBe(3);
  end(1);
  expect((await first).value).toMatchObject({ index: 1 });
  // A result that was handed out and not yet come back for still counts.
  for (let i = 0; i < 20; i++) await null;
  expect(log).toHaveLength(3);
  const second = results.next();
  for (let i = 0; i < 20; i++) await null;
  expect(log).toEqual(["run 0", "run 1", "run 2", "run 3"]);
  end(0);
  expect((await second).value).toMatchObject({ index: 0 });
  await results.return();
  expect(log.slice(4)).toEqual(["abort 2", "abort 3"]);
});

test("leaving early aborts what runs and nothing else, and waits until the input has closed", async () => {
  const log: string[] = [];
  const { prepare, end } = manual(log);
  async function* inputs() {
    try {
      yield* [0, 1, 2, 3];
    } finally {
      await Bun.sleep(5);
      log.push("closed");
    }
  }
  const results = runBounded(inputs(), 2, prepare);
  const first = results.next();
  await Bun.sleep(1);
  end(0);
  await first;
  await results.return();
  expect(log).toEqual(["run 0", "run 1", "abort 1", "closed"]);
});
