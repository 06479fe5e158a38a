/** Tables of the loads that were sent over HTTP: Fastgen beside other servers, and what the GPU allows. */
import { describeLoad, groupBy, percent, quantity, rounded, table } from "./format.ts";
import { NAMED_LOADS, nameOf } from "./named-loads.ts";
import type { Result } from "./record.ts";
import { MODEL_NAMES } from "./shapes.ts";

const FASTGEN = "Fastgen";
const LATENCIES = ["TTFT p50", "TTFT p99", "TPOT p50", "ITL p99"];

const serverOf = ({ server }: Result) => server ?? FASTGEN;
const temperatureOf = ({ load }: Result) => Number(load.temperature ?? 0);
const modelOf = ({ model, dtype }: Result) => (MODEL_NAMES[model] ?? model) + (dtype === "fp8" ? " in FP8" : "");
const machineOf = ({ gpu, gpus, engines }: Result) =>
  `${gpus === 1 ? "one" : gpus} ${gpu.replace(/^NVIDIA /, "")}${engines === 1 ? "" : ` with ${engines} engines`}`;

/** "reference: 512 × 1024 → 128"; the temperature is left out. */
function title({ load }: Result): string {
  const { prompts, input, output, spread } = load;
  const name = nameOf(load);
  if (name === null) return describeLoad({ ...load, temperature: 0, stream: false });
  return `${NAMED_LOADS[name]!.title}: ${describeLoad({ prompts, input, output, spread })}`;
}

/** The named loads' place in their list; other loads come last. */
function place({ load }: Result): number {
  const at = Object.keys(NAMED_LOADS).indexOf(nameOf(load) ?? "");
  return at < 0 ? Number.POSITIVE_INFINITY : at;
}

/** A heading and tables for each model on each machine. */
export function loadsReport(results: readonly Result[]): string {
  const sorted = comparable(results).toSorted((a, b) => place(a) - place(b) || 0);
  const groups = groupBy(sorted, (r) => `${modelOf(r)} ${r.gpu} ${r.gpus} ${r.engines}`);
  return groups.map(groupReport).join("\n\n");
}

/** Leaves out what Fastgen did on other GPUs, where it was also measured on the GPU of the other servers. */
function comparable(results: readonly Result[]): Result[] {
  const gpus = new Set(results.filter((r) => r.server !== undefined).map((r) => r.gpu));
  const key = (r: Result) => [modelOf(r), r.gpus, r.engines, describeLoad(r.load)].join();
  const own = results.filter((r) => r.server === undefined && gpus.has(r.gpu));
  const known = new Set(own.map(key));
  return results.filter((r) => gpus.has(r.gpu) || !known.has(key(r)));
}

function groupReport(results: readonly Result[]): string {
  const parts = [`### ${modelOf(results[0]!)} on ${machineOf(results[0]!)}`, throughputTable(results)];
  const latencies = latencyTable(results);
  if (latencies !== null) parts.push(latencies);
  const newest = [...new Map(results.map((r) => [describeLoad(r.load) + serverOf(r), r])).values()];
  const own = newest.filter((r) => r.server === undefined);
  const facts = new Set(own.map((r) => `${r.commit}, driver ${r.driver}, ${r.date.slice(0, 10)}`));
  if (facts.size > 0) parts.push(`Fastgen at ${[...facts].join("; ")}.`);
  return parts.join("\n\n");
}

/** Output tokens per second: a row for each load, a column for each server. */
function throughputTable(results: readonly Result[]): string {
  // Where requests come at a given rate, that rate sets the output.
  const output = results.filter((r) => r.metric === "output" && !r.load.rate);
  const own = output.filter((r) => r.server === undefined);
  const warm = [...new Set(own.map(temperatureOf))].filter((t) => t > 0);
  const servers = [...new Set(output.flatMap(({ server }) => server ?? []))];
  const head = [
    "load, tokens/s",
    FASTGEN,
    ...warm.map((t) => `at temperature ${t}`),
    ...servers,
    "floor",
    "Fastgen's share",
  ];
  const rows = groupBy(output, title).map((load) => {
    const cell = (found: Result | undefined) => (found ? rounded(found.value) : "");
    const at = (temperature: number) => findOwn(load, temperature);
    const greedy = at(0);
    const floor = greedy?.floor;
    return [
      title(load[0]!),
      cell(greedy),
      ...warm.map((t) => cell(at(t))),
      ...servers.map((server) => cell(load.findLast((r) => r.server === server))),
      floor ? rounded(floor) : "",
      floor ? percent(greedy.value / floor) : "",
    ];
  });
  return table(head, rows);
}

