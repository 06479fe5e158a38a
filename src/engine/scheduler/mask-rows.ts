/**
 * The masks of the rows that are sampled. A mask that is known while its step is planned travels in the step. Two kinds come
 * late, after the step was submitted: those that depend on a token which the step before is sampling, and those that a
 * grammar computes, on another thread while the step runs. Where the grammar itself is still being compiled, its mask can
 * be given until the next step is planned.
 */
import { LATE_MASK, type StepPlan } from "../../ffi/step-plan.ts";
import type { Constraint } from "../masks/constraint.ts";
import type { MaskLibrary } from "../masks/late-masks.ts";
import { maskOf } from "../masks/token-mask.ts";
import { appendForced, type Ending } from "../sequences/outputs.ts";
import type { Sequence } from "../sequences/sequence.ts";
import type { StepInFlight } from "../sequences/step-in-flight.ts";

/** A mask that came too late so often in a row is computed before its step is planned, so that its sequence goes on. */
const MOST_LATE = 2;

export class MaskRows {
  private readonly everything: Uint32Array;
  private readonly nothing: Uint32Array;
  /** Sequences with a late mask in the newest step that is, or was, up to a grammar which was still being compiled. */
  private readonly awaiting: Sequence[] = [];

  constructor(
    private readonly library: MaskLibrary,
    private readonly vocabSize: number,
  ) {
    this.nothing = maskOf([], vocabSize);
    this.everything = new Uint32Array(this.nothing.length).fill(0xffffffff);
  }

  /** The mask of the row that `seq` samples next, beside those in flight: LATE_MASK, or what the plan's addMask() says. */
  plan(seq: Sequence, plan: StepPlan): number {
    const { constraint } = seq;
    if (!constraint) return -1;
    if (constraint.awaitsGrammar) return LATE_MASK;
    if (constraint.isFollowed) return LATE_MASK;
    const isLate =
      seq.pendingSamples > 0 ? constraint.needsLastToken : constraint.computedBy !== null && seq.lateTimes < MOST_LATE;
    return isLate ? LATE_MASK : plan.addMask(constraint.mask(seq.outputTokens));
  }

  /** `step` has been submitted. Gives the late masks that depend on nothing in flight, or that the sampler makes by itself. */
  submitted(step: StepInFlight): void {
    for (const [row, seq] of step.late.entries()) {
      seq.lateRow = row;
      if (seq.awaitsGrammar) this.awaiting.push(seq);
      else if (seq.pendingSamples === 1 || seq.constraint!.isFollowed) this.give(seq);
    }
  }

  /** Whether a row of the newest step can still have its mask if a grammar is compiled soon. */
  get awaitsGrammars(): boolean {
    return this.awaiting.some(({ lateRow }) => lateRow >= 0);
  }

  /** What still awaits a grammar in the newest step samples nothing there. */
  giveUp(): void {
    for (const seq of this.awaiting.splice(0)) this.giveNothing(seq);
  }

  /** Gives the late mask of `seq` in the newest step: `only` these ids, or what may follow. All tokens before it are known. */
  give(seq: Sequence, only: Int32Array | null = null): void {
    const constraint = seq.constraint!;
    const row = seq.lateRow;
    seq.lateRow = -1;
    const matcher = constraint.fillable;
    const follower = only ? null : constraint.follow(this.library, seq.length);
    if (only) this.library.giveMask(row, maskOf(only, this.vocabSize));
    else if (follower) this.library.giveFollower(row, follower);
    else if (matcher) this.library.giveMatcher(row, matcher, constraint.isCheckable);
    else this.library.giveMask(row, constraint.mask(seq.outputTokens) ?? this.everything);
  }

  /** What `seq` samples in the newest step will be dropped: nobody shall wait for its mask. */
  giveNothing(seq: Sequence): void {
    if (seq.lateRow < 0) return;
    this.library.giveMask(seq.lateRow, this.nothing);
    seq.lateRow = -1;
  }

  /**
   * Appends what must follow now. Then the step in flight gets its mask; where it went past tokens that were forced, or
   * samples without a mask that is needed now, what it samples is dropped. Returns how the sequence ends here, or null.
   */
  follow(seq: Sequence, constraint: Constraint): Ending | null {
    const { length } = seq;
    const forced = constraint.forced();
    // The step in flight samples it as soon as the next one could; by itself where the sampler takes the grammar along.
    if (forced.length === 1 && constraint.isFollowed && seq.pendingSamples > 0) return null;
    if (forced.length === 1 && seq.lateRow >= 0) {
      this.give(seq, forced);
      return null;
    }
    const ending = appendForced(seq, forced);
    if (ending) return ending;
    if (seq.length > length) this.goBack(seq, length);
    else if (seq.lateRow >= 0) this.give(seq);
    else if (seq.pendingSamples > 0 && constraint.needsLastToken) this.goBack(seq, length - 1);
    return null;
  }

  /** Drops what is in flight for `seq`. Its positions from `from` on are computed again. */
  goBack(seq: Sequence, from: number): void {
    this.giveNothing(seq);
    seq.goBack(from);
  }
}
