import { expect, test } from "bun:test";
import { Registry } from "prom-client";
import { GenerationTimer, RequestMetrics, tokenBuckets } from "./request-metrics.ts";

/** The sum and the count of a histogram. */
async function values(registry: Registry, name: string): Promise<[sum: number, count: number]> {
  const { values } = (await registry.getSingleMetric(`vllm:${name}`)!.get()) as {
    values: { metricName?: string; value: number }[];
  };
  const find = (end: string) => values.find(({ metricName }) => metricName === `vllm:${name}_${end}`)!.value;
  return [find("sum"), find("count")];
}

test("times are the engine's, in seconds, by sequence", async () => {
  const registry = new Registry();
  const timer = new GenerationTimer(new RequestMetrics(registry, 100, 1), 500);
  // The first choice: three tokens; its gaps are 300 and 100 ms.
  timer.started(0, 0.2, 0.3, 0);
  timer.token(0, 1000);
  timer.token(0, 1300);
  // The second: one token, which has no gap.
  timer.started(1, 0.4, 0.1, 0);
  timer.token(1, 1350);
  timer.ended(1, "length", 1350);
  timer.token(0, 1400);
  timer.ended(0, "stop", 1400);
  // The third has no token at all.
  timer.started(2, 0, 0.5, 0);
  timer.ended(2, "length", 1500);
  expect(timer.done).toBe(3);
  const close = async (name: string, sum: number, count: number) => {
    const got = await values(registry, name);
    expect([name, got[1]]).toEqual([name, count]);
    expect(got[0]).toBeCloseTo(sum, 9);
  };
  await close("time_to_first_token_seconds", 0.5 + 0.85, 2);
  await close("inter_token_latency_seconds", 0.3 + 0.1, 2);
  await close("request_time_per_output_token_seconds", 0.4 / 2, 1);
  await close("e2e_request_latency_seconds", 0.85 + 0.9 + 1, 3);
  await close("request_queue_time_seconds", 0.6, 3);
  await close("request_prefill_time_seconds", 0.9, 3);
  await close("request_decode_time_seconds", 0.4, 3);
  await close("request_inference_time_seconds", 1.3, 3);
});

test("buckets of tokens", () => {
  expect(tokenBuckets(100)).toEqual([1, 2, 5, 10, 20, 50, 100]);
  expect(tokenBuckets(499)).toEqual([1, 2, 5, 10, 20, 50, 100, 200]);
  expect(tokenBuckets(1)).toEqual([1]);
});
