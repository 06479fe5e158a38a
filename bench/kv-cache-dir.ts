#!/usr/bin/env bun
/**
 * What --kv-cache-dir saves a server that starts again: the time to the first token of a prompt whose prefix an engine before it
 * knew, beside the time that the same engine takes to compute another prompt of this length.
 * Each engine is a process. Prints one line of JSON.
 */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command, Option } from "commander";
import { Fastgen } from "../src/fastgen.ts";
import { count, number } from "./flags.ts";

const program = new Command("bun bench/kv-cache-dir.ts")
  .description("Times the first token of a prompt that an engine before this one has left in --kv-cache-dir.")
  .argument("<model>", "directory or org/name")
  .option("--tokens <n>", "length of the prompt", count, 24_000)
  .option("--dir <folder>", "where the folder of pages is made", tmpdir())
  .option(
    "--swap-space <GiB>",
    "host memory for pages (default: the engine's)",
    number((n) => n >= 0, "0 or more"),
  )
  .option("--dummy", "random weights of the model's shape")
  .option("--no-page-cache", "the system forgets the files between the two engines, so that they come from the disk")
  .addOption(new Option("--engine <folder>", "be the engine that uses this folder").hideHelp());

program.parse();
const flags = program.opts<{
  tokens: number;
  dir: string;
  swapSpace?: number;
  dummy?: boolean;
  pageCache: boolean;
  engine?: string;
}>();
const [model] = program.args as [string];
const { tokens } = flags;
/** Milliseconds between two looks at the stats. */
const INTERVAL = 50;
/** Seconds in which an engine that is ready makes its host memory. */
const SETTLE_SECONDS = 4;
const OUTPUTS = 8;

interface Outcome {
  /** Of the prompt that the disk may know, and of one that nobody knows. */
  knownSeconds: number;
  freshSeconds: number;
  cachedTokens: number;
  outputs: number[];
  /** How long it took until all pages were on disk. */
  writtenSeconds: number;
  stats: Record<string, number>;
}

/** Ids that no special token has, in an order of their own for each `flavour`. */
function prompt(flavour: number, vocabulary: number): number[] {
  const span = Math.min(vocabulary - 600, 20_000);
  return Array.from({ length: tokens }, (_, i) => 500 + ((i * (7919 + 2 * flavour) + flavour * 31) % span));
}

async function firstToken(fastgen: Fastgen, ids: number[]) {
  const started = performance.now();
  const generation = await fastgen.start(ids, { max_tokens: OUTPUTS, temperature: 0, ignore_eos: true });
  let seconds = 0;
  for await (const _ of generation) seconds ||= (performance.now() - started) / 1000;
  const { choices, usage } = await generation.completion();
  return { seconds, outputs: choices[0]!.token_ids, cachedTokens: usage.cached_tokens ?? 0 };
}

async function engine(dir: string): Promise<Outcome> {
  await using fastgen = await Fastgen.load(model, {
    load_format: flags.dummy ? "dummy" : "auto",
    kv_cache_dir: dir,
    swap_space: flags.swapSpace,
    max_num_seqs: 16,
    onWarning: (message) => console.error(message),
  });
  const { vocab_size } = fastgen.model;
  // Kernels are chosen, and memory is touched, by a prompt that is short.
  await firstToken(fastgen, prompt(9, vocab_size).slice(0, 3000));
  await Bun.sleep(SETTLE_SECONDS * 1000);
  const known = await firstToken(fastgen, prompt(1, vocab_size));
  const fresh = await firstToken(fastgen, prompt(2 + Math.floor(Math.random() * 1000), vocab_size));
  const ended = performance.now();
  let last = -1;
  while (fastgen.stats.disk_saved !== last) {
    last = fastgen.stats.disk_saved;
    await Bun.sleep(20 * INTERVAL);
  }
  const writtenSeconds = (performance.now() - ended) / 1000;
  const stats = Object.fromEntries(Object.entries(fastgen.stats).filter(([name]) => name.startsWith("disk_")));
  const { seconds: knownSeconds, cachedTokens, outputs } = known;
  return { knownSeconds, freshSeconds: fresh.seconds, cachedTokens, outputs, writtenSeconds, stats };
}

/** Runs an engine in a process of its own. */
async function run(dir: string): Promise<Outcome> {
  const child = Bun.spawn([process.execPath, import.meta.path, ...process.argv.slice(2), "--engine", dir], {
    stdout: "pipe",
    stderr: "inherit",
  });
  const text = await new Response(child.stdout).text();
  if ((await child.exited) !== 0) throw new Error("an engine failed");
  return JSON.parse(text) as Outcome;
}

/** Writes out what the system keeps of the files, and has it forget them. */
function forgetFiles(dir: string): void {
  for (const name of readdirSync(dir, { recursive: true, encoding: "utf8" })) {
    if (!/[0-9a-f]{64}$/.test(name)) continue;
    Bun.spawnSync(["dd", `of=${join(dir, name)}`, "oflag=nocache", "conv=notrunc,fdatasync", "count=0", "status=none"]);
  }
}

if (flags.engine !== undefined) {
  console.log(JSON.stringify(await engine(flags.engine)));
} else {
  const dir = mkdtempSync(join(flags.dir, "fastgen-kv-cache-"));
  try {
    const first = await run(dir);
    if (!flags.pageCache) forgetFiles(dir);
    const second = await run(dir);
    const result = {
      model,
      tokens,
      fromDisk: !flags.pageCache,
      prefillSeconds: second.freshSeconds,
      restoredSeconds: second.knownSeconds,
      share: second.knownSeconds / second.freshSeconds,
      cachedTokens: second.cachedTokens,
      sameOutputs: first.outputs.join() === second.outputs.join(),
      firstPrefillSeconds: first.knownSeconds,
      writtenSeconds: first.writtenSeconds,
      first: first.stats,
      second: second.stats,
    };
    console.log(JSON.stringify(result));
  } finally {
    rmSync(dir, { recursive: true });
  }
}
