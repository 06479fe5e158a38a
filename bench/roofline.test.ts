/** Floors are compared with figures worked out by hand, for an H100's ceilings. */
import { expect, test } from "bun:test";
import { parseConfig } from "../src/model/config.ts";
import { measurement } from "./ops.ts";
import type { Result } from "./record.ts";
import { type Load, loadFloor, readCeilings } from "./roofline.ts";
import { SHAPES } from "./shapes.ts";

const fp8 = { gemm: 1360e12, burst: 1600e12 };
const H100 = { gemm: 678e12, burst: 785e12, fp8, read: 3.1e12, memory: 85e9 };
const all: Load = { prompts: 512, input: 1024, output: 128, spread: 0, rate: null, concurrency: null, seed: 0 };

function floor(model: string, changes: Partial<Load> = {}) {
  return loadFloor({ ...all, ...changes }, parseConfig(JSON.stringify(SHAPES[model])).shape, H100)!;
}

/** Within this share of `wanted`. */
function near(value: number | undefined, wanted: number, share: number) {
  expect(Math.abs(value! / wanted - 1)).toBeLessThan(share);
}

test("the reference load: 11.9 s of products, 3.0 s of KV reads, 0.3 s of attention", () => {
  const { prompts, newTokens, kvReads, attention, metrics } = floor("mistral-7b");
  near(prompts + newTokens, 11.9, 0.03);
  near(kvReads, 3.0, 0.01);
  expect(attention).toBeWithin(0.1, 0.4);
  near(metrics.output, 4290, 0.02);
  near(floor("qwen2.5-14b").metrics.output, 2350, 0.02);
});

test("loads that read more than they compute", () => {
  near(floor("mistral-7b", { prompts: 64, output: 512 }).metrics.output, 5830, 0.03);
  // 14,700 is for a mean context of 1088 tokens; it is 1152.
  near(floor("mistral-7b", { input: 128, output: 2048 }).metrics.output, 14_700, 0.05);
});

test("one at a time: weights for each token, and a prompt in a burst", () => {
  const one = floor("mistral-7b", { prompts: 1, input: 128, output: 512 });
  near(one.metrics.output, 213, 0.03);
  near(floor("mistral-7b", { prompts: 8, output: 8, concurrency: 1 }).metrics["TTFT p50"], 0.019, 0.03);
});

test("lengths that vary are the plan's own; a rate leaves no floor", () => {
  const mixed = floor("mistral-7b", { prompts: 1000, input: 220, output: 200, spread: 0.9 });
  expect(mixed.metrics.output).toBeWithin(15_500, 17_500);
  expect(floor("mistral-7b", { rate: 16 }).metrics).toEqual({});
});

test("FP8 halves what is computed and read, but for the head and the scales", () => {
  const { shape } = parseConfig(JSON.stringify(SHAPES["mistral-7b"]));
  const bf16 = loadFloor(all, shape, H100)!;
  const half = loadFloor(all, shape, H100, "fp8")!;
  near(half.prompts, bf16.prompts / (1360 / 678), 0.01);
  near(half.kvReads, bf16.kvReads * ((128 + 4) / 256), 1e-9);
  expect(half.attention).toBe(bf16.attention);
  near(half.metrics.output, 8200, 0.04);
  const one = { ...all, prompts: 1, input: 128, output: 512 };
  // 6.98 GB of the layers' weights, 0.27 GB of the head's.
  near(loadFloor(one, shape, H100, "fp8")!.newTokens, (511 * (6.98e9 + 0.27e9)) / 3.1e12, 0.01);
  expect(loadFloor(all, shape, { ...H100, fp8: null }, "fp8")).toBeNull();
});

test("a cache that holds few sequences makes more steps", () => {
  const { shape } = parseConfig(JSON.stringify(SHAPES["mistral-7b"]));
  const long = { ...all, prompts: 64, input: 16_384, output: 512 };
  const weights = 14.23e9;
  const steps = (64 * 511 * (16_384 + 256)) / ((24e9 - weights) / 131_072);
  near(loadFloor(long, shape, { ...H100, memory: 24e9 })!.newTokens, (steps * weights) / H100.read, 0.01);
});

test("ceilings are the newest of their GPU", () => {
  const line = (op: string, value: number, shape = {}, unit = "GB/s") =>
    measurement({ op, shape, us: 1, value, unit, ceiling: null, share: null });
  const facts = {
    commit: "",
    driver: null,
    model: "ops",
    dtype: "bfloat16",
    load: {},
    gpus: 1,
    engines: 1,
    command: "",
    floor: null,
  };
  const lines = [
    line("ceiling layer products", 631, { tokens: 512 }),
    line("ceiling layer products", 678, { tokens: 2048 }),
    line("ceiling square product, burst", 785, { size: 8192 }),
    line("ceiling FP8 layer products", 1360, { tokens: 2048 }),
    line("ceiling FP8 square product, burst", 1600, { size: 8192 }),
    line("ceiling read", 3100),
    line("ceiling memory", 85),
  ];
  const on = (gpu: string, date: string, scale = 1): Result[] =>
    lines.map((m) => ({ ...facts, ...m, value: m.value * scale, floor: null, gpu, date }));
  const results = [...on("A", "2026-01-01", 2), ...on("A", "2026-01-02"), ...on("B", "2026-01-03", 3)];
  expect(readCeilings(results, "A")).toEqual(H100);
  expect(readCeilings(results, "C")).toBeNull();
  const older = results.filter((r) => !r.metric.includes("FP8"));
  expect(readCeilings(older, "A")).toEqual({ ...H100, fp8: null });
});
