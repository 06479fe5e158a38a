import { expect, test } from "bun:test";
import type { Result } from "./record.ts";
import { fillPage, plainReport } from "./report.ts";
import { cpuReport } from "./report-cpu.ts";
import { httpThreadReport } from "./report-http-thread.ts";
import { loadsReport, summaryReport } from "./report-loads.ts";
import { opsReport } from "./report-ops.ts";
import { COST, SPEED, schemasReport, shareOf } from "./report-schemas.ts";

const base: Result = {
  commit: "abc1234",
  date: "2026-01-02T03:04:05.000Z",
  gpu: "A CPU, 2 cores",
  gpus: 1,
  engines: 1,
  driver: null,
  model: "SmolLM2",
  dtype: "bfloat16",
  load: { input: 512 },
  metric: "launch to ready",
  value: 81.23456,
  unit: "s",
  floor: null,
  command: "bun bench/startup.ts DIR",
};

test("a table for each load, the newest value of each metric", () => {
  const text = plainReport([
    base,
    { ...base, metric: "loading", value: 30, unit: "GB/s", floor: 40 },
    { ...base, value: 0.01234 },
    { ...base, load: { input: 64 }, metric: "output", value: 12345.6, unit: "tokens/s" },
  ]);
  expect(text).toBe(
    [
      "### SmolLM2 in bfloat16 on A CPU, 2 cores: input 512",
      "",
      "| metric | measured | bound | share |",
      "| --- | --- | --- | --- |",
      "| launch to ready | 12.3 ms |  |  |",
      "| loading | 30 GB/s | 40 GB/s | 75 % |",
      "",
      "`bun bench/startup.ts DIR`; abc1234, 2026-01-02",
      "",
      "### SmolLM2 in bfloat16 on A CPU, 2 cores: input 64",
      "",
      "| metric | measured |",
      "| --- | --- |",
      "| output | 12,346 tokens/s |",
      "",
      "`bun bench/startup.ts DIR`; abc1234, 2026-01-02",
    ].join("\n"),
  );
});

const load = { prompts: 64, input: 1024, output: 512, spread: 0, rate: null, concurrency: null, stream: true };
const mine = { ...base, gpu: "NVIDIA H200", driver: "580", load, metric: "output", value: 5000, unit: "tokens/s" };
const latency = { ...mine, metric: "TTFT p50", value: 0.021, unit: "s", floor: 0.019 };

test("loads over HTTP: servers and temperatures side by side, floors where they are known", () => {
  const text = loadsReport([
    { ...mine, load: { ...load, prompts: 8, spread: 0.9, stream: false }, value: 70 },
    { ...mine, floor: 6000 },
    { ...mine, load: { ...load, temperature: 0.8 }, value: 4900 },
    latency,
    { ...latency, load: { ...load, temperature: 0.8 }, value: 0.022, floor: null },
    { ...mine, server: "vLLM 0.26", value: 4000 },
    { ...latency, server: "vLLM 0.26", value: 0.03, floor: null },
    { ...mine, gpus: 2, value: 9000 },
    { ...mine, gpus: 2, engines: 2, value: 9900 },
  ]);
  expect(text.split("\n\n")).toEqual([
    "### SmolLM2 on one H200",
    [
      "| load, tokens/s | Fastgen | at temperature 0.8 | vLLM 0.26 | floor | Fastgen's share |",
      "| --- | --- | --- | --- | --- | --- |",
      "| 64 streams: 64 × 1024 → 512 | 5,000 | 4,900 | 4,000 | 6,000 | 83.3 % |",
      "| 8 × 1024 → 512, ± 90 % | 70 |  |  |  |  |",
    ].join("\n"),
    [
      "| load, streaming | server | TTFT p50 | TTFT p99 | TPOT p50 | ITL p99 |",
      "| --- | --- | --- | --- | --- | --- |",
      "| 64 streams: 64 × 1024 → 512 | Fastgen | 21 ms (floor 19 ms) |  |  |  |",
      "| 64 streams: 64 × 1024 → 512 | Fastgen, temperature 0.8 | 22 ms |  |  |  |",
      "| 64 streams: 64 × 1024 → 512 | vLLM 0.26 | 30 ms |  |  |  |",
    ].join("\n"),
    "Fastgen at abc1234, driver 580, 2026-01-02.",
    "### SmolLM2 on 2 H200",
    [
      "| load, tokens/s | Fastgen | floor | Fastgen's share |",
      "| --- | --- | --- | --- |",
      "| 64 streams: 64 × 1024 → 512 | 9,000 |  |  |",
    ].join("\n"),
    "Fastgen at abc1234, driver 580, 2026-01-02.",
    "### SmolLM2 on 2 H200 with 2 engines",
    [
      "| load, tokens/s | Fastgen | floor | Fastgen's share |",
      "| --- | --- | --- | --- |",
      "| 64 streams: 64 × 1024 → 512 | 9,900 |  |  |",
    ].join("\n"),
    "Fastgen at abc1234, driver 580, 2026-01-02.",
  ]);
});