function findOwn(results: readonly Result[], temperature: number): Result | undefined {
  return results.findLast((r) => r.server === undefined && temperatureOf(r) === temperature);
}

/** What clients of a stream see: a row for each load, server and temperature. Null where nothing streamed. */
function latencyTable(results: readonly Result[]): string | null {
  const seen = results.filter((r) => LATENCIES.includes(r.metric));
  if (seen.length === 0) return null;
  const rows = groupBy(seen, title).flatMap((load) =>
    groupBy(load, (r) => `${serverOf(r)} ${temperatureOf(r)}`).map((row) => {
      const temperature = temperatureOf(row[0]!);
      const cells = LATENCIES.map((metric) => {
        const found = row.findLast((r) => r.metric === metric);
        if (!found) return "";
        const floor = found.floor ? ` (floor ${quantity(found.floor, found.unit)})` : "";
        return quantity(found.value, found.unit) + floor;
      });
      const server = serverOf(row[0]!) + (temperature > 0 ? `, temperature ${temperature}` : "");
      return [title(load[0]!), server, ...cells];
    }),
  );
  return table(["load, streaming", "server", ...LATENCIES], rows);
}

/** The most telling loads, for a reader who is new here. */
const SUMMARY: readonly { model: string; dtype?: string; load: string; metric: string; label?: string }[] = [
  { model: "mistral-7b", load: "reference", metric: "output" },
  { model: "mistral-7b", load: "one", metric: "output" },
  { model: "mistral-7b", load: "poisson", metric: "TTFT p50", label: "median time to first token" },
  { model: "qwen2.5-14b", load: "reference", metric: "output" },
  { model: "mistral-7b", dtype: "fp8", load: "reference", metric: "output" },
];
const LAUNCH = "launch to first token";

/** A few rows for the README: loads on the GPU that other servers were measured on, and a launch there. */
export function summaryReport(loads: readonly Result[], starts: readonly Result[]): string {
  const gpu = loads.find((r) => r.server !== undefined)?.gpu;
  const shown = new Set(SUMMARY.map(({ load }) => load));
  const theirs = [...new Set(loads.flatMap((r) => (r.server && shown.has(nameOf(r.load) ?? "") ? r.server : [])))];
  const rows = SUMMARY.flatMap(({ model, dtype = "bfloat16", load, metric, label }) => {
    const same = (r: Result) => r.model === model && r.dtype === dtype && r.gpu === gpu && r.gpus === 1;
    const found = loads.filter((r) => same(r) && r.metric === metric && nameOf(r.load) === load);
    const own = findOwn(found, 0);
    if (!own) return [];
    const cell = (r: Result | undefined) => (r ? quantity(r.value, r.unit) : "");
    return [
      [
        `${modelOf(own)}, ${title(own)}${label ? `, ${label}` : ""}`,
        cell(own),
        ...theirs.map((server) => cell(found.findLast((r) => r.server === server))),
        own.floor ? quantity(own.floor, own.unit) : "",
      ],
    ];
  });
  const launch = starts.findLast((r) => r.gpu === gpu && r.dtype === "bfloat16" && r.metric === LAUNCH);
  if (launch) {
    rows.push([`${modelOf(launch)}, ${LAUNCH}`, quantity(launch.value, launch.unit), ...theirs.map(() => ""), ""]);
  }
  return table(["load", FASTGEN, ...theirs, "floor"], rows);
}
