#!/usr/bin/env bun
/**
 * libfastgen on this CPU: prefill and decode speed for one sequence and for several, the share of the memory bandwidth
 * that decoding one sequence reaches, and llama.cpp on the same bf16 weights. The two take turns (A B A B), because a
 * machine's speed drifts. Prints medians; appends them to results/cpu.jsonl unless other programs disturbed the runs.
 */
import { existsSync, mkdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { openModel } from "../src/model/load.ts";
import type { Model } from "../src/model/shape.ts";
import { count } from "./flags.ts";
import { LIBRARY_PATH, TimedLibrary, type Timing } from "./library.ts";
import { describeSetting, LlamaCpp, SETTINGS, type Setting } from "./llama-cpp.ts";
import { undisturbed } from "./quiet.ts";
import { type Measurement, record } from "./record.ts";
import { BUILD, checked } from "./run.ts";
import { median, randomFrom } from "./stats.ts";

const DTYPE = "bfloat16";

const program = new Command("bun bench/cpu.ts")
  .description("Times libfastgen on the CPU, beside llama.cpp and the machine's memory bandwidth.")
  .argument("<model>", "directory or org/name; bf16 weights")
  .option("--batch <n>", "sequences in the larger batch", count, 16)
  .option("--input <tokens>", "prompt", count, 512)
  .option("--output <tokens>", "new tokens", count, 64)
  .option("--rounds <n>", "how often each is run", count, 5)
  .option("--threads <n>", "default: all cores", count, availableParallelism())
  .option("--memory <gib>", "buffer for the bandwidth measurement", Number, 1)
  .option("--anyway", "measure and record even while other programs disturb it", false)
  .option("--no-llama-cpp", "leave llama.cpp out")
  .option("--results <file>", "where to append: a path, or a name in bench/results; none = nowhere", "cpu");

/** The best of a few passes over a buffer, in bytes per second. */
export function memoryBandwidth(gib: number, threads: number): number {
  const binary = join(BUILD, "bandwidth");
  mkdirSync(BUILD, { recursive: true });
  const source = join(import.meta.dir, "bandwidth.c");
  checked("cc", ["-O3", "-march=native", "-pthread", source, "-o", binary]);
  return Number(checked(binary, [String(gib), String(threads), "6"]).split(" ")[0]);
}

/**
 * Mean bytes that one decode step of `batch` sequences must read: the KV cache, and the weights excluding the embedding
 * table (unless the table is also the LM head).
 */
function bytesPerStep(model: Model, weightBytes: number, batch: number, input: number, output: number): number {
  const { vocabSize, hiddenSize, tiedEmbeddings, layers, kvHeads, headDim } = model.shape;
  const table = tiedEmbeddings ? 0 : vocabSize * hiddenSize * 2;
  return weightBytes - table + batch * (input + output / 2) * layers * 2 * kvHeads * headDim * 2;
}

/** Mean share of a sequence's tokens that come before the first difference. */
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

const PHASES = ["prefill", "decode"] as const;
type Phase = (typeof PHASES)[number];
/** Of a phase and a batch. */
type Key = `${Phase}, batch ${number}`;
const keyOf = (phase: Phase, batch: number): Key => `${phase}, batch ${batch}`;

/** One value per round of everything that is measured. */
interface Rounds {
  deviceName: string;
  /** Bytes per second, around the run of one sequence. */
  bandwidth: number[];
  /** Tokens per second. */
  fastgen: Map<Key, number[]>;
  llamaCpp: Map<Key, number[]>;
  /** Bytes of one decode step, by batch. */
  stepBytes: Map<number, number>;
  /** llama.cpp's build, and its fastest setting for each figure; null without it. */
  build: string | null;
  settings: Map<Key, Setting>;
  /** Share of the greedy tokens of one sequence that are also llama.cpp's; null without it. */
  agreed: number | null;
  /** Runs that other programs disturbed, however often they were repeated. */
  disturbed: number;
}

class Comparison {
  private readonly random = randomFrom(1);
  private readonly prompts: number[][];
  private readonly batches: number[];
  private readonly pids: number[];
  readonly rounds: Rounds;

  constructor(
    model: Model,
    private readonly flags: Flags,
    private readonly ours: TimedLibrary,
    private readonly theirs: LlamaCpp | null,
  ) {
    const { batch, input, output } = flags;
    const token = () => 1 + Math.floor(this.random() * (model.shape.vocabSize - 1));
    this.prompts = Array.from({ length: batch }, () => Array.from({ length: input }, token));
    this.batches = [...new Set([1, batch])];
    this.pids = theirs ? [process.pid, theirs.pid] : [process.pid];
    const { weightBytes, deviceName } = ours.capacity;
    this.rounds = {
      deviceName,
      bandwidth: [],
      fastgen: new Map(),
      llamaCpp: new Map(),
      stepBytes: new Map(this.batches.map((n) => [n, bytesPerStep(model, weightBytes, n, input, output)])),
      build: theirs?.build ?? null,
      settings: new Map(),
      agreed: null,
      disturbed: 0,
    };
  }

  async run(): Promise<Rounds> {
    // First runs, which touch pages and let clocks settle, and find llama.cpp's fastest settings: they give no figures.
    for (const n of this.batches) {
      this.ours.run(this.prompts.slice(0, n), this.flags.output);
      await this.chooseSettings(n);
    }
    for (let round = 0; round < this.flags.rounds; round++) {
      for (const n of this.batches) await this.round(n);
    }
    return this.rounds;
  }

  private async round(n: number): Promise<void> {
    const { flags, rounds, ours, theirs } = this;
    const prompts = this.prompts.slice(0, n);
    const bandwidth = () => (n === 1 ? memoryBandwidth(flags.memory, flags.threads) : 0);
    const before = bandwidth();
    const own = await this.timed(() => ours.run(prompts, flags.output));
    // Other tenants of the memory come and go: the measure is the best just before and just after.
    if (n === 1) rounds.bandwidth.push(Math.max(before, bandwidth()));
    for (const phase of PHASES) note(rounds.fastgen, keyOf(phase, n), this.speed(phase, n, own));
    if (!theirs) return;
    for (const setting of new Set(PHASES.map((phase) => rounds.settings.get(keyOf(phase, n))!))) {
      const other = await this.timed(() => theirs.run(prompts, flags.output, setting));
      for (const phase of PHASES) {
        const key = keyOf(phase, n);
        if (rounds.settings.get(key) === setting) note(rounds.llamaCpp, key, this.speed(phase, n, other));
      }
      if (n === 1) rounds.agreed = agreement(own.ids, other.ids);
    }
  }

  /** Finds llama.cpp's fastest setting for each phase of `n` sequences: each is run twice, and its better run counts. */
  private async chooseSettings(n: number): Promise<void> {
    const { theirs, rounds } = this;
    if (!theirs) return;
    const prompts = this.prompts.slice(0, n);
    const best = new Map<Key, number>();
    for (const setting of [...SETTINGS, ...SETTINGS]) {
      const timing = await this.timed(() => theirs.run(prompts, this.flags.output, setting));
      for (const phase of PHASES) {
        const [key, speed] = [keyOf(phase, n), this.speed(phase, n, timing)];
        console.log(`llama.cpp, ${key}: ${speed.toFixed(0)} tokens/s with ${describeSetting(setting)}`);
        if (speed <= (best.get(key) ?? 0)) continue;
        best.set(key, speed);
        rounds.settings.set(key, setting);
      }
    }
  }

  private async timed(run: () => Timing | Promise<Timing>): Promise<Timing> {
    if (this.flags.anyway) return run();
    const { result, disturbed } = await undisturbed(this.pids, run);
    if (disturbed) this.rounds.disturbed++;
    return result;
  }

  private speed(phase: Phase, n: number, { prefillSeconds, decodeSeconds }: Timing): number {
    const { input, output } = this.flags;
    return phase === "prefill" ? (n * (input - 1)) / prefillSeconds : (n * output) / decodeSeconds;
  }
}

function note(values: Map<Key, number[]>, key: Key, value: number): void {
  values.set(key, [...(values.get(key) ?? []), value]);
}

async function measure(model: Model, flags: Flags): Promise<Rounds> {
  const { batch, input, output, threads } = flags;
  const context = Math.ceil((input + output) / 64) * 64;
  const ours = TimedLibrary.open(model, { sequences: batch, context, threads, dtype: DTYPE, stepTokens: 512 });
  const theirs = flags.llamaCpp ? await LlamaCpp.start(model, threads, context) : null;
  try {
    return await new Comparison(model, flags, ours, theirs).run();
  } finally {
    ours.close();
    theirs?.close();
  }
}

/** Medians, each with the bound that memory sets. */
function summarize({ bandwidth, fastgen, llamaCpp, stepBytes, build, settings }: Rounds): Measurement[] {
  const best = Math.max(...bandwidth);
  const decode = fastgen.get(keyOf("decode", 1))!;
  const share = median(decode.map((speed, i) => (speed * stepBytes.get(1)!) / bandwidth[i]!));
  const out: Measurement[] = [
    { metric: "memory bandwidth, best", value: best / 1e9, unit: "GB/s" },
    { metric: "memory bandwidth, median", value: median(bandwidth) / 1e9, unit: "GB/s" },
    { metric: "batch-1 decode's share of the bandwidth in its round", value: share, unit: "share" },
  ];
  for (const phase of PHASES) {
    for (const [n, bytes] of stepBytes) {
      const metric = keyOf(phase, n);
      const floor = phase === "decode" ? (n * best) / bytes : null;
      const own = fastgen.get(metric)!;
      out.push({ metric, value: median(own), unit: "tokens/s", floor });
      const other = llamaCpp.get(metric);
      if (!other) continue;
      const ratios = own.map((value, i) => value / other[i]!);
      const how = { server: "llama.cpp", build: build!, setting: describeSetting(settings.get(metric)!) };
      out.push({ metric, value: median(other), unit: "tokens/s", floor, ...how });
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
  for (const { metric, value, unit, floor, server, setting } of measured) {
    const bound = floor ? `, ${((100 * value) / floor).toFixed(0)} % of memory's bound` : "";
    const name = server ? `${metric}: ${server}` : metric;
    const how = setting ? ` (${setting})` : "";
    console.log(`${name.padEnd(54)} ${value.toPrecision(4).padStart(8)} ${unit}${bound}${how}`);
  }
  if (rounds.build) console.log(rounds.build);
  if (rounds.agreed !== null) {
    console.log(`the first ${(100 * rounds.agreed).toFixed(0)} % of the greedy tokens are llama.cpp's too`);
  }
  if (rounds.disturbed > 0) console.error(`other programs disturbed ${rounds.disturbed} runs: nothing is recorded`);
  else if (flags.results !== "none") {
    const load = { input, output, threads, rounds: flags.rounds };
    record(flags.results, { model: directory, dtype: DTYPE, load }, measured);
  }
}

if (import.meta.main) await main(process.argv.slice(2));
