/** A step that has been planned and whose result has not arrived. */
import type { Sequence } from "./sequence.ts";

/** What a planned step will bring, column by column. Entry i belongs to the step's sequence i. */
export class StepInFlight {
  readonly seqs: Sequence[] = [];
  /** Sequence.residence at the time of planning. */
  readonly residences: number[] = [];
  /** Tokens in the sequence after the step. */
  readonly contexts: number[] = [];
  /** How many of them are new. */
  readonly counts: number[] = [];
  /** FG.SAMPLE | FG.SCORE */
  readonly flags: number[] = [];

  add(seq: Sequence, count: number, flags: number): void {
    this.seqs.push(seq);
    this.residences.push(seq.residence);
    this.contexts.push(seq.scheduled);
    this.counts.push(count);
    this.flags.push(flags);
  }

  /** Tokens that it computes. */
  get tokenCount(): number {
    return this.counts.reduce((sum, count) => sum + count, 0);
  }

  /** Takes entry `i` out. Returns its sequence. */
  remove(i: number): Sequence {
    for (const column of [this.residences, this.contexts, this.counts, this.flags]) column.splice(i, 1);
    return this.seqs.splice(i, 1)[0]!;
  }

  clear(): void {
    this.seqs.length = this.residences.length = this.contexts.length = this.counts.length = this.flags.length = 0;
  }
}
