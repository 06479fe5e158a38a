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

test("goes between the markers and nowhere else", () => {
  const readme = `# A\n${BEGIN}\nold\n${END}\nrest\n`;
  const written = withReport(readme, "new");
  expect(written).toBe(`# A\n${BEGIN}\nnew\n${END}\nrest\n`);
  expect(withReport(written, "new")).toBe(written);
  expect(() => withReport("# no markers", "new")).toThrow("no line");
});
