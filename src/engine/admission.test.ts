import { expect, test } from "bun:test";
import fc from "fast-check";
import { GrowthForecast, OutputEstimate } from "./admission.ts";
import { PAGE_TOKENS } from "./blocks.ts";

interface Grower {
  remaining: number;
  delay: number;
  slack: number;
  own: number;
}

/** The forecast's question, answered by stepping through time. */
function simulate(sequences: Grower[], used: number, pages: number): boolean {
  const grown = (s: Grower, step: number) =>
    Math.ceil(Math.max(0, Math.min(step, s.remaining) - s.slack) / PAGE_TOKENS);
  const last = Math.max(0, ...sequences.map((s) => s.remaining + s.delay));
  for (let step = 0; step <= last; step++) {
    let held = used;
    for (const s of sequences) {
      // At the step of its end a sequence still holds everything.
      if (step > s.remaining + s.delay) held -= s.own;
      else held += grown(s, step);
    }
    if (held > pages) return false;
  }
  return true;
}

test("the forecast agrees with a simulation, step by step", () => {
  const grower = fc.record({
    remaining: fc.nat(400),
    delay: fc.nat(20),
    slack: fc.nat(PAGE_TOKENS - 1),
    own: fc.nat(8),
  });
  let tight = 0;
  fc.assert(
    fc.property(fc.array(grower, { maxLength: 12 }), fc.nat(60), (sequences, spare) => {
      const used = sequences.reduce((sum, s) => sum + s.own, 3);
      const forecast = new GrowthForecast(12);
      // What an earlier question left behind must not matter.
      forecast.add(100, 0, 0, 1);
      forecast.clear();
      for (const s of sequences) forecast.add(s.remaining, s.delay, s.slack, s.own);
      const fits = forecast.fits(used, used + spare);
      expect(fits).toBe(simulate(sequences, used, used + spare));
      const total = sequences.reduce((sum, s) => sum + Math.ceil(Math.max(0, s.remaining - s.slack) / PAGE_TOKENS), 0);
      if (fits && total > spare) tight++;
    }),
    { numRuns: 2000 },
  );
  // Cases in which pages given back early are what makes room.
  expect(tight).toBeGreaterThan(20);
});

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
