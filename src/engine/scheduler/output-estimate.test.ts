import { expect, test } from "bun:test";
import { OutputEstimate } from "./output-estimate.ts";

test("max_tokens is believed while short, and long ones are assumed to be used in part", () => {
  const estimate = new OutputEstimate();
  expect(estimate.expected(100, 0)).toBe(100);
  expect(estimate.expected(100_000, 0)).toBeLessThan(10_000);
  expect(estimate.expected(100_000, 90_000)).toBe(100_000);
});

test("what recent requests of the same class used is expected of the next", () => {
  const estimate = new OutputEstimate();
  for (let i = 0; i < 100; i++) {
    estimate.ended(4000, 400 + (i % 3));
    estimate.ended(200, 200);
  }
  expect(estimate.expected(4000, 0)).toBeWithin(400, 450);
  expect(estimate.expected(200, 0)).toBe(200);
  expect(estimate.expected(4000, 500)).toBeWithin(700, 900);
});

test("running out of pages makes admission careful for a while", () => {
  const estimate = new OutputEstimate();
  for (let i = 0; i < 100; i++) estimate.ended(4000, i % 2 === 0 ? 200 : 600);
  const before = estimate.expected(4000, 0);
  for (let i = 0; i < 3; i++) estimate.ranOut();
  const careful = estimate.expected(4000, 0);
  expect(careful).toBeGreaterThan(before + 1000);
  for (let i = 0; i < 200; i++) estimate.ended(4000, i % 2 === 0 ? 200 : 600);
  expect(estimate.expected(4000, 0)).toBeLessThan(before + 100);
});

test("how much the outputs of a class differ is learned too", () => {
  const estimate = new OutputEstimate();
  expect(estimate.leastShare(4000)).toBe(0);
  for (let i = 0; i < 100; i++) {
    estimate.ended(4000, i % 2 === 0 ? 200 : 600);
    estimate.ended(1000, 500);
  }
  expect(estimate.leastShare(4000)).toBeWithin(0.3, 0.4);
  expect(estimate.leastShare(1000)).toBeWithin(0.99, 1.01);
});

test("a few ends are not enough to go by, and requests without output say nothing", () => {
  const estimate = new OutputEstimate();
  const cold = estimate.expected(1_000_000, 0);
  for (let i = 0; i < 10; i++) estimate.ended(1_000_000, 10);
  expect(estimate.expected(1_000_000, 0)).toBe(cold);
  for (let i = 0; i < 40; i++) estimate.ended(0, 0);
  expect(estimate.expected(1, 0)).toBe(1);
  expect(estimate.leastShare(1)).toBe(0);
});

test("care grows with every time that pages run out, also while little is known, and has a bound", () => {
  const estimate = new OutputEstimate();
  const cold = estimate.expected(1_000_000, 0);
  estimate.ranOut();
  expect(estimate.expected(1_000_000, 0)).toBe(2 * cold);
  for (let i = 0; i < 30; i++) estimate.ranOut();
  const most = estimate.expected(1_000_000, 0);
  expect(most).toBeLessThan(1_000_000);
  estimate.ranOut();
  expect(estimate.expected(1_000_000, 0)).toBe(most);
});