test("a load measured on the other servers' GPU is not shown from another one", () => {
  const here = { ...mine, gpu: "NVIDIA H100", value: 4500 };
  const theirs = { ...here, server: "vLLM 0.26", value: 4000 };
  const text = loadsReport([mine, { ...mine, load: { ...load, prompts: 8 }, value: 70 }, here, theirs]);
  expect(text).not.toContain("5,000");
  expect(text).toContain("| 4,500 | 4,000 |");
  expect(text).toContain("| 70 |");
  expect(loadsReport([mine, theirs])).toContain("5,000");
});

test("the summary: the named loads on the other servers' GPU, and a launch", () => {
  const reference = { ...load, prompts: 512, output: 128, stream: false };
  const h100 = { ...mine, load: reference, model: "mistral-7b", gpu: "NVIDIA H100", floor: 6000 };
  const poisson = { ...h100, load: { ...load, prompts: 320, output: 128, rate: 16 }, metric: "TTFT p50", unit: "s" };
  const start = { ...base, model: "mistral-7b", gpu: "NVIDIA H100", metric: "launch to first token", value: 1.25 };
  const loads = [
    h100,
    { ...h100, load: { ...reference, temperature: 0.8 }, value: 1 },
    { ...h100, gpu: "NVIDIA H200", value: 1 },
    { ...h100, gpus: 2, value: 1 },
    { ...h100, server: "vLLM 0.26", value: 4000 },
    { ...poisson, value: 0.047, floor: null },
  ];
  expect(summaryReport(loads, [start]).split("\n")).toEqual([
    "| load | Fastgen | vLLM 0.26 | floor |",
    "| --- | --- | --- | --- |",
    "| Mistral 7B, reference: 512 × 1024 → 128 | 5,000 tokens/s | 4,000 tokens/s | 6,000 tokens/s |",
    "| Mistral 7B, 16 requests per second: 320 × 1024 → 128, median time to first token | 47 ms |  |  |",
    "| Mistral 7B, launch to first token | 1.25 s |  |  |",
  ]);
});

test("CPU: Fastgen beside llama.cpp, which says how it was built and set; the newest run", () => {
  const run = { ...base, load: { input: 512, output: 64, threads: 2 }, unit: "tokens/s" };
  const decode = { ...run, metric: "decode, batch 1", floor: 125 };
  const text = cpuReport([
    { ...decode, date: "2025-01-01", value: 1 },
    { ...run, metric: "memory bandwidth, best", value: 35, unit: "GB/s" },
    { ...decode, value: 100 },
    { ...decode, value: 80, server: "llama.cpp", build: "1.0, -O3", setting: "n_batch 512" },
    { ...run, metric: "decode, batch 1: ratio to llama.cpp", value: 1.25, unit: "×" },
  ]);
  expect(text.split("\n\n")).toEqual([
    "### SmolLM2 in bfloat16 on A CPU, 2 cores: 512 → 64 tokens, 2 threads",
    [
      "| tokens/s | Fastgen | llama.cpp | ratio | memory's bound | Fastgen's share |",
      "| --- | --- | --- | --- | --- | --- |",
      "| decode, batch 1 | 100 | 80 | 1.25 × | 125 | 80 % |",
    ].join("\n"),
    "- memory bandwidth, best: 35 GB/s",
    "llama.cpp: `1.0, -O3`. Its fastest settings: decode, batch 1: n_batch 512.",
    "`bun bench/startup.ts DIR`; abc1234, 2026-01-02",
  ]);
});

