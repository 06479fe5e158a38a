/**
 * What the numerics tests share. It runs sequences straight through libfastgen, without the engine: the test chooses every
 * chunk, page and slot.
 */
import { afterAll } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pageBytes } from "../src/device.ts";
import type { DeviceKind, EngineCapacity } from "../src/engine-config.ts";
import { LibraryEngine } from "../src/ffi/engine.ts";
import { FG } from "../src/ffi/layout.ts";
import type { StepResult } from "../src/ffi/step.ts";
import { greedyFill, StepPlan } from "../src/ffi/step-plan.ts";
import { openModel } from "../src/model/load.ts";
import type { Dtype, ModelShape, StoredDtype } from "../src/model/shape.ts";

const BUILD = join(import.meta.dir, "..", "build");
export const LIBRARY_PATH = join(BUILD, "libfastgen_cpu.so");
export const CUDA_LIBRARY_PATH = join(BUILD, "libfastgen_cuda.so");
export const REAL_MODEL =
  process.env.FASTGEN_TEST_MODEL ?? join(import.meta.dir, "..", ".cache", "models", "SmolLM2-135M-Instruct");

const MAX_SEQS = 8;
const PAGE = FG.PAGE_TOKENS;

export interface Job {
  ids: ArrayLike<number>;
  /** Sizes of its chunks, repeated until its end; default: one chunk. */
  chunks?: number[];
  /** Steps to wait before it starts. */
  start?: number;
}

export interface Generated {
  ids: Int32Array;
  /** [ids.length][vocab]: the logits each id was chosen from. */
  logits: Float32Array;
}

/** A sequence in the library: its slot and its pages. */
interface Placed {
  slot: number;
  pages: number[];
}

export interface RunnerOptions {
  dtype: Dtype;
  /** Default: dtype. */
  kvDtype?: StoredDtype;
  quantization?: "none" | "fp8";
  /** Default: the CPU. */
  device?: DeviceKind;
  /** GPUs of a tensor-parallel engine; default: 1. */
  ranks?: number;
  threads?: number;
  maxContext?: number;
  maxStepTokens?: number;
}

export class Runner {
  private readonly plan: StepPlan;
  private readonly freePages: number[];
  private readonly freeSlots = Array.from({ length: MAX_SEQS }, (_, i) => i);

  private constructor(
    private readonly engine: LibraryEngine,
    readonly shape: ModelShape,
    readonly capacity: EngineCapacity,
    maxStepTokens: number,
  ) {
    this.plan = new StepPlan(MAX_SEQS, maxStepTokens);
    // Taken from the end. The pages of a sequence are scattered and never in order.
    this.freePages = Array.from({ length: capacity.pages }, (_, i) => (i * 7 + 3) % capacity.pages);
    if (new Set(this.freePages).size !== capacity.pages) throw new Error("the number of pages must not divide by 7");
  }

  static async open(directory: string, options: RunnerOptions): Promise<Runner> {
    const model = await openModel(directory);
    const maxContext = options.maxContext ?? 256;
    const maxStepTokens = options.maxStepTokens ?? MAX_SEQS * maxContext;
    const { shape } = model;
    const ranks = options.ranks ?? 1;
    const kvDtype = options.kvDtype ?? options.dtype;
    const ofRank = pageBytes(shape, kvDtype) / ranks;
    let pages = (MAX_SEQS + 1) * Math.ceil(maxContext / PAGE);
    if (pages % 7 === 0) pages++;
    const engine = LibraryEngine.open({
      device: options.device ?? "cpu",
      libraryPath: options.device === "cuda" ? CUDA_LIBRARY_PATH : LIBRARY_PATH,
      devices: Array.from({ length: ranks }, (_, rank) => rank),
      threads: options.threads ?? 0,
      computeDtype: options.dtype,
      kvDtype,
      quantization: options.quantization ?? "none",
      maxSeqs: MAX_SEQS,
      maxStepTokens,
      maxContext,
      kvBytes: pages * ofRank,
      hostKvBytes: pages * ofRank,
      memoryUtilization: 1,
      shape,
    });
    engine.load(model.tensors);
    const capacity = engine.ready();
    // The library may make host memory in the background.
    while (engine.progress().hostPages < capacity.hostPages) Bun.sleepSync(10);
    return new Runner(engine, shape, capacity, maxStepTokens);
  }

  close(): void {
    this.engine.close();
  }

