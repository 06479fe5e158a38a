/** fg_step and fg_result: plans go in and results come out through buffers that are reused. */
import { ptr } from "bun:ffi";
import { FG, STRUCTS, StructArray } from "./layout.ts";
import { address } from "./library.ts";
import type { SlotFill, StepPlan } from "./step-plan.ts";

/** Packs plans into one fg_step. One is enough, because the library copies it during fg_submit. */
export class StepPacker {
  private readonly step = new StructArray(STRUCTS.fg_step);
  private fills = new StructArray(STRUCTS.fg_slot_fill, 16);
  readonly address = ptr(this.step.bytes);

  /** Fills in the fg_step at `address`. It points into `plan`, which must not change until fg_submit has returned. */
  pack(plan: StepPlan): void {
    const { step } = this;
    step.i32("n_seqs", plan.seqCount);
    step.i32("n_tokens", plan.tokenCount);
    step.i32("n_page_updates", plan.pageUpdateCount);
    step.i32("n_fills", plan.fills.length);
    step.i32("n_masks", plan.maskCount);
    step.i32("n_copies", plan.copyCount);
    step.i32("n_late_masks", plan.lateMaskCount);
    step.u64("seqs", ptr(plan.numberedSeqs()));
    step.u64("tokens", ptr(plan.tokens));
    step.u64("page_updates", plan.pageUpdateCount ? ptr(plan.pageUpdates) : 0);
    step.u64("fills", plan.fills.length ? this.packFills(plan.fills) : 0);
    step.u64("masks", plan.maskCount ? ptr(plan.masks) : 0);
    step.u64("copies", plan.copyCount ? ptr(plan.copies) : 0);
  }

  private packFills(list: readonly SlotFill[]): number {
    if (list.length > this.fills.length) this.fills = new StructArray(STRUCTS.fg_slot_fill, list.length * 2);
    const sampling = STRUCTS.fg_slot_fill.at.sampling;
    const { view } = this.fills;
    const at = STRUCTS.fg_sampling.at;
    for (const [i, fill] of list.entries()) {
      const start = i * STRUCTS.fg_slot_fill.size;
      const base = start + sampling;
      const s = fill.sampling;
      const history = fill.history;
      view.setInt32(start + STRUCTS.fg_slot_fill.at.slot, fill.slot, true);
      view.setBigUint64(base + at.seed, BigInt.asUintN(64, s.seed), true);
      view.setFloat32(base + at.temperature, s.temperature, true);
      view.setFloat32(base + at.top_p, s.topP, true);
      view.setFloat32(base + at.min_p, s.minP, true);
      view.setInt32(base + at.top_k, s.topK, true);
      view.setFloat32(base + at.repetition_penalty, s.repetitionPenalty, true);
      view.setFloat32(base + at.presence_penalty, s.presencePenalty, true);
      view.setFloat32(base + at.frequency_penalty, s.frequencyPenalty, true);
      view.setInt32(base + at.min_context, fill.minContext, true);
      view.setBigUint64(base + at.stop_ids, BigInt(address(fill.stopIds) ?? 0), true);
      view.setBigUint64(base + at.bias_ids, BigInt(address(s.biasIds) ?? 0), true);
      view.setBigUint64(base + at.bias, BigInt(address(s.bias) ?? 0), true);
      view.setBigUint64(base + at.history, BigInt(address(history) ?? 0), true);
      view.setInt32(base + at.n_stop_ids, fill.stopIds.length, true);
      view.setInt32(base + at.n_bias, s.biasIds.length, true);
      view.setInt32(base + at.n_prompt, history ? fill.promptLength : 0, true);
      view.setInt32(base + at.n_output, history ? history.length - fill.promptLength : 0, true);
      view.setInt32(base + at.logprobs_mode, s.processedLogprobs ? FG.PROCESSED_LOGPROBS : FG.RAW_LOGPROBS, true);
    }
    return ptr(this.fills.bytes);
  }
}

/** One step's result. The next wait overwrites its arrays: copy what must outlive it. */
export interface StepResult {
  readonly step: number;
  readonly rows: number;
  /** [rows] */
  readonly ids: Int32Array;
  /** [rows]. A row that asked for no log probability holds an old value. */
  readonly logprobs: Float32Array;
  /** [rows]: 1 = the most probable token, 0 = no token. Written where logprobs are. */
  readonly ranks: Int32Array;
  /** [rows][FG.MAX_LOGPROBS] */
  readonly topIds: Int32Array;
  readonly topLogprobs: Float32Array;
  /** [rows with FG.LOGITS][vocab] */
  readonly logits: Float32Array;
  /** How long the device ran the step. */
  readonly runSeconds: number;
  /** How long the device had nothing to do before it. */
  readonly idleSeconds: number;
  /** How long page copies took that came with it, and those to the device that ran beside the step before. */
  readonly toHostSeconds: number;
  readonly toDeviceSeconds: number;
}

export class ResultReader implements StepResult {
  private readonly result = new StructArray(STRUCTS.fg_result);
  readonly address = ptr(this.result.bytes);
  readonly ids: Int32Array<ArrayBuffer>;
  readonly logprobs: Float32Array<ArrayBuffer>;
  readonly ranks: Int32Array<ArrayBuffer>;
  readonly topIds: Int32Array<ArrayBuffer>;
  readonly topLogprobs: Float32Array<ArrayBuffer>;
  logits = new Float32Array(new ArrayBuffer(4));

  /** Makes room for `rows` result rows. The engine's maxStepTokens always suffices. */
  constructor(rows: number) {
    this.ids = new Int32Array(new ArrayBuffer(rows * 4));
    this.logprobs = new Float32Array(new ArrayBuffer(rows * 4));
    this.ranks = new Int32Array(new ArrayBuffer(rows * 4));
    this.topIds = new Int32Array(new ArrayBuffer(rows * FG.MAX_LOGPROBS * 4));
    this.topLogprobs = new Float32Array(new ArrayBuffer(rows * FG.MAX_LOGPROBS * 4));
    this.result.i32("row_capacity", rows);
    this.result.u64("ids", ptr(this.ids));
    this.result.u64("logprobs", ptr(this.logprobs));
    this.result.u64("ranks", ptr(this.ranks));
    this.result.u64("top_ids", ptr(this.topIds));
    this.result.u64("top_logprobs", ptr(this.topLogprobs));
    this.setLogits();
  }

  /** Makes room for the logits of the step that is waited for next. */
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
  get toHostSeconds(): number {
    return this.result.getF64("to_host_seconds");
  }
  get toDeviceSeconds(): number {
    return this.result.getF64("to_device_seconds");
  }
}
