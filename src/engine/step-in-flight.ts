/** A step that was planned and whose result is not there yet. */
import type { Sequence } from "./sequence.ts";

/** What a planned step will bring, column by column; entry i is the step's sequence i. */
export class StepInFlight {
  readonly seqs: Sequence[] = [];
  /** Sequence.residence when planned. */
  readonly residences: number[] = [];
  /** Tokens in the sequence after the step, and how many of them are new. */
  readonly contexts: number[] = [];
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

  clear(): void {
    this.seqs.length = this.residences.length = this.contexts.length = this.counts.length = this.flags.length = 0;
  }
}
