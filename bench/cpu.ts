#!/usr/bin/env bun
/**
 * libfastgen on this CPU: prefill and decode speed for one sequence and for several, the share of the memory bandwidth
 * that decoding one sequence reaches, and llama.cpp on the same bf16 weights, in turns with it (A B A B): a machine's speed
 * drifts. Prints medians; appends them to results/cpu.jsonl.
 */
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { basename, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { Command, InvalidArgumentError } from "commander";
import { openModel } from "../src/model/load.ts";
import type { Model } from "../src/model/shape.ts";
import { writeGguf } from "./gguf.ts";
import { LIBRARY_PATH, TimedLibrary, type Timing } from "./library.ts";
import { type Measurement, record } from "./record.ts";
import { median, randomFrom } from "./stats.ts";

const BUILD = join(import.meta.dir, "..", "build", "bench");

const count = (text: string) => {
  if (!/^[1-9]\d*$/.test(text)) throw new InvalidArgumentError("A whole number above 0 is wanted.");
  return Number(text);
};

const program = new Command("bun bench/cpu.ts")
  .description("Times libfastgen on the CPU, beside llama.cpp and the machine's memory bandwidth.")
  .argument("<model>", "directory or org/name; bf16 weights")
  .option("--batch <n>", "sequences in the larger batch", count, 16)
  .option("--input <tokens>", "prompt", count, 512)
  .option("--output <tokens>", "new tokens", count, 64)
  .option("--rounds <n>", "times each is run", count, 5)
  .option("--threads <n>", "default: all cores", count, availableParallelism())
  .option("--memory <gib>", "buffer for the bandwidth measurement", Number, 2)
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

  run(prompts: number[][], count: number): Promise<Timing> {
    this.child.stdin.write(`${JSON.stringify({ prompts, count })}\n`);
    return this.answer();
  }

  close(): void {
    this.child.stdin.end();
  }
}

/** Bytes of weights that one decode step reads: all but the embedding table, unless it is the LM head too. */
function bytesPerStep(model: Model, weightBytes: number): number {
  const { vocabSize, hiddenSize, tiedEmbeddings } = model.shape;
  return weightBytes - (tiedEmbeddings ? 0 : vocabSize * hiddenSize * 2);
}

/** Share of tokens on which two runs agree before they first differ. */
function agreement(a: number[][], b: number[][]): number {
  const shares = a.map((ids, i) => {
    const at = ids.findIndex((id, k) => id !== b[i]![k]);
    return at < 0 ? 1 : at / ids.length;
  });
  return shares.reduce((x, y) => x + y, 0) / shares.length;
}

export async function main(args: string[]): Promise<void> {
  const command = program.parse(args, { from: "user" });
  const flags = command.opts();
  const [directory] = command.args as [string];
  if (!existsSync(LIBRARY_PATH)) throw new Error(`no ${LIBRARY_PATH}: make -C libfastgen`);
  const model = await openModel(directory);
  if (model.dtype !== "bfloat16") throw new Error(`the bench compares bf16 weights; ${model.name} has ${model.dtype}`);
  const { batch, input, output, rounds, threads } = flags as Record<string, number>;
  const context = Math.ceil((input! + output!) / 64) * 64;
  const dtype = "bfloat16";
  const ours = TimedLibrary.open(model, { sequences: batch!, context, threads: threads!, dtype, stepTokens: 512 });
  const theirs = flags.llamaCpp ? await LlamaCpp.start(model, threads!, batch!, context) : null;

  const random = randomFrom(1);
  const prompts = Array.from({ length: batch! }, () =>
    Array.from({ length: input! }, () => 1 + Math.floor(random() * (model.shape.vocabSize - 1))),
  );
  const batches = [...new Set([1, batch!])];
  const speeds = new Map<string, number[]>();
  const note = (key: string, value: number) => speeds.set(key, [...(speeds.get(key) ?? []), value]);
  const bandwidths: number[] = [];
  const shares: number[] = [];
  const stepBytes = bytesPerStep(model, ours.capacity.weightBytes);
  let agreed = Number.NaN;

  for (let round = -1; round < rounds!; round++) {
    // Round -1 warms up: pages are touched, clocks settle. It is not counted.
    const counted = round >= 0;
    const bandwidth = memoryBandwidth(flags.memory, threads!);
    if (counted) bandwidths.push(bandwidth);
    for (const n of batches) {
      const some = prompts.slice(0, n);
      const results: [string, Timing][] = [["fastgen", ours.run(some, output!)]];
      if (theirs) results.push(["llama.cpp", await theirs.run(some, output!)]);
      if (!counted) continue;
      for (const [who, timing] of results) {
        note(`${who} prefill ${n}`, (n * (input! - 1)) / timing.prefillSeconds);
        note(`${who} decode ${n}`, (n * output!) / timing.decodeSeconds);
      }
      if (n === 1) shares.push((stepBytes * output!) / results[0]![1].decodeSeconds / bandwidth);
      if (n === 1 && results[1]) agreed = agreement(results[0]![1].ids, results[1][1].ids);
    }
  }
  ours.close();
  theirs?.close();

  const bestBandwidth = Math.max(...bandwidths);
  const measured: Measurement[] = [{ metric: "memory bandwidth", value: bestBandwidth / 1e9, unit: "GB/s" }];
  console.log(`${model.name}, ${ours.capacity.deviceName}, ${threads} threads, ${input} tokens in, ${output} out`);
  console.log(
    `memory: ${(bestBandwidth / 1e9).toFixed(1)} GB/s at best, ${(median(bandwidths) / 1e9).toFixed(1)} median`,
  );
  console.log(`batch-1 decode reads ${(100 * median(shares)).toFixed(0)} % of what memory gave in the same round`);
  measured.push({
    metric: "batch-1 decode's share of memory bandwidth",
    value: median(shares),
    unit: "share",
    floor: 1,
  });
  for (const phase of ["prefill", "decode"]) {
    for (const n of batches) {
      const floor = phase === "decode" ? (n * bestBandwidth) / stepBytes : null;
      const own = median(speeds.get(`fastgen ${phase} ${n}`)!);
      measured.push({ metric: `${phase}, batch ${n}`, value: own, unit: "tokens/s", floor });
      let line = `${phase.padEnd(8)} batch ${String(n).padEnd(3)} ${own.toFixed(1).padStart(9)} tokens/s`;
      const other = speeds.get(`llama.cpp ${phase} ${n}`);
      if (other) {
        const ratio = median(speeds.get(`fastgen ${phase} ${n}`)!.map((value, i) => value / other[i]!));
        measured.push({ metric: `${phase}, batch ${n}: llama.cpp`, value: median(other), unit: "tokens/s", floor });
        measured.push({ metric: `${phase}, batch ${n}: ratio to llama.cpp`, value: ratio, unit: "×" });
        line += `   llama.cpp ${median(other).toFixed(1).padStart(9)}   ratio ${ratio.toFixed(2)}`;
      }
      console.log(line);
    }
  }
  if (theirs) console.log(`greedy tokens agree with llama.cpp's for the first ${(100 * agreed).toFixed(0)} %`);
  if (flags.results !== "none") {
    const load = { input, output, threads, rounds };
    record(flags.results, { model: basename(resolve(directory)), dtype, load }, measured);
  }
}

if (import.meta.main) await main(process.argv.slice(2));
