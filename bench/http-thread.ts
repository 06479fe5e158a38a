#!/usr/bin/env bun
/**
 * What the one thread that serves HTTP bounds. fgserve runs with engines on simulated GPUs (simulated/gpu.c), each as fast as
 * an H100 with Mistral 7B; loads grow with the number of engines. Prints tokens per second beside those of one engine times
 * the engines, and which share of the time the thread was busy. Appends them to
 * results/http-thread.jsonl.
 */
import { mkdirSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { count } from "./flags.ts";
import { type LoadOptions, runLoad } from "./load.ts";
import { record } from "./record.ts";
import { writeShapes } from "./shapes.ts";

const ROOT = join(import.meta.dir, "..");
const FOLDER = join(ROOT, "build", "simulated");
const MODEL = "mistral-7b";

/** What each engine gets of a load. */
const LOADS: Record<string, Pick<LoadOptions, "prompts" | "input" | "output" | "stream" | "endpoint">> = {
  reference: { prompts: 512, input: 1024, output: 128, stream: false, endpoint: "completions" },
  streams: { prompts: 256, input: 128, output: 256, stream: true, endpoint: "completions" },
  chat: { prompts: 256, input: 128, output: 256, stream: true, endpoint: "chat" },
};

/** Compiles libfastgen for GPUs that do not exist. Returns the folder that it is in. */
export function buildSimulated(): string {
  mkdirSync(FOLDER, { recursive: true });
  const source = join(import.meta.dir, "simulated", "gpu.c");
  const output = join(FOLDER, "libfastgen_cuda.so");
  const flags = ["-std=c17", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden"];
  const { success, stderr } = Bun.spawnSync(["cc", ...flags, `-I${ROOT}/libfastgen`, source, "-o", output]);
  if (!success) throw new Error(stderr.toString());
  return FOLDER;
}

/** Seconds that a process's first thread has run. Linux only. */
function threadSeconds(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/schedstat`, "utf8").split(" ")[0]) / 1e9;
}

async function startServer(engines: number) {
  writeShapes(FOLDER);
  const flags = ["--load-format", "dummy", "--device", "cuda", "--port", "0", "--disable-log-requests"];
  const command = [process.execPath, join(ROOT, "cli/main.ts"), "serve", join(FOLDER, MODEL), ...flags];
  const child = Bun.spawn([...command, "--data-parallel-size", `${engines}`], {
    env: { ...process.env, FASTGEN_LIBRARY: buildSimulated(), FASTGEN_CACHE: FOLDER },
    stdout: "pipe",
    stderr: "inherit",
  });
  let banner = "";
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    banner += text;
    const url = /^Ready: (\S+)$/m.exec(banner)?.[1];
    if (url) return { child, url };
  }
  throw new Error(`fgserve ended: ${banner}`);
}

/** Sends a load from several processes at once, each its part of it: one would be busier than the server. */
async function sendLoad(load: LoadOptions, clients: number): Promise<{ tokens: number; seconds: number }> {
  const parts = Array.from({ length: clients }, (_, i) => {
    const prompts = Math.floor((load.prompts * (i + 1)) / clients) - Math.floor((load.prompts * i) / clients);
    return { ...load, prompts, seed: load.seed + i };
  });
  const started = performance.now();
  const outputs = parts.map(async (part) => {
    const child = Bun.spawn([process.execPath, import.meta.path, "client", JSON.stringify(part)], {
      env: { ...process.env, BUN_CONFIG_MAX_HTTP_REQUESTS: "65336" },
      stdout: "pipe",
      stderr: "inherit",
    });
    const { tokens, error, seconds } = JSON.parse(await new Response(child.stdout).text());
    if (error) throw new Error(error);
    return { tokens: tokens as number, seconds: seconds as number };
  });
  const done = await Promise.all(outputs);
  const tokens = done.reduce((sum, one) => sum + one.tokens, 0);
  // Without the start of the processes.
  const seconds = Math.max(...done.map((one) => one.seconds));
  if (seconds > (performance.now() - started) / 1000) throw new Error("a client's clock is wrong");
  return { tokens, seconds };
}

/** What a client process does: prints what it saw. */
async function client(load: LoadOptions): Promise<void> {
  const { outcomes, errors, seconds } = await runLoad(load);
  const tokens = outcomes.reduce((sum, { outputTokens }) => sum + outputTokens, 0);
  console.log(JSON.stringify({ tokens, seconds, error: errors[0] }));
}

const program = new Command("bun bench/http-thread.ts")
  .description("Measures what the one thread that serves HTTP bounds, with engines on simulated GPUs.")
  .option("--engines <n,n>", "how many engines, one run each", (text) => text.split(",").map(count), [1, 2, 4, 8])
  .option("--loads <name,name>", "which loads", (text) => text.split(","), Object.keys(LOADS))
  .option("--clients <n>", "processes that send; default: half of the cores, at most 16", count)
  .option("--scale <n>", "send 1 / n of each load", count, 1)
  .option("--results <file>", "where to append: a path, or a name in bench/results; none = nowhere", "http-thread");

export async function main(args: string[]): Promise<void> {
  const flags = program.parse(args, { from: "user" }).opts();
  const clients = flags.clients ?? Math.min(16, Math.max(1, availableParallelism() >> 1));
  let one: Record<string, number> = {};
  for (const engines of flags.engines as number[]) {
    const { child, url } = await startServer(engines);
    try {
      for (const name of flags.loads as string[]) {
        const { prompts, ...sizes } = LOADS[name]!;
        const all = Math.max(clients, Math.floor((prompts * engines) / flags.scale));
        const common = { spread: 0, rate: null, concurrency: null, temperature: 0, seed: engines, vocab: 32_000 };
        const load: LoadOptions = { url, model: MODEL, prompts: all, ...sizes, ...common };
        const before = threadSeconds(child.pid);
        const { tokens, seconds } = await sendLoad(load, clients);
        const busy = threadSeconds(child.pid) - before;
        const speed = tokens / seconds;
        if (engines === 1) one = { ...one, [name]: speed };
        const ideal = one[name] ? `, ${(speed / one[name]).toFixed(2)} × one engine's` : "";
        console.log(
          `${name}, ${engines} engines: ${speed.toFixed(0)} tokens/s${ideal}; the thread was busy ` +
            `${((100 * busy) / seconds).toFixed(0)} % of the time, ${((1e6 * busy) / tokens).toFixed(2)} µs a token`,
        );
        if (flags.results === "none") continue;
        const subject = {
          model: "simulated-h100",
          dtype: "bfloat16",
          load: { name, prompts: all, ...sizes, clients },
          engines,
        };
        record(flags.results, subject, [
          { metric: "output", value: speed, unit: "tokens/s" },
          { metric: "busy share of the HTTP thread", value: busy / seconds, unit: "share" },
          { metric: "HTTP thread's time per token", value: busy / tokens, unit: "s" },
        ]);
      }
    } finally {
      child.kill();
      await child.exited;
    }
  }
}

if (import.meta.main) {
  const [first, second] = process.argv.slice(2);
  if (first === "client") await client(JSON.parse(second!));
  else await main(process.argv.slice(2));
}
