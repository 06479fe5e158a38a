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

test("loads over HTTP share a table, servers side by side", () => {
  const load = { prompts: 64, input: 1024, output: 512, spread: 0, rate: 16, concurrency: null, stream: true };
  const mine = { ...base, gpu: "NVIDIA H200", driver: "580", load, floor: null, metric: "output", value: 5000 };
  const text = report([
    mine,
    { ...mine, load: { ...load, prompts: 8, rate: null, spread: 0.9, stream: false }, value: 70 },
    { ...mine, metric: "TTFT p50", value: 0.021, unit: "s" },
    { ...mine, server: "vLLM 0.26", gpu: "NVIDIA H100", value: 4000 },
  ]);
  expect(text.split("\n")).toEqual([
    "| model, load | server | GPU | output | TTFT p50 | TTFT p99 | TPOT p50 | ITL p99 |",
    "| --- | --- | --- | --- | --- | --- | --- | --- |",
    "| SmolLM2, 64 × 1024 → 512, 16 requests/s, streaming | fgserve | H200 | 5,000 tokens/s | 21 ms |  |  |  |",
    "| SmolLM2, 64 × 1024 → 512, 16 requests/s, streaming | vLLM 0.26 | H100 | 4,000 tokens/s |  |  |  |  |",
    "| SmolLM2, 8 × 1024 → 512, ± 90 % | fgserve | H200 | 70 tokens/s |  |  |  |  |",
    "",
    "Random weights in bfloat16, prompts as token ids, greedy, over HTTP (`bench/gpu.sh`); fgserve at abc1234 on NVIDIA H200, driver 580, 2026-01-02.",
  ]);
});

test("goes between the markers and nowhere else", () => {
  const readme = `# A\n${BEGIN}\nold\n${END}\nrest\n`;
  const written = withReport(readme, "new");
  expect(written).toBe(`# A\n${BEGIN}\nnew\n${END}\nrest\n`);
  expect(withReport(written, "new")).toBe(written);
  expect(() => withReport("# no markers", "new")).toThrow("no line");
});
