#!/usr/bin/env bun
/**
 * Tables of measurements, from results/*.jsonl: the newest value of each metric of each load. Prints them, with the ops;
 * --write puts them between the README's markers, --check fails when they are not what is there.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { type Result, readResults } from "./record.ts";

const README = join(import.meta.dir, "..", "README.md");
export const BEGIN = "<!-- bench/report.ts: begin -->";
export const END = "<!-- bench/report.ts: end -->";

const SIGNIFICANT = 3;

/**
 * The loads that serve.ts sent, in one table; then the GPU's ops; then a table for each machine, model, dtype and load of the
 * other benches.
 */
export function report(results: readonly Result[]): string {
  const served = results.filter(({ load }) => "prompts" in load);
  const ops = results.filter(({ model }) => model === "ops");
  const others = results.filter(({ load, model }) => !("prompts" in load) && model !== "ops");
  const yardsticks = new Set(served.filter((r) => r.server !== undefined).map((r) => r.gpu));
  return [
    ...(served.length > 0
      ? [loadsTable(comparable(served, yardsticks, (r) => `${r.model}, ${describeLoad(r.load)}`))]
      : []),
    ...(ops.length > 0 ? [opsTable(comparable(ops, yardsticks, () => ""))] : []),
    ...tables(others),
  ].join("\n\n");
}

/** Where Fastgen was measured on a GPU that other servers were measured on, what it did on other GPUs is left out. */
function comparable(results: readonly Result[], gpus: Set<string>, key: (result: Result) => string): Result[] {
  const own = results.filter((r) => r.server === undefined && gpus.has(r.gpu));
  const known = new Set(own.map(key));
  return results.filter((r) => gpus.has(r.gpu) || !known.has(key(r)));
}

const LATENCIES = ["TTFT p50", "TTFT p99", "TPOT p50", "ITL p99"];

/** A row for each server and load: throughput, and latencies where it streamed. */
function loadsTable(results: readonly Result[]): string {
  const rows = new Map<string, { result: Result; metrics: Map<string, Result> }>();
  for (const result of results) {
    const key = [result.model, describeLoad(result.load), result.dtype, result.server ?? "", result.gpu].join("|");
    const row = rows.get(key) ?? { result, metrics: new Map<string, Result>() };
    row.metrics.set(result.metric, result);
    row.result = result;
    rows.set(key, row);
  }
  // Servers of one load stand together, in the order in which the loads were first measured.
  const loads = [...new Set([...rows.keys()].map((key) => key.split("|").slice(0, 2).join("|")))];
  const place = (key: string) => loads.indexOf(key.split("|").slice(0, 2).join("|"));
  const sorted = [...rows].sort(([a], [b]) => place(a) - place(b)).map(([, row]) => row);
  // What a GPU allows is the same for every server.
  const loadOn = ({ model, load, gpu }: Result) => `${model}, ${describeLoad(load)}, ${gpu}`;
  const known = results.filter((r) => r.metric === "output" && r.floor);
  const floors = new Map(known.map((r) => [loadOn(r), r.floor!]));
  const throughput = (output: Result | undefined) => {
    const cells = [output ? quantity(output.value, output.unit) : ""];
    const floor = output && floors.get(loadOn(output));
    if (floors.size > 0)
      cells.push(...(floor ? [quantity(floor, output.unit), percent(output.value / floor)] : ["", ""]));
    return cells;
  };
  const latency = (result: Result | undefined) => {
    if (!result) return "";
    return (
      quantity(result.value, result.unit) + (result.floor ? ` (floor ${quantity(result.floor, result.unit)})` : "")
    );
  };
  const head = ["model, load", "server", "GPU", "output", ...(floors.size > 0 ? ["floor", "share"] : []), ...LATENCIES];
  const note = "; floor: what the GPU's own ceilings would allow (`bench/roofline.ts`)";
  const made = new Set(sorted.map(({ result }) => result).filter((r) => r.server === undefined));
  const facts = [
    ...new Set([...made].map((r) => `${r.commit} on ${r.gpu}, driver ${r.driver}, ${r.date.slice(0, 10)}`)),
  ];
  return [
    tableLine(head),
    tableLine(head.map(() => "---")),
    ...sorted.map(({ result, metrics }) =>
      tableLine([
        `${result.model}, ${describeLoad(result.load)}`,
        result.server ?? "fgserve",
        result.gpu.replace(/^NVIDIA /, ""),
        ...throughput(metrics.get("output")),
        ...LATENCIES.map((name) => latency(metrics.get(name))),
      ]),
    ),
    "",
    `Random weights in bfloat16, prompts as token ids, greedy where no temperature is named, over HTTP (\`bench/gpu.sh\`); fgserve at ${facts.join("; ")}${floors.size > 0 ? note : ""}.`,
  ].join("\n");
}

/** "512 × 1024 → 128, ± 90 %, 16 requests/s, temperature 0.8, streaming" */
export function describeLoad(load: Record<string, unknown>): string {
  const { prompts, input, output, spread, rate, concurrency, stream, temperature } = load;
  const parts = [`${prompts} × ${input} → ${output}`];
  if (spread) parts.push(`± ${percent(spread as number)}`);
  if (rate) parts.push(`${rate} requests/s`);
  if (concurrency) parts.push(concurrency === 1 ? "one at a time" : `${concurrency} at a time`);
  if (temperature) parts.push(`temperature ${temperature}`);
  if (stream) parts.push("streaming");
  return parts.join(", ");
}

