/** One sequence's tokens in a step: written into its plan, and noted for when its result comes. */
import { FG } from "../../ffi/layout.ts";
import { LATE_MASK, type StepPlan } from "../../ffi/step-plan.ts";
import type { Sequence } from "../sequences/sequence.ts";
import type { StepInFlight } from "../sequences/step-in-flight.ts";
import type { MaskRows } from "./mask-rows.ts";

/** The token that was sampled last, or is being sampled. */
export function planDecode(seq: Sequence, plan: StepPlan, step: StepInFlight, masks: MaskRows): void {
  seq.sendSlot(plan);
  const token = seq.pendingSamples > 0 ? FG.LAST_SAMPLED : seq.tokens[seq.scheduled]!;
  const mask = masks.plan(seq, plan);
  seq.scheduled++;
  seq.pendingSamples++;
  const flags = seq.sampleFlags;
  plan.addDecode(seq.slot, token, seq.scheduled, seq.request.logprobs, flags, mask);
  step.add(seq, 1, flags, mask === LATE_MASK);
}

/** The next `count` of its known tokens. */
export function planChunk(seq: Sequence, count: number, plan: StepPlan, step: StepInFlight, masks: MaskRows): void {
  const { request } = seq;
  const from = seq.scheduled;
  const to = from + count;
  const samples = to === seq.length;
  const scores = request.promptLogprobs >= 0 && from >= seq.scored && from < seq.promptLength - 1;
  const flags = (samples ? seq.sampleFlags : 0) | (scores ? FG.SCORE : 0);
  const logprobs = Math.max(samples ? request.logprobs : -1, scores ? request.promptLogprobs : -1);
  const mask = samples ? masks.plan(seq, plan) : -1;
  seq.sendSlot(plan);
  plan.add(
    {
      slot: seq.slot,
      context: to,
      flags,
      nextToken: samples ? 0 : seq.tokens[to]!,
      logprobs,
      mask,
    },
    seq.tokens,
    from,
    to,
  );
  seq.scheduled = to;
  if (scores) seq.scored = Math.min(to, seq.promptLength - 1);
  if (samples) seq.pendingSamples++;
  step.add(seq, count, flags, mask === LATE_MASK);
}
