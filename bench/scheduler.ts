#!/usr/bin/env bun
/**
 * The engine's own work on a step in which many sequences decode, without a library: planning the step, committing its
 * result, and making the message. Prints microseconds.
 */
import { Command } from "commander";
import { type EngineRequest, PLAIN } from "../src/engine/protocol.ts";
import { Scheduler } from "../src/engine/scheduler/scheduler.ts";
import { GREEDY } from "../src/engine-config.ts";
import { FG } from "../src/ffi/layout.ts";
import { StepPlan } from "../src/ffi/step-plan.ts";

const program = new Command("bun bench/scheduler.ts")
  .description("Times planning and committing steps in which every slot decodes.")
  .option("--sequences <n>", "sequences that run", Number, 512)
  .option("--output <tokens>", "mean new tokens per sequence", Number, 1000)
  .option("--steps <n>", "steps to time, after a tenth as many to warm up", Number, 5000);

/** Microseconds of each part, one entry per step. */
export function timeSteps(sequences: number, output: number, steps: number): Record<string, number[]> {
  const maxStepTokens = Math.max(2048, sequences);
  const maxContext = 2 * output + 64;
  const pages = sequences * Math.ceil(maxContext / FG.PAGE_TOKENS);
  const scheduler = new Scheduler({
    maxSeqs: sequences,
    maxStepTokens,
    maxContext,
    pages,
    hostPages: 0,
    prefixCaching: true,
    vocabSize: 1,
  });
  const plan = new StepPlan(sequences, maxStepTokens);
  const rows = (width: number) => ({
    i: new Int32Array(maxStepTokens * width),
    f: new Float32Array(maxStepTokens * width),
  });
  const [one, top] = [rows(1), rows(FG.MAX_LOGPROBS)];
  const result = {
    step: 0,
    rows: sequences,
    ids: one.i.fill(5),
    logprobs: one.f,
    ranks: one.i,
    topIds: top.i,
    topLogprobs: top.f,
    logits: one.f,
    runSeconds: 0,
    idleSeconds: 0,
    toHostSeconds: 0,
    toDeviceSeconds: 0,
  };
  const times: Record<string, number[]> = { plan: [], commit: [], message: [] };
  let added = 0;
  for (let step = -steps / 10; step < steps; ) {
    while (scheduler.aliveCount < sequences) scheduler.add(decoding(added++, output));
    const started = performance.now();
    scheduler.plan(plan);
    const planned = performance.now();
    const full = plan.seqCount === sequences && plan.tokenCount === sequences;
    if (scheduler.stepsInFlight < FG.STEPS_IN_FLIGHT) continue;
    const before = performance.now();
    scheduler.commit(result);
    const committed = performance.now();
    structuredClone(scheduler.takeMessage());
    const sent = performance.now();
    if (!full || step++ < 0) continue;
    times.plan!.push((planned - started) * 1000);
    times.commit!.push((committed - before) * 1000);
    times.message!.push((sent - committed) * 1000);
  }
  return times;
}

function decoding(id: number, maxTokens: number): EngineRequest {
  return {
    id,
    prompt: Int32Array.of(id % 1000, 1, 2, 3),
    sampling: GREEDY,
    // Sequences end at different times, as they do in a server.
    maxTokens: maxTokens / 2 + ((id * 7919) % maxTokens),
    minTokens: 0,
    stopIds: Int32Array.of(2),
    logprobs: -1,
    promptLogprobs: -1,
    ...PLAIN,
  };
}

if (import.meta.main) {
  program.parse();
  const { sequences, output, steps } = program.opts<{ sequences: number; output: number; steps: number }>();
  for (const [part, times] of Object.entries(timeSteps(sequences, output, steps))) {
    const sorted = times.toSorted((a, b) => a - b);
    const at = (share: number) => sorted[Math.floor(share * (sorted.length - 1))]!.toFixed(1);
    console.log(`${part.padEnd(8)} ${sequences} sequences: p50 ${at(0.5)} us, p99 ${at(0.99)} us, max ${at(1)} us`);
  }
}