  /**
   * Logits at every position of every job, [ids.length][vocab]. The jobs run side by side in the same steps. With `swapAt`,
   * all pages move to the host before that step and come back elsewhere.
   */
  score(jobs: Job[], options: { swapAt?: number } = {}): Float32Array[] {
    const vocab = this.shape.vocabSize;
    const logits = jobs.map((job) => new Float32Array(job.ids.length * vocab));
    this.eachRow(jobs, (job, position, row) => logits[job]!.set(row, position * vocab), options);
    return logits;
  }

  /** The same, row by row as they come, for vocabularies too large to keep every row. `row` is valid during the call. */
  eachRow(
    jobs: Job[],
    see: (job: number, position: number, row: Float32Array) => void,
    options: { swapAt?: number } = {},
  ): void {
    const vocab = this.shape.vocabSize;
    const states = jobs.map((job, index) => ({
      job,
      index,
      chunks: job.chunks ?? [job.ids.length],
      place: this.place(),
      done: 0,
      turns: 0,
    }));
    for (let step = 0; states.some((s) => s.done < s.job.ids.length); step++) {
      this.plan.clear();
      if (step === options.swapAt) for (const s of states) this.swap(s.place);
      const running = states.filter((s) => s.done < s.job.ids.length && step >= (s.job.start ?? 0));
      const spans = running.map((s) => {
        const to = Math.min(s.done + s.chunks[s.turns++ % s.chunks.length]!, s.job.ids.length);
        if (s.done === 0) this.plan.fills.push(greedyFill(s.place.slot));
        this.grow(s.place, to);
        const seq = { slot: s.place.slot, context: to, flags: FG.SCORE | FG.LOGITS, nextToken: s.job.ids[to] ?? 0 };
        return { s, to, seq };
      });
      // fastgen.h's convention: sequences with one new token come first.
      spans.sort((a, b) => Number(a.to - a.s.done > 1) - Number(b.to - b.s.done > 1));
      for (const { s, to, seq } of spans) this.plan.add(seq, s.job.ids, s.done, to);
      if (spans.length === 0) continue;
      this.engine.submit(this.plan);
      const { logits } = this.engine.wait();
      let row = 0;
      for (const { s, to } of spans) {
        for (; s.done < to; s.done++, row++) see(s.index, s.done, logits.subarray(row * vocab, (row + 1) * vocab));
      }
    }
    for (const s of states) this.release(s.place);
  }

  /**
   * Continues all prompts by `count` greedy tokens, side by side and always one step ahead: each decode step is submitted
   * before the token it starts from is known. Without logits, steps are like a server's, and CUDA replays graphs for them.
   */
  generate(prompts: ArrayLike<number>[], count: number, withLogits = true): Generated[] {
    const vocab = this.shape.vocabSize;
    const places = prompts.map(() => this.place());
    const room = withLogits ? count * vocab : 0;
    const out = prompts.map(() => ({ ids: new Int32Array(count), logits: new Float32Array(room) }));
    const flags = withLogits ? FG.SAMPLE | FG.LOGITS : FG.SAMPLE;
    const collect = (result: StepResult, at: number) => {
      for (const [i, generated] of out.entries()) {
        generated.ids[at] = result.ids[i]!;
        if (!withLogits) continue;
        generated.logits.set(result.logits.subarray(i * vocab, (i + 1) * vocab), at * vocab);
      }
    };
    for (let at = 0; at < count; at++) {
      this.plan.clear();
      for (const [i, place] of places.entries()) {
        const prompt = prompts[i]!;
        const context = prompt.length + at;
        this.grow(place, context);
        if (at === 0) {
          this.plan.fills.push(greedyFill(place.slot));
          this.plan.add({ slot: place.slot, context, flags }, prompt, 0, prompt.length);
        } else {
          this.plan.add({ slot: place.slot, context, flags }, [FG.LAST_SAMPLED], 0, 1);
        }
      }
      this.engine.submit(this.plan);
      if (at > 0) collect(this.engine.wait(), at - 1);
    }
    collect(this.engine.wait(), count - 1);
    for (const place of places) this.release(place);
    return out;
  }

  private place(): Placed {
    return { slot: this.freeSlots.pop()!, pages: [] };
  }

  private release(place: Placed): void {
    this.freeSlots.unshift(place.slot);
    this.freePages.unshift(...place.pages);
  }

  /** Gives a sequence pages for `context` tokens, in the step being planned. */
  private grow(place: Placed, context: number): void {
    while (place.pages.length * PAGE < context) {
      const page = this.freePages.pop();
      if (page === undefined) throw new Error("out of pages");
      this.plan.setPage(place.slot, place.pages.length, page);
      place.pages.push(page);
    }
  }

