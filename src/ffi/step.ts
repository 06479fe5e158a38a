/** fg_step and fg_result: plans go in and results come out through buffers that are made once and reused. */
import { ptr } from "bun:ffi";
import { FG, STRUCTS, StructArray } from "./layout.ts";
import { address } from "./library.ts";
import type { SlotFill, StepPlan } from "./step-plan.ts";

/** Packs plans into one fg_step. The library copies it during fg_submit, so one is enough. */
export class StepPacker {
  private readonly step = new StructArray(STRUCTS.fg_step);
  private fills = new StructArray(STRUCTS.fg_slot_fill, 16);
  readonly address = ptr(this.step.bytes);

  /** Fills in the fg_step at `address`. It points into `plan`, which must not change until fg_submit returns. */
  pack(plan: StepPlan): void {
    const { step } = this;
    step.i32("n_seqs", plan.seqCount);
    step.i32("n_tokens", plan.tokenCount);
    step.i32("n_page_updates", plan.pageUpdateCount);
    step.i32("n_fills", plan.fills.length);
    step.i32("n_masks", plan.maskCount);
    step.u64("seqs", ptr(plan.seqs));
    step.u64("tokens", ptr(plan.tokens));
    step.u64("page_updates", plan.pageUpdateCount ? ptr(plan.pageUpdates) : 0);
    step.u64("fills", plan.fills.length ? this.packFills(plan.fills) : 0);
    step.u64("masks", plan.maskCount ? ptr(plan.masks) : 0);
  }

  private packFills(list: readonly SlotFill[]): number {
    if (list.length > this.fills.length) this.fills = new StructArray(STRUCTS.fg_slot_fill, list.length * 2);
    const sampling = STRUCTS.fg_slot_fill.at.sampling;
    const out = this.fills.view;
    const at = STRUCTS.fg_sampling.at;
    for (const [i, fill] of list.entries()) {
      const start = i * STRUCTS.fg_slot_fill.size;
      const base = start + sampling;
      const s = fill.sampling;
      const history = fill.history;
      out.setInt32(start + STRUCTS.fg_slot_fill.at.slot, fill.slot, true);
      out.setBigUint64(base + at.seed, BigInt.asUintN(64, s.seed), true);
      out.setFloat32(base + at.temperature, s.temperature, true);
      out.setFloat32(base + at.top_p, s.topP, true);
      out.setFloat32(base + at.min_p, s.minP, true);
      out.setInt32(base + at.top_k, s.topK, true);
      out.setFloat32(base + at.repetition_penalty, s.repetitionPenalty, true);
      out.setFloat32(base + at.presence_penalty, s.presencePenalty, true);
      out.setFloat32(base + at.frequency_penalty, s.frequencyPenalty, true);
      out.setInt32(base + at.min_context, fill.minContext, true);
      out.setBigUint64(base + at.stop_ids, BigInt(address(fill.stopIds) ?? 0), true);
      out.setBigUint64(base + at.bias_ids, BigInt(address(s.biasIds) ?? 0), true);
      out.setBigUint64(base + at.bias, BigInt(address(s.bias) ?? 0), true);
      out.setBigUint64(base + at.history, BigInt(address(history) ?? 0), true);
      out.setInt32(base + at.n_stop_ids, fill.stopIds.length, true);
      out.setInt32(base + at.n_bias, s.biasIds.length, true);
      out.setInt32(base + at.n_prompt, history ? fill.promptLength : 0, true);
      out.setInt32(base + at.n_output, history ? history.length - fill.promptLength : 0, true);
    }
    return ptr(this.fills.bytes);
  }
}

/** One step's result. The arrays are the reader's own and are overwritten by the next wait: copy what must outlive it. */
export interface StepResult {
  readonly step: number;
  readonly rows: number;
  /** [rows] */
  readonly ids: Int32Array;
  /** [rows]; a row that asked for no log probability holds an old value. */
  readonly logprobs: Float32Array;
  /** [rows][FG.MAX_LOGPROBS] */
  readonly topIds: Int32Array;
  readonly topLogprobs: Float32Array;
  /** [rows with FG.LOGITS][vocab] */
  readonly logits: Float32Array;
  /** Seconds that the device ran, and had nothing to do before. */
  readonly runSeconds: number;
  readonly idleSeconds: number;
}

export class ResultReader implements StepResult {
  private readonly result = new StructArray(STRUCTS.fg_result);
  readonly address = ptr(this.result.bytes);
  readonly ids: Int32Array<ArrayBuffer>;
  readonly logprobs: Float32Array<ArrayBuffer>;
  readonly topIds: Int32Array<ArrayBuffer>;
  readonly topLogprobs: Float32Array<ArrayBuffer>;
  logits = new Float32Array(new ArrayBuffer(4));

  /** Room for `rows` result rows: the engine's maxStepTokens always suffices. */
  constructor(rows: number) {
    this.ids = new Int32Array(new ArrayBuffer(rows * 4));
    this.logprobs = new Float32Array(new ArrayBuffer(rows * 4));
    this.topIds = new Int32Array(new ArrayBuffer(rows * FG.MAX_LOGPROBS * 4));
    this.topLogprobs = new Float32Array(new ArrayBuffer(rows * FG.MAX_LOGPROBS * 4));
    this.result.i32("row_capacity", rows);
    this.result.u64("ids", ptr(this.ids));
    this.result.u64("logprobs", ptr(this.logprobs));
    this.result.u64("top_ids", ptr(this.topIds));
    this.result.u64("top_logprobs", ptr(this.topLogprobs));
    this.setLogits();
  }

  /** Makes room for the logits of the next step to be waited for. */
  reserveLogits(floats: number): void {
    if (floats <= this.logits.length) return;
    this.logits = new Float32Array(new ArrayBuffer(floats * 4));
    this.setLogits();
  }

  private setLogits(): void {
    this.result.u64("logits", ptr(this.logits));
    this.result.u64("logits_capacity", this.logits.length);
  }

  get step(): number {
    return this.result.getU64("step");
  }
  get rows(): number {
    return this.result.getI32("n_rows");
  }
  get runSeconds(): number {
    return this.result.getF64("run_seconds");
  }
  get idleSeconds(): number {
    return this.result.getF64("idle_seconds");
  }
}