/** The newest run of each GPU: a row for each op, or two where small sizes are bound by memory and large ones by arithmetic. */
function opsTable(results: readonly Result[]): string {
  const newest = [...new Map(results.map((r) => [r.gpu, r])).values()];
  const parts = newest.map(({ gpu, driver, date, commit }) => {
    const rows = new Map<string, string[]>();
    for (const r of results.filter((other) => other.gpu === gpu && other.date === date)) {
      // "decode attention: batch 64, context 1024"
      const [op, shape = ""] = r.metric.split(": ");
      const names = shape.replace(/ \d+/g, "").replaceAll(", ", " × ");
      const sizes = shape.replace(/[a-z]+ /g, "").replaceAll(", ", " × ");
      const key = tableLine([op + (names ? ` (${names})` : ""), r.unit]);
      const share = r.floor === null ? "" : ` (${percent(r.value / r.floor)})`;
      rows.set(key, [...(rows.get(key) ?? []), `${sizes ? `${sizes}: ` : ""}${rounded(r.value)}${share}`]);
    }
    return [
      `**Ops** of a 7B model, bfloat16, on ${gpu}, driver ${driver}: by size, what was reached (and its share of the ceiling)`,
      "",
      tableLine(["op", "unit", "reached"]),
      tableLine(["---", "---", "---"]),
      ...[...rows].map(([key, cells]) => `${key} ${cells.join("; ")} |`),
      "",
      `\`bun bench/ops.ts\`; ${commit}, ${date.slice(0, 10)}`,
    ].join("\n");
  });
  return parts.join("\n\n");
}

function tables(results: readonly Result[]): string[] {
  const groups = new Map<string, Map<string, Result>>();
  for (const result of results) {
    const key = JSON.stringify([result.gpu, result.model, result.dtype, result.load]);
    const group = groups.get(key) ?? new Map<string, Result>();
    // Results of a file are in the order of their making: the last one wins, in the first one's place.
    group.set(result.metric, result);
    groups.set(key, group);
  }
  return [...groups.values()].map((group) => table([...group.values()]));
}

function table(results: Result[]): string {
  const { gpu, driver, model, dtype, load } = results[0]!;
  const loads = Object.entries(load).filter(([, value]) => value !== null && value !== false);
  const facts = loads.map(([name, value]) => `${name} ${value === true ? "yes" : value}`).join(", ");
  const commands = [...new Set(results.map((r) => r.command))].map((command) => `\`${command}\``).join(", ");
  const commits = [...new Set(results.map((r) => `${r.commit}, ${r.date.slice(0, 10)}`))].join("; ");
  const floors = results.some((r) => r.floor !== null);
  const head = floors ? ["metric", "measured", "bound", "share"] : ["metric", "measured"];
  const rows = results.map((r) => {
    const cells = [r.metric, quantity(r.value, r.unit)];
    if (floors) cells.push(...(r.floor === null ? ["", ""] : [quantity(r.floor, r.unit), percent(r.value / r.floor)]));
    return cells;
  });
  return [
    `**${model}**, ${dtype}, on ${gpu}${driver ? ` (driver ${driver})` : ""}: ${facts}`,
    "",
    tableLine(head),
    tableLine(head.map(() => "---")),
    ...rows.map(tableLine),
    "",
    `${commands}; ${commits}`,
  ].join("\n");
}

function tableLine(cells: string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
}

function quantity(value: number, unit: string): string {
  if (unit === "share") return percent(value);
  if (unit === "s" && value < 1) return `${rounded(value * 1000)} ms`;
  return `${rounded(value)} ${unit}`;
}

function percent(share: number): string {
  return `${rounded(100 * share)} %`;
}

/** To three significant digits, but never rounding off whole ones. */
function rounded(value: number): string {
  const text = Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(SIGNIFICANT);
  return Number(text).toLocaleString("en-US", { maximumFractionDigits: 6 });
}

/** What the README shows: all but the single ops, which are for those who work on them. */
export function readmeReport(): string {
  return report(readResults().filter(({ model }) => model !== "ops"));
}

/** The README with the tables between its markers replaced. */
export function withReport(readme: string, tables: string): string {
  const begin = readme.indexOf(BEGIN);
  const end = readme.indexOf(END);
  if (begin < 0 || end < begin) throw new Error(`README.md has no line "${BEGIN}" followed by "${END}"`);
  return `${readme.slice(0, begin + BEGIN.length)}\n${tables}\n${readme.slice(end)}`;
}

if (import.meta.main) {
  const command = new Command("bun bench/report.ts")
    .option("--write", "into README.md")
    .option("--check", "fail when README.md says otherwise")
    .parse();
  const { write, check } = command.opts();
  const tables = readmeReport();
  if (!write && !check) console.log(report(readResults()));
  else {
    const readme = readFileSync(README, "utf8");
    const wanted = withReport(readme, tables);
    if (write) writeFileSync(README, wanted);
    else if (wanted !== readme) {
      console.error("README.md's measurements are not those of bench/results: bun bench/report.ts --write");
      process.exit(1);
    }
  }
}
