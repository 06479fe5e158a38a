#!/usr/bin/env bun
/**
 * Runs a load through scheduler and library in one thread, without HTTP and with random weights. Prints what the device
 * does in each step, and how long it waits between steps. What a server takes longer is lost outside of these.
 */
import { writeFileSync } from "node:fs";
import { Command, Option } from "commander";
import { Scheduler } from "../src/engine/scheduler/scheduler.ts";
import type { DeviceKind } from "../src/engine-config.ts";
import { FG, STRUCTS } from "../src/ffi/layout.ts";
import { StepPlan } from "../src/ffi/step-plan.ts";
import { openModel } from "../src/model/load.ts";
import { count, loadSizes } from "./flags.ts";
import { openLibrary } from "./library.ts";
import { engineRequests, type LoadSizes } from "./load.ts";

const GIB = 2 ** 30;

export interface StepRecord {
  tokens: number;
  /** Sequences that decode, and the sum of the tokens in their caches. */
  decodes: number;
  decodeContext: number;
  /** Pairs of query and key in the parts of prompts that this step computes. */
  promptScores: number;
  copies: number;
  /** Milliseconds: the device's (run, idle), and this thread's. */
  run: number;
  idle: number;
  plan: number;
  submit: number;
  commit: number;
}

const program = loadSizes(
  new Command("bun bench/steps.ts")
    .description("Runs a load through the engine without HTTP and reports what its steps cost.")
    .argument("<model>", "directory or org/name; its weights are not read")
    .addOption(new Option("--device <name>").choices(["cpu", "cuda"]).default("cuda")),
)
  .option("--max-num-seqs <n>", "sequences that run at once", count, 512)
  .option("--max-num-batched-tokens <n>", "tokens in one step", count, 2048)
  .option("--swap-space <GiB>", "host memory for KV pages", Number, 4)
  .option("--kv-cache <GiB>", "default: the rest of the GPU's memory", Number, 0)
  .option("--log <file>", "every step, as JSON lines");

export async function main(args: string[]): Promise<StepRecord[]> {
  const flags = program.parse(args, { from: "user" }).opts();
  const { shape, maxContext } = await openModel(program.args[0]!, { loadFormat: "dummy" });
  const [maxSeqs, maxStepTokens] = [flags.maxNumSeqs as number, flags.maxNumBatchedTokens as number];
  const device: DeviceKind = flags.device;
  const dtype = device === "cuda" ? "bfloat16" : "float32";
  const engine = openLibrary(shape, device, dtype, {
    maxSeqs,
    maxStepTokens,
    maxContext,
    kvBytes: flags.kvCache * GIB,
    hostKvBytes: flags.swapSpace * GIB,
  });
  engine.loadRandom(0);
  const { pages, hostPages } = engine.ready();
  // The library may make host memory in the background.
  while (engine.progress().hostPages < hostPages) Bun.sleepSync(10);
  const scheduler = new Scheduler({
    maxSeqs,
    maxStepTokens,
    maxContext: Math.min(maxContext, pages * FG.PAGE_TOKENS),
    pages,
    hostPages,
    prefixCaching: true,
    vocabSize: 1,
  });
  const requests = engineRequests(flags as LoadSizes, Math.min(32000, shape.vocabSize));
  for (const request of requests) scheduler.add(request);

  const plan = new StepPlan(maxSeqs, maxStepTokens);
  const done: StepRecord[] = [];
  const out: StepRecord[] = [];
  const start = performance.now();
  while (scheduler.aliveCount > 0 || scheduler.stepsInFlight > 0) {
    while (scheduler.stepsInFlight < FG.STEPS_IN_FLIGHT) {
      const before = performance.now();
      if (!scheduler.plan(plan)) break;
      const planned = performance.now();
      const record = describe(plan);
      const described = performance.now();
      engine.submit(plan);
      out.push({ ...record, plan: planned - before, submit: performance.now() - described });
    }
    const result = engine.wait();
    const waited = performance.now();
    scheduler.commit(result);
    scheduler.takeMessage();
    const record = out.shift()!;
    record.run = 1000 * result.runSeconds;
    record.idle = 1000 * result.idleSeconds;
    record.commit = performance.now() - waited;
    done.push(record);
  }
  const seconds = (performance.now() - start) / 1000;
  engine.close();

  const sum = (of: (s: StepRecord) => number, steps = done) => steps.reduce((total, s) => total + of(s), 0);
  const outputs = requests.reduce((total, r) => total + r.maxTokens, 0);
  console.log(
    `${(outputs / seconds).toFixed(0)} tokens/s in ${seconds.toFixed(2)} s, ${done.length} steps, ` +
      `${scheduler.stats().preemptions} preemptions, ${sum((s) => s.copies)} page copies`,
  );
  console.log(
    `device: busy ${(sum((s) => s.run) / 1000).toFixed(2)} s, idle ${(sum((s) => s.idle) / 1000).toFixed(2)} s`,
  );
  console.log("tokens in a step   steps   tokens  decodes  context     run    idle    plan  submit  commit (mean, ms)");
  for (let low = 1; low <= maxStepTokens; low *= 2) {
    const steps = done.filter((s) => s.tokens >= low && s.tokens < 2 * low);
    if (steps.length === 0) continue;
    const mean = (of: (s: StepRecord) => number) => sum(of, steps) / steps.length;
    const cells = [
      steps.length.toString().padStart(7),
      ...[mean((s) => s.tokens), mean((s) => s.decodes)].map((x) => x.toFixed(0).padStart(8)),
      mean((s) => s.decodeContext / Math.max(1, s.decodes))
        .toFixed(0)
        .padStart(8),
      ...(["run", "idle", "plan", "submit", "commit"] as const).map((key) =>
        mean((s) => s[key])
          .toFixed(3)
          .padStart(7),
      ),
    ];
    console.log(`${`${low} .. ${2 * low - 1}`.padEnd(16)} ${cells.join(" ")}`);
  }
  if (flags.log) writeFileSync(flags.log, done.map((s) => `${JSON.stringify(s)}\n`).join(""));
  return done;
}

/** What a planned step computes; its times are 0. */
export function describe(plan: StepPlan): StepRecord {
  const ints = STRUCTS.fg_step_seq.size / 4;
  const { n_new, context } = STRUCTS.fg_step_seq.at;
  const record = { tokens: plan.tokenCount, decodes: 0, decodeContext: 0, promptScores: 0, copies: plan.copyCount };
  for (let i = 0; i < plan.seqCount; i++) {
    const [computed, tokens] = [plan.seqs[i * ints + n_new / 4]!, plan.seqs[i * ints + context / 4]!];
    if (computed === 1) {
      record.decodes++;
      record.decodeContext += tokens;
    } else {
      record.promptScores += computed * (tokens - computed / 2);
    }
  }
  return { ...record, run: 0, idle: 0, plan: 0, submit: 0, commit: 0 };
}

if (import.meta.main) await main(process.argv.slice(2));
