import { expect, test } from "bun:test";
import { simulate } from "./simulate.ts";

const machine = { pages: 7432, hostPages: 512, maxNumSeqs: 1024, maxNumBatchedTokens: 2048 };
const load = { prompts: 64, input: 1024, output: 128, spread: 0, ends: 0 };

test("a load takes what its steps take", () => {
  const one = simulate({ ...machine, ...load, prompts: 1 });
  // A prompt of 1024 tokens, then a token a step.
  expect(one.steps).toBe(128);
  expect(one.preemptions).toBe(0);
  expect(one.tokensPerSecond).toBeCloseTo(128 / one.seconds);
  const many = simulate({ ...machine, ...load });
  expect(many.tokensPerSecond).toBeGreaterThan(10 * one.tokensPerSecond);
  expect(simulate({ ...machine, ...load })).toEqual(many);
});

test("answers that end at random are shorter, and a small pool takes longer", () => {
  const whole = simulate({ ...machine, ...load });
  const ended = simulate({ ...machine, ...load, ends: 30 });
  expect(ended.seconds).toBeLessThan(whole.seconds);
  expect(simulate({ ...machine, ...load, pages: 200 }).seconds).toBeGreaterThan(whole.seconds);
});
