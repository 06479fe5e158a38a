/** llama.cpp in a process of its own (llama-cpp.py), built for this machine's CPU (build-llama-cpp.sh). */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import type { Model } from "../src/model/shape.ts";
import { writeGguf } from "./gguf.ts";
import type { Timing } from "./library.ts";
import { BUILD, checked } from "./run.ts";

/** How llama.cpp is to run: tokens in one call, tokens in one pass over the weights, and fused attention. */
export interface Setting {
  batch: number;
  ubatch: number;
  flash: boolean;
}

/** The settings worth trying; which is the fastest depends on the phase and the number of sequences. */
export const SETTINGS: readonly Setting[] = [256, 512, 2048].flatMap((ubatch) =>
  [false, true].map((flash) => ({ batch: ubatch, ubatch, flash })),
);

export const describeSetting = ({ batch, ubatch, flash }: Setting) =>
  `n_batch ${batch}, n_ubatch ${ubatch}, flash attention ${flash ? "on" : "off"}`;

interface Build {
  version: string;
  flags: string;
  system: string;
}

export class LlamaCpp {
  private constructor(
    private readonly child: ChildProcessWithoutNullStreams,
    private readonly lines: AsyncIterator<string>,
    /** Version, compiler flags, and what llama.cpp says of the CPU. */
    readonly build: string,
  ) {}

  /** Builds llama.cpp unless that was done before, writes `model` as GGUF, and loads it. */
  static async start(model: Model, threads: number, context: number): Promise<LlamaCpp> {
    const python = checked(join(import.meta.dir, "build-llama-cpp.sh"), [], "inherit").trim();
    mkdirSync(BUILD, { recursive: true });
    const path = join(BUILD, `${basename(resolve(model.directory ?? model.name))}.gguf`);
    writeGguf(model, path);
    // llama.cpp keeps its contexts in multiples of 256 tokens.
    const tokens = Math.ceil(context / 256) * 256;
    const args = [join(import.meta.dir, "llama-cpp.py"), path, `${threads}`, `${tokens}`];
    const child = spawn(python, args, { stdio: "pipe" });
    child.stderr.pipe(process.stderr);
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const { version, flags, system } = await nextLine<Build>(lines);
    return new LlamaCpp(child, lines, `llama-cpp-python ${version}, ${flags}; ${system}`);
  }

  get pid(): number {
    return this.child.pid!;
  }

  /** Prompts of at least two tokens, each continued by `count` greedy ones. */
  run(prompts: number[][], count: number, setting: Setting): Promise<Timing> {
    this.child.stdin.write(`${JSON.stringify({ prompts, count, setting })}\n`);
    return nextLine(this.lines);
  }

  close(): void {
    this.child.stdin.end();
  }
}

async function nextLine<T>(lines: AsyncIterator<string>): Promise<T> {
  const { value, done } = await lines.next();
  if (done) throw new Error("llama.cpp's process ended");
  return JSON.parse(value);
}