  /** Moves a sequence's pages to the host and back into other pages. */
  private swap(place: Placed): void {
    const old = place.pages.map((page, i) => {
      this.plan.copyPage(page, (page + 1) % this.capacity.hostPages, FG.TO_HOST);
      return { page, i };
    });
    for (const { page, i } of old) {
      const fresh = this.freePages.pop()!;
      this.plan.copyPage(fresh, (page + 1) % this.capacity.hostPages, FG.TO_DEVICE);
      this.plan.setPage(place.slot, i, fresh);
      place.pages[i] = fresh;
    }
    this.freePages.unshift(...old.map(({ page }) => page));
  }
}

export function argmax(row: Float32Array): number {
  let best = 0;
  for (let i = 1; i < row.length; i++) if (row[i]! > row[best]!) best = i;
  return best;
}

export function logsumexp(row: Float32Array): number {
  const high = row[argmax(row)]!;
  let sum = 0;
  for (const value of row) sum += Math.exp(value - high);
  return high + Math.log(sum);
}

/**
 * For each row, the norm of the error divided by the norm of what is expected. `got` is [rows][vocab]; its `columns` are
 * compared with `want`, [rows][columns].
 */
export function relativeErrors(got: Float32Array, vocab: number, columns: Int32Array, want: Float32Array): number[] {
  return Array.from({ length: want.length / columns.length }, (_, row) => {
    let error = 0;
    let norm = 0;
    for (const [i, column] of columns.entries()) {
      const wanted = want[row * columns.length + i]!;
      error += (got[row * vocab + column]! - wanted) ** 2;
      norm += wanted ** 2;
    }
    return Math.sqrt(error / norm);
  });
}

export function median(values: ArrayLike<number>): number {
  const sorted = Array.from(values).sort((a, b) => a - b);
  return sorted[sorted.length >> 1]!;
}

export function rootMeanSquare(values: ArrayLike<number>): number {
  return Math.sqrt(Array.from(values).reduce((sum, x) => sum + x * x, 0) / values.length);
}

export function largest(values: ArrayLike<number>): number {
  return Array.from(values).reduce((a, b) => (Number.isNaN(b) || b > a ? b : a), Number.NEGATIVE_INFINITY);
}

/** Compares bit by bit, NaNs and the sign of zero included. Returns the first index where they differ, or -1. */
export function firstDifference(a: Float32Array, b: Float32Array): number {
  if (a.length !== b.length) return Math.min(a.length, b.length);
  const x = new Int32Array(a.buffer, a.byteOffset, a.length);
  const y = new Int32Array(b.buffer, b.byteOffset, b.length);
  return x.findIndex((bits, i) => bits !== y[i]);
}

/** The instruction sets that libfastgen_cpu.so has code for and this CPU supports, by their names in FASTGEN_CPU_ISA. */
export function instructionSets(): string[] {
  const info = existsSync("/proc/cpuinfo") ? readFileSync("/proc/cpuinfo", "utf8") : "";
  const has = (...flags: string[]) => flags.every((flag) => new RegExp(`\\b${flag}\\b`).test(info));
  const sets = ["scalar"];
  if (has("avx2", "fma", "f16c")) sets.push("avx2");
  if (has("avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512dq")) sets.push("avx512");
  if (sets.includes("avx512") && has("avx512_bf16")) sets.push("avx512bf16");
  return sets;
}

/** Runs tests of `file` in a process that uses one instruction set. Returns their report; throws when one fails. */
export async function testsOn(set: string, file: string, pattern: string): Promise<string> {
  const child = Bun.spawn([process.execPath, "test", file, "--test-name-pattern", pattern], {
    env: { ...process.env, FASTGEN_CPU_ISA: set },
    stdout: "pipe",
    stderr: "pipe",
  });
  const [output, report] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  if ((await child.exited) !== 0) throw new Error(`on ${set}:\n${output}${report}`);
  return report;
}

/** Runners of the models in a directory, each opened once and closed after the tests of the file that calls this. */
export function runnersOf(directory: string): (name: string, options: RunnerOptions) => Promise<Runner> {
  const open = new Map<string, Promise<Runner>>();
  afterAll(async () => {
    for (const made of open.values()) await made.then((runner) => runner.close()).catch(() => {});
  });
  return (name, options) => {
    const key = JSON.stringify([name, options]);
    const made = open.get(key) ?? Runner.open(join(directory, name), options);
    open.set(key, made);
    return made;
  };
}
