#!/usr/bin/env bun
/**
 * Runs a load through the scheduler alone. The time of each step is computed from the measured costs of Mistral 7B on
 * an H100 under load. That tells in a second, and without a GPU, what a scheduling policy is worth. fgserve's own
 * throughput was within 1 % of the simulation for 512 × 1024 → 128 and 512 × 128 → 2048, and 4 % below it for
 * 1000 × 220 → 200 ± 90 %.
 */
import { Command } from "commander";
import { Scheduler } from "../src/engine/scheduler.ts";
import { FG } from "../src/ffi/layout.ts";
import { StepPlan } from "../src/ffi/step-plan.ts";
import { count, loadSizes } from "./flags.ts";
import { engineRequests, type LoadSizes } from "./load.ts";
import { randomFrom } from "./stats.ts";
import { describe } from "./steps.ts";

const STOP_ID = 2;
const LAYERS = 32;

/** Tokens in a step, and microseconds of a layer's products (results/ops.jsonl; 272 to 448: from one separate run). */
const TOKENS = [1, 64, 128, 256, 272, 320, 384, 448, 512, 576, 768, 1024, 2048];
const PRODUCTS = [150, 153, 164, 198, 253, 265, 295, 325, 355, 420, 510, 650, 1330];
/** Microseconds of a layer's other kernels: per step, and per token. */
const [OTHERS, OTHERS_TOKEN] = [12, 0.02];
/** Bytes of a token's KV in all layers, and bytes per microsecond at which decode attention reads them. */
const [KV_BYTES, KV_RATE] = [2 * LAYERS * 8 * 128 * 2, 2.96e6];
/** Operations per pair of query and key in all layers, and operations per microsecond of prefill attention. */
const [SCORE, SCORE_RATE] = [4 * 4096 * LAYERS, 370e6];
/** Microseconds of embedding, logits and sampling: the least per step, and per row once rows dominate. */
const [ENDS, ENDS_ROW] = [150, 0.47];

export interface Simulation {
  seconds: number;
  tokensPerSecond: number;
  steps: number;
  preemptions: number;
}

export interface Setting extends LoadSizes {
  /** Mean tokens after which answers end at random before `output`; 0 = none does. */
  ends: number;
  pages: number;
  hostPages: number;
  maxNumSeqs: number;
  maxNumBatchedTokens: number;
}

function productsTime(tokens: number): number {
  const found = TOKENS.findIndex((n) => n >= Math.max(2, tokens));
  const above = found < 0 ? TOKENS.length - 1 : found; // extrapolated past the last
  const [low, high] = [TOKENS[above - 1]!, TOKENS[above]!];
  const [from, to] = [PRODUCTS[above - 1]!, PRODUCTS[above]!];
  return from + ((tokens - low) / (high - low)) * (to - from);
}

function stepTime(plan: StepPlan): number {
  const { tokens, decodeContext, promptScores } = describe(plan);
  const layers = LAYERS * (productsTime(tokens) + OTHERS + OTHERS_TOKEN * tokens);
  const attention = (decodeContext * KV_BYTES) / KV_RATE + (promptScores * SCORE) / SCORE_RATE;
  return layers + attention + Math.max(ENDS, plan.rowCount * ENDS_ROW);
}

export function simulate(setting: Setting): Simulation {
  const { ends, pages, hostPages, maxNumSeqs: maxSeqs, maxNumBatchedTokens: maxStepTokens } = setting;
  const requests = engineRequests(setting, 32_000);
  const maxContext = pages * FG.PAGE_TOKENS;
  const scheduler = new Scheduler({ maxSeqs, maxStepTokens, maxContext, pages, hostPages, prefixCaching: true });
  const stopIds = Int32Array.from(ends > 0 ? [STOP_ID] : []);
  for (const request of requests) scheduler.add({ ...request, stopIds });

  const plan = new StepPlan(maxSeqs, maxStepTokens);
  const floats = new Float32Array(maxStepTokens);
  const ids = new Int32Array(maxStepTokens);
  const result = { step: 0, ids, logprobs: floats, ranks: ids, topIds: ids, topLogprobs: floats, logits: floats };
  const random = randomFrom(0);
  const rowsOut: number[] = [];
  let microseconds = 0;
  while (scheduler.aliveCount > 0) {
    while (scheduler.stepsInFlight < FG.STEPS_IN_FLIGHT && scheduler.plan(plan)) {
      microseconds += stepTime(plan);
      rowsOut.push(plan.rowCount);
      plan.submitted();
    }
    const rows = rowsOut.shift()!;
    for (let i = 0; i < rows; i++) ids[i] = ends > 0 && random() < 1 / ends ? STOP_ID : STOP_ID + 1;
    scheduler.commit({ ...result, rows, runSeconds: 0, idleSeconds: 0 });
    scheduler.takeMessage();
  }
  const { generatedTokens, steps, preemptions } = scheduler.stats();
  const seconds = microseconds / 1e6;
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