test("schemas: answers with them beside those without, of the newest run of each model", () => {
  const run = (model: string, date: string, [free, known, share]: number[]): Result[] => {
    const of = {
      ...base,
      model,
      date,
      load: { sequences: 16, input: 200, output: 128, rounds: free! },
      command: `bun bench/constrained-cpu.ts ${model}`,
    };
    const cost = { ...of, value: 100, unit: "µs" };
    const [plain, compiled] = [`without schemas, ${SPEED}`, `schemas compiled before, ${SPEED}`];
    return [
      { ...of, metric: plain, value: free!, unit: "tokens/s" },
      { ...cost, metric: `without schemas, ${COST}` },
      { ...of, metric: compiled, value: known!, unit: "tokens/s" },
      { ...of, metric: shareOf(compiled), value: share!, unit: "share" },
      { ...cost, metric: `schemas compiled before, ${COST}`, value: 110 },
      { ...cost, metric: shareOf(`schemas compiled before, ${COST}`), value: 1.0973, unit: "share" },
    ];
  };
  const results = [
    ...run("tiny", "2026-01-01", [1, 2, 3]),
    ...run("SmolLM2", "2026-01-02", [900, 910, 1.011]),
    ...run("tiny", "2026-01-03", [9000, 8100, 0.905]),
  ];
  expect(schemasReport(results).split("\n")).toEqual([
    "| model | load | answers | tokens/s | of those without | CPU time per token | of that without |",
    "| --- | --- | --- | --- | --- | --- | --- |",
    "| tiny | 16 × 200 → 128 | without schemas | 9,000 |  | 100 µs |  |",
    "| tiny | 16 × 200 → 128 | schemas compiled before | 8,100 | 90.5 % | 110 µs | 110 % |",
    "| SmolLM2 | 16 × 200 → 128 | without schemas | 900 |  | 100 µs |  |",
    "| SmolLM2 | 16 × 200 → 128 | schemas compiled before | 910 | 101 % | 110 µs | 110 % |",
    "",
    "`bun bench/constrained-cpu.ts tiny`; abc1234, 2026-01-03, A CPU, 2 cores",
    "",
    "`bun bench/constrained-cpu.ts SmolLM2`; abc1234, 2026-01-02, A CPU, 2 cores",
  ]);
});

test("ops: a row for each and its unit, of the newest run", () => {
  const op = { ...base, gpu: "NVIDIA H100", driver: "580", model: "ops", load: {}, unit: "GB/s" };
  const text = opsReport([
    { ...op, date: "2025-01-01", metric: "gone", value: 1 },
    { ...op, metric: "ceiling read", value: 3100 },
    { ...op, metric: "o 4096x4096: tokens 1", value: 2790, floor: 3100 },
    { ...op, metric: "o 4096x4096: tokens 512", value: 600, unit: "TFLOP/s", floor: 640 },
    { ...op, metric: "decode attention: batch 1, context 1024", value: 2000, floor: 3100 },
    { ...op, metric: "decode attention: batch 64, context 1024", value: 2790, floor: 3100 },
  ]);
  expect(text.split("\n").filter((line) => line !== "" && !line.startsWith("| ---"))).toEqual([
    "### NVIDIA H100, driver 580",
    "| ceiling | unit | reached |",
    "| read | GB/s | 3,100 |",
    "| op | unit | reached |",
    "| o 4096x4096 (tokens) | GB/s | 1: 2,790 (90 %) |",
    "| o 4096x4096 (tokens) | TFLOP/s | 512: 600 (93.8 %) |",
    "| decode attention (batch × context) | GB/s | 1 × 1024: 2,000 (64.5 %); 64 × 1024: 2,790 (90 %) |",
    "`bun bench/ops.ts`; abc1234, 2026-01-02",
  ]);
});

test("tables go between their markers and nowhere else", () => {
  const mark = (name: string) => `<!-- bench/report.ts: ${name} -->`;
  const page = `# A\n${mark("one")}\nold\n${mark("end")}\nrest\n${mark("two")}\n${mark("end")}\n`;
  const written = fillPage(page, { one: () => "$1", two: () => "second" });
  expect(written).toBe(`# A\n${mark("one")}\n$1\n${mark("end")}\nrest\n${mark("two")}\nsecond\n${mark("end")}\n`);
  expect(fillPage(written, { one: () => "$1", two: () => "second" })).toBe(written);
  expect(() => fillPage(page, { one: () => "" })).toThrow('no tables named "two"');
});

test("the HTTP thread: a row for each load and number of engines, beside one engine", () => {
  const streams = { name: "streams", prompts: 256, input: 128, output: 256, stream: true };
  const run = (engines: number, [speed, busy, time]: [number, number, number]): Result[] => {
    const common = { ...base, engines, load: { ...streams, prompts: 256 * engines } };
    return [
      { ...common, metric: "output", value: speed, unit: "tokens/s" },
      { ...common, metric: "busy share of the HTTP thread", value: busy, unit: "share" },
      { ...common, metric: "HTTP thread's time per token", value: time, unit: "s" },
    ];
  };
  const results = [...run(1, [9999, 0.9, 1e-5]), ...run(1, [20_000, 0.4, 2e-5]), ...run(8, [130_000, 0.99, 7.5e-6])];
  expect(httpThreadReport(results)).toBe(
    [
      "| load | engines | tokens/s | × one engine's | thread busy | its time per token |",
      "| --- | --- | --- | --- | --- | --- |",
      "| streams: 256 × 128 → 256, streaming | 1 | 20,000 | 1 | 40 % | 20 µs |",
      "| streams: 2048 × 128 → 256, streaming | 8 | 130,000 | 6.5 | 99 % | 7.5 µs |",
      "",
      "abc1234, 2026-01-02.",
    ].join("\n"),
  );
});
