import { expect, test } from "bun:test";
import { Pacer } from "./pacer.ts";

test("the plan waits for three quarters of the fastest recent run of about this size", () => {
  const pacer = new Pacer();
  expect(pacer.slack(0)).toBe(0);
  pacer.submitted(64, 0);
  expect(pacer.slack(0)).toBe(0); // nothing is known yet
  pacer.finished(40, 40);
  pacer.submitted(100, 50);
  expect(pacer.slack(50)).toBeCloseTo(30);
  expect(pacer.slack(70)).toBeCloseTo(10);
  expect(pacer.slack(90)).toBe(0);
  pacer.submitted(64, 90); // two out: nothing to plan
  expect(pacer.slack(90)).toBe(0);
  pacer.finished(20, 95);
  expect(pacer.slack(95)).toBeCloseTo(15);
  expect(pacer.slack(95 + 3)).toBeCloseTo(12);
});

test("other sizes, short steps and old runs do not count", () => {
  const pacer = new Pacer();
  const run = (tokens: number, ms: number) => {
    pacer.submitted(tokens, 0);
    pacer.finished(ms, 0);
  };
  run(8, 2.5);
  pacer.submitted(8, 0);
  expect(pacer.slack(0)).toBeCloseTo(0.5); // at least two milliseconds are left for planning
  pacer.finished(null, 0); // a failed step says nothing
  for (let i = 0; i < 8; i++) run(8, 100);
  pacer.submitted(8, 0);
  expect(pacer.slack(0)).toBeCloseTo(75);
  pacer.finished(100, 0);
  pacer.submitted(16, 0);
  expect(pacer.slack(0)).toBe(0);
});

test("with two steps out there is nothing to put off, however long the first still runs", () => {
  const pacer = new Pacer();
  pacer.submitted(64, 0);
  pacer.finished(40, 40);
  pacer.submitted(64, 40);
  expect(pacer.slack(41)).toBeCloseTo(29);
  pacer.submitted(64, 41);
  expect(pacer.slack(41)).toBe(0);
});

test("a step that failed says nothing about how long steps take", () => {
  const pacer = new Pacer();
  pacer.submitted(8, 0);
  pacer.finished(40, 0);
  pacer.submitted(8, 0);
  pacer.finished(null, 0);
  pacer.submitted(8, 0);
  expect(pacer.slack(0)).toBeCloseTo(30);
});
