/** One measurement a line in results/*.jsonl: what was measured, where, of what, and how to do it again. */
import { spawnSync } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { cpus } from "node:os";
import { basename, join, resolve } from "node:path";

export const RESULTS_DIRECTORY = join(import.meta.dir, "results");

export interface Measurement {
  metric: string;
  value: number;
  unit: string;
  /** What the hardware allows, in the same unit; null where no bound is known. */
  floor?: number | null;
}

export interface Subject {
  /** "org/name" or a directory, of which the last part is kept. */
  model: string;
  dtype: string;
  /** The parameters of the load: batch, lengths, rate, ... */
  load: Record<string, unknown>;
}

export interface Result extends Required<Measurement>, Subject {
  /** Short hash, with "+" where the checkout had changes. */
  commit: string;
  /** ISO 8601, UTC. */
  date: string;
  /** The GPU's name, or the CPU's where there is none. */
  gpu: string;
  /** NVIDIA's, or null. */
  driver: string | null;
  command: string;
  /** What answered, where it was not Fastgen. */
  server?: string;
}

/** Appends to results/`name`.jsonl, or to another file. */
export function record(file: string, subject: Subject, measurements: readonly Measurement[]): void {
  const facts = machineFacts();
  const model = existsSync(subject.model) ? basename(resolve(subject.model)) : subject.model;
  const lines = measurements.map((m): Result => {
    const value = Number(m.value.toPrecision(6));
    return {
      ...facts,
      ...subject,
      model,
      metric: m.metric,
      value,
      unit: m.unit,
      floor: m.floor ?? null,
      command: command(),
    };
  });
  const path = resultsPath(file);
  mkdirSync(join(path, ".."), { recursive: true });
  appendFileSync(path, lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
}

/** A path, or a name in bench/results. */
function resultsPath(file: string): string {
  return file.includes("/") ? file : join(RESULTS_DIRECTORY, `${file}.jsonl`);
}

/** All results, oldest first within a file. */
export function readResults(directory = RESULTS_DIRECTORY): Result[] {
  if (!existsSync(directory)) return [];
  const files = readdirSync(directory).filter((name) => name.endsWith(".jsonl"));
  return files.sort().flatMap((name) => readResultsFile(join(directory, name)));
}

/** The results of one file, which is named as for record(); none where there is no such file. */
export function readResultsFile(file: string): Result[] {
  const path = resultsPath(file);
  if (!existsSync(path)) return [];
  const lines = readFileSync(path, "utf8").split("\n");
  return lines.flatMap((line, i) => {
    if (line.trim() === "") return [];
    try {
      return [JSON.parse(line) as Result];
    } catch {
      throw new Error(`${path}:${i + 1} is not JSON`);
    }
  });
}

export function machineFacts(): Pick<Result, "commit" | "date" | "gpu" | "driver"> {
  // FASTGEN_COMMIT: for a copy of a checkout that came without its history.
  const head = process.env.FASTGEN_COMMIT ?? run("git", ["rev-parse", "--short", "HEAD"]) ?? "unknown";
  const dirty = !process.env.FASTGEN_COMMIT && run("git", ["status", "--porcelain", "--untracked-files=no"]);
  const smi = run("nvidia-smi", ["--query-gpu=name,driver_version", "--format=csv,noheader"])?.split("\n") ?? [];
  const [gpu, driver] = smi[0]?.split(", ") ?? [];
  const cpu = `${cpus()[0]?.model.trim() ?? "CPU"}, ${cpus().length} cores`;
  return {
    commit: head + (dirty ? "+" : ""),
    date: new Date().toISOString(),
    gpu: gpu ? (smi.length > 1 ? `${smi.length} × ${gpu}` : gpu) : cpu,
    driver: driver ?? null,
  };
}

function run(program: string, args: string[]): string | null {
  const result = spawnSync(program, args, { cwd: import.meta.dir, encoding: "utf8" });
  return result.status === 0 ? result.stdout.trim() : null;
}

/** The command line, as typed from the root of a checkout, without the flags that only say where things are. */
function command(): string {
  const script = (process.argv[1] ?? "").replace(`${join(import.meta.dir, "..")}/`, "");
  const places = ["--url", "--results", "--ceilings", "--floor-model"];
  const args = process.argv.slice(2).filter((arg, i, all) => !places.includes(arg) && !places.includes(all[i - 1]!));
  return ["bun", script, ...args].join(" ");
}
