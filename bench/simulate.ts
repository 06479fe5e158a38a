#!/usr/bin/env bun
/**
 * Runs a load through the scheduler alone. The time of each step is computed from the measured costs of Mistral 7B on
 * an H100 under load. That tells in a second, and without a GPU, what a scheduling policy is worth. fgserve's own
 * throughput was within 1 % of the simulation for 512 × 1024 → 128 and 512 × 128 → 2048, and 4 % below it for
 * 1000 × 220 → 200 ± 90 %.
 */
import { Command } from "commander";
import { count, loadSizes } from "./flags.ts";
import { engineRequests, type LoadSizes } from "./load.ts";
import { type Machine, SimulatedEngine, STOP_ID } from "./simulated-engine.ts";

export interface Simulation {
  seconds: number;
  tokensPerSecond: number;
  steps: number;
  preemptions: number;
}

export interface Setting extends LoadSizes, Machine {
  /** Mean tokens after which answers end at random before `output`; 0 = none does. */
  ends: number;
}

export function simulate(setting: Setting): Simulation {
  const engine = new SimulatedEngine(setting, setting.ends);
  const stopIds = Int32Array.from(setting.ends > 0 ? [STOP_ID] : []);
  for (const request of engineRequests(setting, 32_000)) engine.scheduler.add({ ...request, stopIds });
  engine.run();
  const { generatedTokens, steps, preemptions } = engine.scheduler.stats();
  const { seconds } = engine;
  return { seconds, tokensPerSecond: generatedTokens / seconds, steps, preemptions };
}

const program = loadSizes(
  new Command("bun bench/simulate.ts").description(
    "Simulates a load of Mistral 7B on an H100, from the measured costs of steps.",
  ),
)
  .option("--ends <tokens>", "mean tokens after which answers end at random; 0 = all have their full length", Number, 0)
  .option("--pages <n>", "pages of the KV cache", count, 7432)
  .option("--host-pages <n>", "pages of the KV cache in host memory", Number, 512)
  .option("--max-num-seqs <n>", "sequences that run at once", count, 1024)
  .option("--max-num-batched-tokens <n>", "tokens in one step", count, 2048);

if (import.meta.main) {
  const { seconds, tokensPerSecond, steps, preemptions } = simulate(program.parse().opts<Setting>());
  console.log(
    `${tokensPerSecond.toFixed(0)} tokens/s in ${seconds.toFixed(2)} s, ${steps} steps, ${preemptions} preemptions`,
  );
}
