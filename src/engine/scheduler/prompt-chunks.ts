/** One step's prompt chunks while they are chosen: which sequences compute how many of their known tokens. */
import type { Sequence } from "../sequences/sequence.ts";
import { backlogForAll } from "./step-size.ts";

export class PromptChunks {
  private readonly seqs: Sequence[] = [];
  private readonly counts: number[] = [];

  constructor(private readonly maxStepTokens: number) {}

  /** Sequences chosen so far. */
  get count(): number {
    return this.seqs.length;
  }

  /** Tokens that running and waiting sequences have yet to compute before they decode, counted only as far as they matter. */
  backlog(running: readonly Sequence[], waiting: readonly Sequence[]): number {
    const enough = backlogForAll(this.maxStepTokens);
    let backlog = 0;
    for (const seq of running) if (seq.pendingSamples === 0) backlog += seq.target - seq.scheduled;
    for (let i = 0; i < waiting.length && backlog < enough; i++) backlog += waiting[i]!.target;
    return backlog;
  }

  /** Tokens that running sequences have yet to compute before they decode, after this step. */
  left(running: readonly Sequence[]): number {
    return this.backlog(running, []) - this.counts.reduce((sum, count) => sum + count, 0);
  }

  /** Begins another step with the running sequences whose known tokens are not all computed. Returns what is left of the budget. */
  choose(running: readonly Sequence[], budget: number): number {
    this.seqs.length = this.counts.length = 0;
    let left = budget;
    for (const seq of running) {
      if (left === 0) break;
      const todo = seq.target - seq.scheduled;
      // A token that a decode took counts as scheduled already.
      if (seq.pendingSamples === 0 && todo > 0) left -= this.add(seq, todo, left);
    }
    return left;
  }

  /** A prompt too long for one step leaves half of the budget to those behind it. It gets back what they do not use. */
  add(seq: Sequence, todo: number, left: number): number {
    const share = todo > this.maxStepTokens ? Math.ceil(left / 2) : left;
    const count = Math.min(seq.chunkLimit, share);
    this.seqs.push(seq);
    this.counts.push(count);
    return count;
  }

  shareLeftover(budget: number): void {
    let left = budget;
    for (let i = 0; i < this.seqs.length && left > 0; i++) {
      const extra = Math.min(this.seqs[i]!.chunkLimit - this.counts[i]!, left);
      this.counts[i]! += extra;
      left -= extra;
    }
  }

  /** The chunks, those of one token first: they stand with the decodes, which also have one. */
  *chosen(): Generator<[seq: Sequence, count: number]> {
    const { seqs, counts } = this;
    for (let i = 0; i < seqs.length; i++) if (counts[i] === 1) yield [seqs[i]!, 1];
    for (let i = 0; i < seqs.length; i++) if (counts[i]! > 1) yield [seqs[i]!, counts[i]!];
  }
}
