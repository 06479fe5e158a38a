#!/usr/bin/env bun
/**
 * Where a step's time goes: profiles of a model with random weights, while so many sequences decode, and while prompts are
 * computed. Also what recording costs: the time of a step before, during and after each profile. The profiles go to --out, a
 * line for each to --results (profile-figure.ts draws them).
 */
import { appendFileSync } from "node:fs";
import { basename } from "node:path";
import { Command, Option } from "commander";
import { Fastgen } from "../src/fastgen.ts";
import { count } from "./flags.ts";
import { type ProfileSummary, readSpans, summarise } from "./profile-summary.ts";
import { machineFacts } from "./record.ts";
import { median } from "./stats.ts";

/** Steps that are timed before, during and after a profile. */
const STEPS = 40;
/** Steps that pass before the first is timed. */
const WARM_UP = 20;

const counts = (text: string) => text.split(",").filter(Boolean).map(count);

const program = new Command("bun bench/profile.ts")
  .description("Takes profiles of steps that decode, and of steps of prompts.")
  .argument("<model>", "directory or org/name; its weights are not read")
  .addOption(new Option("--device <name>").choices(["cpu", "cuda"]).default("cuda"))
  .option("--sequences <n,...>", "sequences that decode", counts, [1, 64, 256])
  .option("--input <tokens>", "tokens of each prompt", count, 1024)
  .option("--prefill <tokens>", "tokens in a step of prompts; 0 = none", Number, 2048)
  .option("--steps <n>", "steps that are timed, and in a profile", count, STEPS)
  .option("--fp8", "weights, activations and KV cache in FP8")
  .requiredOption("--out <folder>", "where the profiles go")
  .option("--results <file>", "file that a line for each is added to");

program.parse();
const flags = program.opts<{
  device: "cpu" | "cuda";
  sequences: number[];
  input: number;
  prefill: number;
  steps: number;
  fp8?: boolean;
  out: string;
  results?: string;
}>();
const [model] = program.args as [string];
const most = Math.max(...flags.sequences, 8);
const fastgen = await Fastgen.load(model, {
  device: flags.device,
  load_format: "dummy",
  max_num_seqs: most,
  max_num_batched_tokens: flags.prefill || undefined,
  enable_prefix_caching: false,
  ...(flags.fp8 ? { quantization: "fp8", kv_cache_dtype: "fp8" } : {}),
});
const { vocab_size } = fastgen.model;
const prompt = (length: number, seed: number) =>
  Int32Array.from({ length }, (_, i) => (seed * 7919 + i * 104_729) % vocab_size);

/** When each step's news came: performance.now(). */
const times: number[] = [];
let tokensOfStep = 0;
fastgen.onStep((tokens) => {
  times.push(performance.now());
  tokensOfStep = tokens;
});

async function steps(n: number): Promise<void> {
  for (const end = times.length + n; times.length < end; ) await Bun.sleep(2);
}

/** Milliseconds from one step to the next, of the newest `n`. */
function msPerStep(n: number): number {
  const last = times.slice(-n - 1);
  return median(last.slice(1).map((time, i) => time - last[i]!));
}

interface Outcome {
  title: string;
  sequences: number;
  before_ms: number | null;
  during_ms: number | null;
  after_ms: number | null;
  bytes: number;
  summary: ProfileSummary;
}

async function decode(n: number): Promise<Outcome> {
  const room = fastgen.model.max_model_len - flags.input;
  const params = {
    max_tokens: Math.min(10 * flags.steps + 8 * WARM_UP, room),
    ignore_eos: true,
    temperature: 1,
    seed: 1,
  };
  for (let i = 0; i < n; i++) void fastgen.start(prompt(flags.input, i), params).then((one) => one.completion());
  while (fastgen.stats.running < n || tokensOfStep !== n) await Bun.sleep(5);
  await steps(WARM_UP + flags.steps);
  const before_ms = msPerStep(flags.steps);
  const profile = fastgen.startProfile({ directory: flags.out, steps: flags.steps });
  // The first one may wait for the device's recorder to be set up.
  await steps(flags.steps);
  const during_ms = msPerStep(flags.steps - 5);
  const { path, bytes } = await profile;
  await steps(WARM_UP + flags.steps);
  const after_ms = msPerStep(flags.steps);
  fastgen.abort(null);
  while (fastgen.stats.running > 0) await Bun.sleep(5);
  const summary = summarise(readSpans(path));
  console.log(`  ${path}: ${bytes} bytes`);
  return {
    title: `decode, ${n} ${n === 1 ? "sequence" : "sequences"}`,
    sequences: n,
    before_ms,
    during_ms,
    after_ms,
    bytes,
    summary,
  };
}

async function prefill(tokens: number): Promise<Outcome> {
  const profile = fastgen.startProfile({ directory: flags.out, steps: 10 });
  const prompts = Array.from({ length: 16 }, (_, i) => prompt(tokens, 1000 + i));
  for await (const _ of fastgen.generateAll(prompts, { max_tokens: 1 }));
  fastgen.stopProfile();
  const { path, bytes } = await profile;
  const summary = summarise(readSpans(path));
  console.log(`  ${path}: ${bytes} bytes`);
  const [before_ms, during_ms, after_ms] = [null, null, null];
  return { title: `prefill of ${tokens} tokens`, sequences: 1, before_ms, during_ms, after_ms, bytes, summary };
}

function show({ title, before_ms, during_ms, after_ms, summary }: Outcome): void {
  const { step_ms, parts, between_ops_ms, between_steps_ms, scheduler, graphs, kernels_per_step } = summary;
  console.log(`\n${title}: ${step_ms.toFixed(3)} ms per step, ${graphs} of ${summary.steps} steps as graphs`);
  if (before_ms !== null) {
    const cost = (100 * during_ms!) / before_ms - 100;
    console.log(
      `  before ${before_ms.toFixed(3)} ms, recorded ${during_ms!.toFixed(3)} (${cost.toFixed(1)} %), after ${after_ms!.toFixed(3)}`,
    );
  }
  const rows = { ...parts, "between ops": between_ops_ms, "between steps": between_steps_ms };
  for (const [name, ms] of Object.entries(rows)) {
    const share = (100 * ms) / step_ms;
    console.log(`  ${name.padEnd(14)} ${ms.toFixed(3).padStart(9)} ms ${share.toFixed(1).padStart(6)} %`);
  }
  const thread = Object.entries(scheduler).map(([name, ms]) => `${name} ${ms.toFixed(3)}`);
  console.log(`  scheduler: ${thread.join(", ")} ms; ${kernels_per_step.toFixed(0)} kernels and copies per step`);
}

function done(outcome: Outcome): void {
  show(outcome);
  const line = {
    ...machineFacts(),
    model: basename(model),
    device: fastgen.capacity.device_name,
    dtype: flags.fp8 ? "fp8" : "bfloat16",
    input: flags.input,
    ...outcome,
  };
  if (flags.results) appendFileSync(flags.results, `${JSON.stringify(line)}\n`);
}

for (const n of flags.sequences) done(await decode(n));
if (flags.prefill > 0) done(await prefill(flags.prefill));
await fastgen.close();
