#!/usr/bin/env bun
/**
 * libfastgen on this CPU: prefill and decode speed for one sequence and for several, the share of the memory bandwidth
 * that decoding one sequence reaches, and llama.cpp on the same bf16 weights, in turns with it (A B A B): a machine's speed
 * drifts. Prints medians; appends them to results/cpu.jsonl unless other programs disturbed them.
 */
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { basename, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { Command } from "commander";
import { openModel } from "../src/model/load.ts";
import type { Model } from "../src/model/shape.ts";
import { count } from "./flags.ts";
import { writeGguf } from "./gguf.ts";
import { LIBRARY_PATH, TimedLibrary, type Timing } from "./library.ts";
import { undisturbed } from "./quiet.ts";
import { type Measurement, record } from "./record.ts";
import { median, randomFrom } from "./stats.ts";

const DTYPE = "bfloat16";
const BUILD = join(import.meta.dir, "..", "build", "bench");

const program = new Command("bun bench/cpu.ts")
  .description("Times libfastgen on the CPU, beside llama.cpp and the machine's memory bandwidth.")
  .argument("<model>", "directory or org/name; bf16 weights")
  .option("--batch <n>", "sequences in the larger batch", count, 16)
  .option("--input <tokens>", "prompt", count, 512)
  .option("--output <tokens>", "new tokens", count, 64)
  .option("--rounds <n>", "times each is run", count, 5)
  .option("--threads <n>", "default: all cores", count, availableParallelism())
  .option("--memory <gib>", "buffer for the bandwidth measurement", Number, 1)
  .option("--anyway", "take and record the figures even where other programs disturb them", false)
  .option("--no-llama-cpp", "leave llama.cpp out")
  .option("--results <file>", "where to append: a path, or a name in bench/results; none = nowhere", "cpu");

/** Best of a few reads of memory, in bytes a second. */
export function memoryBandwidth(gib: number, threads: number): number {
  const binary = join(BUILD, "bandwidth");
  mkdirSync(BUILD, { recursive: true });
  const source = join(import.meta.dir, "bandwidth.c");
  checked("cc", ["-O3", "-march=native", "-pthread", source, "-o", binary]);
  return Number(checked(binary, [String(gib), String(threads), "6"]).split(" ")[0]);
}

function checked(program: string, args: string[], cwd?: string): string {
  const { status, stdout, stderr, error } = spawnSync(program, args, { encoding: "utf8", cwd });
  if (status !== 0) throw new Error(`${program} ${args.join(" ")}: ${error?.message ?? stderr}`);
  return stdout;
}

/** llama.cpp in its own process (llama-cpp.mjs). */
class LlamaCpp {
  private constructor(
    private readonly child: ChildProcessWithoutNullStreams,
    private readonly lines: AsyncIterator<string>,
  ) {}

  static async start(model: Model, threads: number, sequences: number, context: number): Promise<LlamaCpp> {
    if (process.platform !== "linux" || process.arch !== "x64") {
      throw new Error("the comparison with llama.cpp is set up for Linux on x64: pass --no-llama-cpp");
    }
    if (!existsSync(join(import.meta.dir, "node_modules", "node-llama-cpp"))) {
      console.log("installing llama.cpp (node-llama-cpp) in bench/node_modules");
      checked("npm", ["ci", "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund"], import.meta.dir);
    }
    mkdirSync(BUILD, { recursive: true });
    const path = join(BUILD, `${basename(resolve(model.directory ?? model.name))}.gguf`);
    writeGguf(model, path);
    const args = [join(import.meta.dir, "llama-cpp.mjs"), path, `${threads}`, `${sequences}`, `${context}`];
    const child = spawn("node", args, { stdio: "pipe" });
    child.stderr.pipe(process.stderr);
    const llama = new LlamaCpp(child, createInterface({ input: child.stdout })[Symbol.asyncIterator]());
    await llama.answer();
    return llama;
  }

  private async answer(): Promise<Timing> {
    const { value, done } = await this.lines.next();
    if (done) throw new Error("llama.cpp's process ended");
    return JSON.parse(value);
  }

  get pid(): number {
    return this.child.pid!;
  }

  run(prompts: number[][], count: number): Promise<Timing> {
    this.child.stdin.write(`${JSON.stringify({ prompts, count })}\n`);
    return this.answer();
  }

  close(): void {
    this.child.stdin.end();
  }
}

/**
 * Bytes that one decode step of `batch` sequences must read, on average: the weights (but for the embedding table, unless
 * it is the LM head too), and the KV cache.
 */
function bytesPerStep(model: Model, weightBytes: number, batch: number, input: number, output: number): number {
  const { vocabSize, hiddenSize, tiedEmbeddings, layers, kvHeads, headDim } = model.shape;
  const table = tiedEmbeddings ? 0 : vocabSize * hiddenSize * 2;
  return weightBytes - table + batch * (input + output / 2) * layers * 2 * kvHeads * headDim * 2;
}

/** Share of the tokens before two runs first differ. */
function agreement(a: number[][], b: number[][]): number {
  const shares = a.map((ids, i) => {
    const at = ids.findIndex((id, k) => id !== b[i]![k]);
    return at < 0 ? 1 : at / ids.length;
  });
  return shares.reduce((x, y) => x + y, 0) / shares.length;
}

interface Flags {
  batch: number;
  input: number;
  output: number;
  rounds: number;
  threads: number;
  memory: number;
  anyway: boolean;
  llamaCpp: boolean;
  results: string;
}

/** One value a round of everything that is measured. */
interface Rounds {
  deviceName: string;
  /** Bytes a second, around the run of one sequence. */
  bandwidth: number[];
  /** "fastgen decode 16" → tokens a second */
  speeds: Map<string, number[]>;
  /** Bytes of one decode step, by batch. */
  stepBytes: Map<number, number>;
  /** Of the greedy tokens of one sequence with llama.cpp's; null without it. */
  agreed: number | null;
  /** Runs that other programs disturbed, however often they were repeated. */
  disturbed: number;
}

async function measure(model: Model, flags: Flags): Promise<Rounds> {
  const { batch, input, output, threads } = flags;
  const context = Math.ceil((input + output) / 64) * 64;
  const ours = TimedLibrary.open(model, { sequences: batch, context, threads, dtype: DTYPE, stepTokens: 512 });
  const theirs = flags.llamaCpp ? await LlamaCpp.start(model, threads, batch, context) : null;
  const random = randomFrom(1);
  const prompts = Array.from({ length: batch }, () =>
    Array.from({ length: input }, () => 1 + Math.floor(random() * (model.shape.vocabSize - 1))),
  );
  const batches = [...new Set([1, batch])];
  const { weightBytes, deviceName } = ours.capacity;
  const stepBytes = new Map(batches.map((n) => [n, bytesPerStep(model, weightBytes, n, input, output)]));
  const rounds: Rounds = { deviceName, bandwidth: [], speeds: new Map(), stepBytes, agreed: null, disturbed: 0 };
  const note = (key: string, value: number) => rounds.speeds.set(key, [...(rounds.speeds.get(key) ?? []), value]);

  const pids = theirs ? [process.pid, theirs.pid] : [process.pid];
  for (let round = -1; round < flags.rounds; round++) {
    // Round -1 warms up: pages are touched, clocks settle. It is not counted.
    const counted = round >= 0;
    const timed = async (who: string, n: number, run: () => Timing | Promise<Timing>): Promise<Timing> => {
      if (!counted) return run();
      const watched = flags.anyway ? { result: await run(), disturbed: false } : await undisturbed(pids, run);
      const { result, disturbed } = watched;
      if (disturbed) rounds.disturbed++;
      note(`${who} prefill ${n}`, (n * (input - 1)) / result.prefillSeconds);
      note(`${who} decode ${n}`, (n * output) / result.decodeSeconds);
      return result;
    };
    for (const n of batches) {
      const some = prompts.slice(0, n);
      const before = n === 1 ? memoryBandwidth(flags.memory, threads) : 0;
      const own = await timed("fastgen", n, () => ours.run(some, output));
      // Other tenants of the memory come and go: what it gave just before and just after is the measure.
      if (n === 1 && counted) rounds.bandwidth.push(Math.max(before, memoryBandwidth(flags.memory, threads)));
      if (!theirs) continue;
      const other = await timed("llama.cpp", n, () => theirs.run(some, output));
      if (n === 1) rounds.agreed = agreement(own.ids, other.ids);
    }
  }
  ours.close();
  theirs?.close();
  return rounds;
}

/** Medians, each with the bound that memory sets. */
function summarize({ bandwidth, speeds, stepBytes }: Rounds): Measurement[] {
  const best = Math.max(...bandwidth);
  const share = median(speeds.get("fastgen decode 1")!.map((speed, i) => (speed * stepBytes.get(1)!) / bandwidth[i]!));
  const out: Measurement[] = [
    { metric: "memory bandwidth, best", value: best / 1e9, unit: "GB/s" },
    { metric: "memory bandwidth, median", value: median(bandwidth) / 1e9, unit: "GB/s" },
    { metric: "batch-1 decode's share of the bandwidth in its round", value: share, unit: "share" },
  ];
  for (const phase of ["prefill", "decode"]) {
    for (const [n, bytes] of stepBytes) {
      const metric = `${phase}, batch ${n}`;
      const floor = phase === "decode" ? (n * best) / bytes : null;
      const own = speeds.get(`fastgen ${phase} ${n}`)!;
      const other = speeds.get(`llama.cpp ${phase} ${n}`);
      out.push({ metric, value: median(own), unit: "tokens/s", floor });
      if (!other) continue;
      const ratios = own.map((value, i) => value / other[i]!);
      out.push({ metric: `${metric}: llama.cpp`, value: median(other), unit: "tokens/s", floor });
      out.push({ metric: `${metric}: ratio to llama.cpp`, value: median(ratios), unit: "×" });
    }
  }
  return out;
}

export async function main(args: string[]): Promise<void> {
  const command = program.parse(args, { from: "user" });
  const flags = command.opts<Flags>();
  const directory = command.args[0]!;
  if (!existsSync(LIBRARY_PATH)) throw new Error(`no ${LIBRARY_PATH}: make -C libfastgen`);
  const model = await openModel(directory);
  if (model.dtype !== DTYPE) throw new Error(`the bench compares bf16 weights; ${model.name} has ${model.dtype}`);
  const rounds = await measure(model, flags);
  const measured = summarize(rounds);
  const { input, output, threads } = flags;
  console.log(`${model.name}, ${rounds.deviceName}, ${threads} threads, ${input} tokens in, ${output} out`);
  for (const { metric, value, unit, floor } of measured) {
    const bound = floor ? `, ${((100 * value) / floor).toFixed(0)} % of memory's bound` : "";
    console.log(`${metric.padEnd(54)} ${value.toPrecision(4).padStart(8)} ${unit}${bound}`);
  }
  if (rounds.agreed !== null) {
    console.log(`greedy tokens are llama.cpp's for the first ${(100 * rounds.agreed).toFixed(0)} %`);
  }
  if (rounds.disturbed > 0) console.error(`other programs disturbed ${rounds.disturbed} runs: nothing is recorded`);
  else if (flags.results !== "none") {
    const load = { input, output, threads, rounds: flags.rounds };
    record(flags.results, { model: directory, dtype: DTYPE, load }, measured);
  }
}

if (import.meta.main) await main(process.argv.slice(2));
