import { expect, test } from "bun:test";
import type { Result } from "./record.ts";
import { BEGIN, END, report, withReport } from "./report.ts";

const base: Result = {
  commit: "abc1234",
  date: "2026-01-02T03:04:05.000Z",
  gpu: "A CPU, 2 cores",
  driver: null,
  model: "SmolLM2",
  dtype: "bfloat16",
  load: { input: 512, rate: null, stream: true },
  metric: "decode, batch 1",
  value: 81.23456,
  unit: "tokens/s",
  floor: 100,
  command: "bun bench/cpu.ts DIR",
};

test("a table for each load, the newest value of each metric", () => {
  const text = report([
    base,
    { ...base, metric: "TTFT p50", value: 0.01234, unit: "s", floor: null },
    { ...base, value: 90 },
    { ...base, load: { input: 64 }, metric: "output", value: 12345.6, floor: null },
  ]);
  expect(text).toBe(
    [
      "**SmolLM2**, bfloat16, on A CPU, 2 cores: input 512, stream yes",
      "",
      "| metric | measured | bound | share |",
      "| --- | --- | --- | --- |",
      "| decode, batch 1 | 90 tokens/s | 100 tokens/s | 90 % |",
      "| TTFT p50 | 12.3 ms |  |  |",
      "",
      "`bun bench/cpu.ts DIR`; abc1234, 2026-01-02",
      "",
      "**SmolLM2**, bfloat16, on A CPU, 2 cores: input 64",
      "",
      "| metric | measured |",
      "| --- | --- |",
      "| output | 12,346 tokens/s |",
      "",
      "`bun bench/cpu.ts DIR`; abc1234, 2026-01-02",
    ].join("\n"),
  );
});

const load = { prompts: 64, input: 1024, output: 512, spread: 0, rate: null, concurrency: null, stream: true };
const mine = { ...base, gpu: "NVIDIA H200", driver: "580", load, floor: null, metric: "output", value: 5000 };
const rows = (text: string) => text.split("\n").filter((line) => line.startsWith("| SmolLM2"));

test("loads over HTTP share a table, servers side by side, floors where they are known", () => {
  const text = report([
    { ...mine, floor: 6000 },
    { ...mine, load: { ...load, prompts: 8, spread: 0.9, stream: false, temperature: 0.8 }, value: 70 },
    { ...mine, metric: "TTFT p50", value: 0.021, unit: "s", floor: 0.019 },
    { ...mine, server: "vLLM 0.26", value: 4000 },
  ]);
  expect(text.split("\n")).toEqual([
    "| model, load | server | GPU | output | floor | share | TTFT p50 | TTFT p99 | TPOT p50 | ITL p99 |",
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    "| SmolLM2, 64 × 1024 → 512, streaming | fgserve | H200 | 5,000 tokens/s | 6,000 tokens/s | 83.3 % | 21 ms (floor 19 ms) |  |  |  |",
    "| SmolLM2, 64 × 1024 → 512, streaming | vLLM 0.26 | H200 | 4,000 tokens/s | 6,000 tokens/s | 66.7 % |  |  |  |  |",
    "| SmolLM2, 8 × 1024 → 512, ± 90 %, temperature 0.8 | fgserve | H200 | 70 tokens/s |  |  |  |  |  |  |",
    "",
    "Random weights in bfloat16, prompts as token ids, greedy where no temperature is named, over HTTP (`bench/gpu.sh`); fgserve at abc1234 on NVIDIA H200, driver 580, 2026-01-02; floor: what the GPU's own ceilings would allow (`bench/roofline.ts`).",
  ]);
});

test("a load measured on the other servers' GPU is not shown from another one", () => {
  const here = { ...mine, gpu: "NVIDIA H100", value: 4500 };
  const other = { ...mine, load: { ...load, prompts: 8 } };
  const theirs = { ...here, server: "vLLM 0.26", value: 4000 };
  const text = rows(report([mine, other, here, theirs]));
  expect(text.map((row) => row.split(" | ").slice(1, 4).join(" "))).toEqual([
    "fgserve H200 5,000 tokens/s",
    "fgserve H100 4,500 tokens/s",
    "vLLM 0.26 H100 4,000 tokens/s",
  ]);
  expect(rows(report([mine, theirs]))).toHaveLength(2);
});

test("ops: a row for each and its unit, of the newest run", () => {
  const op = { ...base, gpu: "NVIDIA H100", driver: "580", model: "ops", load: {}, floor: null };
  const text = report([
    { ...op, date: "2025-01-01", metric: "gone", value: 1 },
    { ...op, metric: "ceiling read", value: 3100, unit: "GB/s" },
    { ...op, metric: "o 4096x4096: tokens 1", value: 2790, unit: "GB/s", floor: 3100 },
    { ...op, metric: "o 4096x4096: tokens 512", value: 600, unit: "TFLOP/s", floor: 640 },
    { ...op, metric: "decode attention: batch 1, context 1024", value: 2000, unit: "GB/s", floor: 3100 },
    { ...op, metric: "decode attention: batch 64, context 1024", value: 2790, unit: "GB/s", floor: 3100 },
  ]);
  expect(text.split("\n").slice(2)).toEqual([
    "| op | unit | reached |",
    "| --- | --- | --- |",
    "| ceiling read | GB/s | 3,100 |",
    "| o 4096x4096 (tokens) | GB/s | 1: 2,790 (90 %) |",
    "| o 4096x4096 (tokens) | TFLOP/s | 512: 600 (93.8 %) |",
    "| decode attention (batch × context) | GB/s | 1 × 1024: 2,000 (64.5 %); 64 × 1024: 2,790 (90 %) |",
    "",
    "`bun bench/ops.ts`; abc1234, 2026-01-02",
  ]);
});

test("goes between the markers and nowhere else", () => {
  const readme = `# A\n${BEGIN}\nold\n${END}\nrest\n`;
  const written = withReport(readme, "new");
  expect(written).toBe(`# A\n${BEGIN}\nnew\n${END}\nrest\n`);
  expect(withReport(written, "new")).toBe(written);
  expect(() => withReport("# no markers", "new")).toThrow("no line");
});
