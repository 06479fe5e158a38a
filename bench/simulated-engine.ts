/** A scheduler whose steps take the time that they would take of Mistral 7B on an H100, from the measured costs of its parts. */
import type { StepMessage } from "../src/engine/protocol.ts";
import { Scheduler } from "../src/engine/scheduler/scheduler.ts";
import { FG } from "../src/ffi/layout.ts";
import { StepPlan } from "../src/ffi/step-plan.ts";
import { SimulatedStreams, type StepTimes } from "./simulated-streams.ts";
import { randomFrom } from "./stats.ts";
import { describe } from "./steps.ts";

export const STOP_ID = 2;
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

/** GB, of a page. */
export const PAGE_SIZE = (FG.PAGE_TOKENS * KV_BYTES) / 1e9;
/** GB/s that the link to the host moves in each direction, in both at once and beside a step. */
export const LINK_RATE = 48;

export interface Machine {
  pages: number;
  hostPages: number;
  maxNumSeqs: number;
  maxNumBatchedTokens: number;
  /** GB/s of the link to the host in each direction; LINK_RATE where none is given. */
  linkRate?: number;
}

function productsTime(tokens: number): number {
  const found = TOKENS.findIndex((n) => n >= Math.max(2, tokens));
  const above = found < 0 ? TOKENS.length - 1 : found; // extrapolated past the last
  const [low, high] = [TOKENS[above - 1]!, TOKENS[above]!];
  const [from, to] = [PRODUCTS[above - 1]!, PRODUCTS[above]!];
  return from + ((tokens - low) / (high - low)) * (to - from);
}

/** Microseconds, without copies. */
function stepTime(plan: StepPlan): number {
  const { tokens, decodeContext, promptScores } = describe(plan);
  const layers = LAYERS * (productsTime(tokens) + OTHERS + OTHERS_TOKEN * tokens);
  const attention = (decodeContext * KV_BYTES) / KV_RATE + (promptScores * SCORE) / SCORE_RATE;
  const ends = Math.max(ENDS, plan.rowCount * ENDS_ROW);
  return layers + attention + ends;
}

export class SimulatedEngine {
  readonly scheduler: Scheduler;
  /** When the last step is over. */
  seconds = 0;
  private readonly streams: SimulatedStreams;
  /** When the newest result came: the next step is planned then. */
  private now = 0;
  private readonly plan: StepPlan;
  private readonly result;
  private readonly inFlight: { rows: number; runSeconds: number; times: StepTimes }[] = [];
  private readonly random = randomFrom(0);

  /** `ends`: mean tokens after which answers end at random; 0 = none does. */
  constructor(
    machine: Machine,
    private readonly ends: number,
  ) {
    const { pages, hostPages, maxNumSeqs: maxSeqs, maxNumBatchedTokens: maxStepTokens } = machine;
    const limits = { maxSeqs, maxStepTokens, maxContext: pages * FG.PAGE_TOKENS, pages, hostPages };
    this.scheduler = new Scheduler({ ...limits, prefixCaching: true, vocabSize: 1 });
    this.streams = new SimulatedStreams(PAGE_SIZE / (machine.linkRate ?? LINK_RATE));
    this.plan = new StepPlan(maxSeqs, maxStepTokens);
    const floats = new Float32Array(maxStepTokens);
    const ids = new Int32Array(maxStepTokens);
    this.result = { step: 0, ids, logprobs: floats, ranks: ids, topIds: ids, topLogprobs: floats, logits: floats };
  }

  /** Runs steps until every sequence has ended. */
  run(): void {
    while (this.scheduler.aliveCount > 0) this.step();
  }

  /** Runs one step, with the next one planned before it ends. Returns what it brought. */
  step(): StepMessage {
    const { scheduler, plan, result, inFlight, ends } = this;
    while (scheduler.stepsInFlight < FG.STEPS_IN_FLIGHT && scheduler.plan(plan)) {
      const runSeconds = stepTime(plan) / 1e6;
      const times = this.streams.submit(plan, this.now, runSeconds);
      this.seconds = times.end;
      inFlight.push({ rows: plan.rowCount, runSeconds, times });
      plan.submitted();
    }
    const { rows, runSeconds, times } = inFlight.shift()!;
    this.now = times.end;
    for (let i = 0; i < rows; i++) result.ids[i] = ends > 0 && this.random() < 1 / ends ? STOP_ID : STOP_ID + 1;
    scheduler.commit({ ...result, ...times, rows, runSeconds, idleSeconds: 0 });
    return scheduler.takeMessage();
  }
}
