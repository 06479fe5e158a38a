import { expect, test } from "bun:test";
import fc from "fast-check";
import { PAGE_TOKENS } from "../pages/page-cache.ts";
import { PoolForecast } from "./pool-forecast.ts";

interface Grower {
  remaining: number;
  delay: number;
  slack: number;
  freed: number;
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
      if (step > s.remaining + s.delay) held -= s.freed;
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
    freed: fc.nat(8),
  });
  let tight = 0;
  fc.assert(
    fc.property(fc.array(grower, { maxLength: 12 }), fc.nat(60), (sequences, spare) => {
      const used = sequences.reduce((sum, s) => sum + s.freed, 3);
      const forecast = new PoolForecast(12);
      // What an earlier forecast left behind must not matter.
      forecast.add(100, 0, 0, 1);
      forecast.clear();
      for (const s of sequences) forecast.add(s.remaining, s.delay, s.slack, s.freed);
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

test("growth is of the sequences since the last clear, and too many pages in use never fit", () => {
  const forecast = new PoolForecast(4);
  forecast.add(200, 0, 10, 1);
  expect(forecast.growth).toBe(3);
  forecast.clear();
  expect(forecast.growth).toBe(0);
  forecast.add(64, 0, 0, 1);
  expect(forecast.growth).toBe(1);
  forecast.clear();
  expect([forecast.fits(4, 4), forecast.fits(5, 4)]).toEqual([true, false]);
});
