/** A step that has been planned and whose result has not arrived. */
import type { Constraint } from "../masks/constraint.ts";
import type { Sequence } from "./sequence.ts";

/** A sequence's rows of a result: the first, how many, and the first that has logits. */
export type ResultRows = Record<"row" | "rows" | "logitsRow", number>;

/** What a planned step will bring, column by column. Entry i belongs to the step's sequence i. */
export class StepInFlight {
  readonly seqs: Sequence[] = [];
  /** Sequence.residence at the time of planning. */
  readonly residences: number[] = [];
  /** Sequence.branch at the time of planning. */
  readonly branches: number[] = [];
  /** Tokens in the sequence after the step. */
  readonly contexts: number[] = [];
  /** How many of them are new. */
  readonly counts: number[] = [];
  /** FG.SAMPLE | FG.SCORE */
  readonly flags: number[] = [];
  /** Pages that go to the host with it, and those that come back; of these, those that come beside it. */
  saved = 0;
  restored = 0;
  arriving = 0;
  /** Those whose masks come after the step was submitted, in order. */
  readonly late: Sequence[] = [];
  /** Of sequences that ended while it was the newest step: to be freed once it has been committed. */
  readonly discarded: Constraint[] = [];

  add(seq: Sequence, count: number, flags: number, late: boolean): void {
    this.seqs.push(seq);
    this.residences.push(seq.residence);
    this.branches.push(seq.branch);
    this.contexts.push(seq.scheduled);
    this.counts.push(count);
    this.flags.push(flags);
    if (late) this.late.push(seq);
  }

  /** Tokens that it computes. */
  get tokenCount(): number {
    return this.counts.reduce((sum, count) => sum + count, 0);
  }

  /** Takes entry `i` out. Returns its sequence. */
  remove(i: number): Sequence {
    for (const column of this.columns) column.splice(i, 1);
    const seq = this.seqs.splice(i, 1)[0]!;
    if (this.late.includes(seq)) this.late.splice(this.late.indexOf(seq), 1);
    return seq;
  }

  clear(): void {
    this.seqs.length = this.late.length = 0;
    for (const column of this.columns) column.length = 0;
  }

  private get columns(): unknown[][] {
    return [this.residences, this.branches, this.contexts, this.counts, this.flags];
  }
}
