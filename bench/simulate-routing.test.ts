import { expect, test } from "bun:test";
import { CACHED_TOKEN_WEIGHT } from "../src/engine/routing.ts";
import { loads, simulateRouting } from "./simulate-routing.ts";

const ENGINES = 2;
const run = (load: string, weight: number, pages = 7432) =>
  simulateRouting(loads(ENGINES, 64)[load]!(), ENGINES, pages, weight);

test("conversations go where they were, and their turns end sooner", () => {
  const [routed, spread] = [run("conversations", CACHED_TOKEN_WEIGHT), run("conversations", 0)];
  expect(routed.latencies).toHaveLength(6 * 16 * ENGINES);
  expect(routed.found / routed.asked).toBeGreaterThan(0.8);
  expect(spread.found / spread.asked).toBeLessThan(0.7);
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  expect(mean(routed.latencies)).toBeLessThan(mean(spread.latencies));
});

test("a prefix that all have does not keep them in one engine", () => {
  const load = "one prefix of 1,000 tokens";
  const [routed, crowded] = [run(load, CACHED_TOKEN_WEIGHT), run(load, 1e6)];
  expect(routed.generated).toBe(crowded.generated);
  expect(routed.seconds).toBeLessThan(0.75 * crowded.seconds);
});
