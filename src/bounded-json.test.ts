import { expect, test } from "bun:test";
import { z } from "zod";
import { boundedArray, boundedRecord, holdsAtMost } from "./bounded-json.ts";

/** A schema that counts what it was asked. */
function counting() {
  const counter = { calls: 0 };
  const schema = z.custom<number>((value) => {
    counter.calls++;
    return typeof value === "number";
  }, "must be a number");
  return { counter, schema };
}

const issues = (result: z.ZodSafeParseResult<unknown>) =>
  result.error!.issues.map(({ path, message }) => [path, message]);

test("an array that is too long has no entry checked", () => {
  const { counter, schema } = counting();
  const list = boundedArray(schema, 3, 1);
  expect(list.safeParse([1, 2, 3]).data).toEqual([1, 2, 3]);
  counter.calls = 0;
  for (const wrong of [[], [1, 2, 3, 4], "abc", { length: 1 }, null]) expect(list.safeParse(wrong).success).toBe(false);
  expect(counter.calls).toBe(0);
});

test("the first wrong entry ends the check, and is named", () => {
  const { counter, schema } = counting();
  const wrong = z.strictObject({ list: boundedArray(schema, 1000) }).safeParse({ list: Array(1000).fill("x") });
  expect(issues(wrong)).toEqual([[["list", 0], "must be a number"]]);
  expect(counter.calls).toBe(1);
  const nested = boundedArray(z.strictObject({ a: z.number() }), 3).safeParse([{ a: 1 }, { a: 1, b: 2 }]);
  expect(nested.error!.issues).toEqual([
    expect.objectContaining({ code: "unrecognized_keys", keys: ["b"], path: [1] }),
  ]);
});

test("records: the same, for keys and values", () => {
  const { counter, schema } = counting();
  const record = boundedRecord(z.string().regex(/^\d$/, "a digit"), schema, 3);
  expect(record.safeParse({ 1: 1, 2: 2 }).data).toEqual({ 1: 1, 2: 2 });
  counter.calls = 0;
  expect(issues(record.safeParse({ a: 1, b: 1, c: 1, d: 1 }))).toEqual([[[], "has 4 entries; at most 3 are allowed"]]);
  expect(counter.calls).toBe(0);
  expect(issues(record.safeParse({ a: 1, b: 1 }))).toEqual([[["a"], "a digit"]]);
  expect(issues(record.safeParse({ 1: "x", 2: "x" }))).toEqual([[["1"], "must be a number"]]);
  for (const wrong of [[1], "a", null]) expect(record.safeParse(wrong).success).toBe(false);
});

test("values are counted through arrays and objects", () => {
  expect(holdsAtMost({ a: [1, 2], b: { c: 3 } }, 6)).toBe(true);
  expect(holdsAtMost({ a: [1, 2], b: { c: 3 } }, 5)).toBe(false);
  expect(holdsAtMost(Array(1_000_000).fill([]), 10)).toBe(false);
});
