/** results/*.jsonl holds one measurement per line: what was measured, where, of what, and how to repeat it. */
import { spawnSync } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync, readFileSync } from "node:fs";
import { cpus } from "node:os";
import { basename, join, resolve } from "node:path";

const RESULTS_DIRECTORY = join(import.meta.dir, "results");

export interface Measurement {
  metric: string;
  value: number;
  unit: string;
  /** What the hardware allows, in the same unit; null where no bound is known. */
  floor?: number | null;
  /** What answered, where it was not Fastgen; how it was built, and how it was set up for this measurement. */
  server?: string;
  build?: string;
  setting?: string;
}

export interface Subject {
  /** "org/name", or a directory, whose last part is kept. */
  model: string;
  dtype: string;
  /** The parameters of the load: batch, lengths, rate, ... */
  load: Record<string, unknown>;
  /** GPUs that serve; 1 by default. */
  gpus?: number;
  /** Engines that these GPUs are shared out to; 1 by default. */
  engines?: number;
}

type Recorded = Measurement & Required<Pick<Measurement, "floor">> & Required<Subject>;

export interface Result extends Recorded {
  /** Short hash, with "+" where the checkout had changes. */
  commit: string;
  /** ISO 8601, UTC. */
  date: string;
  /** The GPU's name, or the CPU's where there is none. `gpus` says how many of it served. */
  gpu: string;
  /** NVIDIA's, or null. */
  driver: string | null;
  command: string;
}

/** Appends to results/`name`.jsonl, or to another file. */
export function record(file: string, subject: Subject, measurements: readonly Measurement[]): void {
  const facts = machineFacts();
  const model = existsSync(subject.model) ? basename(resolve(subject.model)) : subject.model;
  const lines = measurements.map((m): Result => {
    const value = Number(m.value.toPrecision(6));
    return {
      ...facts,
      gpus: 1,
      engines: 1,
      ...subject,
      model,
      ...m,
      value,
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

/** The results of one file, oldest first; none where there is no such file. The file is named as for record(). */
export function readResultsFile(file: string): Result[] {
  const path = resultsPath(file);
  if (!existsSync(path)) return [];
  const lines = readFileSync(path, "utf8").split("\n");
  return lines.flatMap((line, i) => {
    if (line.trim() === "") return [];
    try {
      // Older records do not say how many GPUs and engines served: it was one.
      return [{ gpus: 1, engines: 1, ...JSON.parse(line) } as Result];
    } catch {
      throw new Error(`${path}:${i + 1} is not JSON`);
    }
  });
}

export function machineFacts(): Pick<Result, "commit" | "date" | "gpu" | "driver"> {
  // FASTGEN_COMMIT names the commit of a copy that has no .git.
  const head = process.env.FASTGEN_COMMIT ?? run("git", ["rev-parse", "--short", "HEAD"]) ?? "unknown";
  const dirty = !process.env.FASTGEN_COMMIT && run("git", ["status", "--porcelain", "--untracked-files=no"]);
  const smi = run("nvidia-smi", ["--query-gpu=name,driver_version", "--format=csv,noheader"]);
  const [gpu, driver] = smi?.split("\n")[0]?.split(", ") ?? [];
  const cpu = `${cpus()[0]?.model.trim() ?? "CPU"}, ${cpus().length} cores`;
  return {
    commit: head + (dirty ? "+" : ""),
    date: new Date().toISOString(),
    gpu: gpu || cpu,
    driver: driver ?? null,
  };
}

function run(program: string, args: string[]): string | null {
  const result = spawnSync(program, args, { cwd: import.meta.dir, encoding: "utf8" });
  return result.status === 0 ? result.stdout.trim() : null;
}

/** The command line as typed in the root of a checkout, without the flags that only say where things are. */
function command(): string {
  const script = (process.argv[1] ?? "").replace(`${join(import.meta.dir, "..")}/`, "");
  const places = ["--url", "--results", "--ceilings", "--floor-model"];
  const args = process.argv.slice(2).filter((arg, i, all) => !places.includes(arg) && !places.includes(all[i - 1]!));
  return ["bun", script, ...args].join(" ");
}
