/** Collects what has happened to sequences since the last message, and builds the next StepMessage from it. */
import type { FastgenError } from "../../errors.ts";
import { FG } from "../../ffi/layout.ts";
import type { StepResult } from "../../ffi/step.ts";
import {
  type EngineRequest,
  type EngineStats,
  FINISH,
  type FinishReason,
  type StepMessage,
  type TokenLogprobs,
} from "../protocol.ts";
import { emptyLogprobs, type Sequence } from "./sequence.ts";

export class Outcomes {
  private ids: number[] = [];
  private tokens: number[] = [];
  private finish: number[] = [];
  private logprobs: StepMessage["logprobs"] = null;
  private promptLogprobs: StepMessage["promptLogprobs"] = null;
  private cachedTokens: StepMessage["cachedTokens"] = null;
  private starts: StepMessage["starts"] = null;
  private reasons: StepMessage["reasons"] = null;
  private errors: StepMessage["errors"] = null;

  /** Sequences that waited, for whatever, as of the last message. */
  toldWaiting = 0;

  /** `clock` gives milliseconds. */
  constructor(private readonly clock: () => number) {}

  get count(): number {
    return this.ids.length;
  }

  /** One entry: a token (or -1), and why the sequence ended if it did. `reason`: what a grammar has to say about it. */
  add(seq: Sequence, token: number, finish: FinishReason | "", reason: string | null = null): void {
    const entry = this.ids.length;
    this.ids.push(seq.request.id);
    this.tokens.push(token);
    this.finish.push(FINISH.indexOf(finish));
    if (reason !== null) {
      this.reasons ??= new Map();
      this.reasons.set(entry, reason);
    }
    if (!seq.unreported) return;
    seq.unreported = false;
    if (seq.cachedTokens > 0) {
      this.cachedTokens ??= new Map();
      this.cachedTokens.set(entry, seq.cachedTokens);
    }
    // A token may have been forced before anything was computed: it needs a beginning, too.
    if (token < 0 && (finish === "abort" || finish === "error")) return;
    const now = this.clock();
    // One that has nothing to compute ends without a slot.
    const startedAt = seq.startedAt < 0 ? now : seq.startedAt;
    this.starts ??= new Map();
    this.starts.set(entry, {
      queuedSeconds: (startedAt - seq.addedAt) / 1000,
      prefillSeconds: (now - startedAt) / 1000,
    });
    const { promptLogprobs } = seq.request;
    if (promptLogprobs >= 0) {
      this.promptLogprobs ??= new Map();
      this.promptLogprobs.set(entry, seq.promptLogprobs ?? emptyLogprobs(0, promptLogprobs));
      seq.promptLogprobs = null;
    }
  }

  /**
   * Tells of the outputs that nothing has told of yet, and with the last of them, or by itself, of the end. Returns how many
   * there were.
   */
  report(seq: Sequence, finish: FinishReason | "", reason: string | null = null): number {
    const count = seq.outputs - seq.reported;
    if (count === 0) this.add(seq, -1, finish, reason);
    while (seq.reported < seq.outputs) {
      const token = seq.tokens[seq.promptLength + seq.reported++]!;
      const isLast = seq.reported === seq.outputs;
      this.add(seq, token, isLast ? finish : "", isLast ? reason : null);
    }
    return count;
  }

  /** What `request` asks for of the newest entry's token: row `row` of the result, whose logits begin at `from`. */
  addSampleLogprobs({ logprobIds, logprobs }: EngineRequest, result: StepResult, row: number, from: number): void {
    if (logprobIds.length > 0) this.addLogprobsOf(logprobIds, result, row, from);
    else if (logprobs >= 0) this.addLogprobs(logprobs, result, row);
  }

  /** The log probabilities of the newest entry's token, from row `row` of the result. */
  private addLogprobs(topN: number, result: StepResult, row: number): void {
    const one: TokenLogprobs = emptyLogprobs(1, topN);
    const at = row * FG.MAX_LOGPROBS;
    one.ids[0] = result.ids[row]!;
    one.logprobs[0] = result.logprobs[row]!;
    one.ranks[0] = result.ranks[row]!;
    one.topIds.set(result.topIds.subarray(at, at + topN));
    one.topLogprobs.set(result.topLogprobs.subarray(at, at + topN));
    this.logprobs ??= new Map();
    this.logprobs.set(this.ids.length - 1, one);
  }

  /**
   * The log probabilities of the newest entry's token and of the tokens `ids`, from row `row` of the result, whose logits
   * begin at `from`.
   */
  private addLogprobsOf(ids: Int32Array, result: StepResult, row: number, from: number): void {
    const one: TokenLogprobs = emptyLogprobs(1, ids.length);
    const token = result.ids[row]!;
    one.ids[0] = token;
    one.logprobs[0] = result.logprobs[row]!;
    one.ranks[0] = result.ranks[row]!;
    one.topIds.set(ids);
    // Two log probabilities of one row differ by as much as their logits.
    const shift = result.logprobs[row]! - result.logits[from + token]!;
    for (const [i, id] of ids.entries()) one.topLogprobs[i] = result.logits[from + id]! + shift;
    this.logprobs ??= new Map();
    this.logprobs.set(this.ids.length - 1, one);
  }

  addError(seq: Sequence, error: FastgenError): void {
    this.add(seq, -1, "error");
    this.errors ??= new Map();
    this.errors.set(this.ids.length - 1, { kind: error.kind, message: error.message });
  }

  take(stats: EngineStats, weightVersion: string): StepMessage {
    this.toldWaiting = stats.waiting + stats.swapped + stats.paused;
    const message: StepMessage = {
      type: "step",
      requestIds: Int32Array.from(this.ids),
      tokens: Int32Array.from(this.tokens),
      finish: Uint8Array.from(this.finish),
      logprobs: this.logprobs,
      promptLogprobs: this.promptLogprobs,
      cachedTokens: this.cachedTokens,
      starts: this.starts,
      reasons: this.reasons,
      errors: this.errors,
      weightVersion,
      stats,
    };
    this.ids.length = this.tokens.length = this.finish.length = 0;
    this.logprobs = this.promptLogprobs = this.cachedTokens = this.starts = this.reasons = this.errors = null;
    return message;
  }
}
