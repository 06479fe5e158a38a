/** One step's chunks while they are chosen, of prompts and of forced tokens: which sequences compute how many of their known tokens. */
import type { Sequence } from "../sequences/sequence.ts";
import { backlogForAll, forcedTokens } from "./step-size.ts";

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

  /**
   * Begins another step with the running sequences whose known tokens are not all computed. A forced run gets one token, as if it
   * were sampled, and more only of what prompts leave: else first tokens would wait for it. Returns what is left of the budget.
   */
  choose(running: readonly Sequence[], budget: number): number {
    this.seqs.length = this.counts.length = 0;
    const left = this.addKnown(running, true, budget);
    return this.addKnown(running, false, left);
  }

  /** Adds those whose known tokens are forced, or all others. */
  private addKnown(running: readonly Sequence[], forced: boolean, budget: number): number {
    let left = budget;
    for (const seq of running) {
      if (left === 0) break;
      const todo = seq.target - seq.scheduled;
      // A token that a decode took counts as scheduled already.
      if (seq.pendingSamples > 0 || todo === 0 || seq.isForced !== forced) continue;
      left -= this.add(seq, todo, forced ? 1 : left);
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

  /** Gives what is left of the budget to prompts that were cut, and then to forced runs. `decodes`: the step's other tokens. */
  shareLeftover(budget: number, decodes: number): void {
    const left = this.lengthen(false, budget);
    let tokens = decodes;
    let wanted = 0;
    for (const [i, seq] of this.seqs.entries()) {
      tokens += this.counts[i]!;
      if (seq.isForced) wanted += seq.chunkLimit - this.counts[i]!;
    }
    this.lengthen(true, forcedTokens(tokens, Math.min(left, wanted)));
  }

  private lengthen(forced: boolean, budget: number): number {
    let left = budget;
    for (let i = 0; i < this.seqs.length && left > 0; i++) {
      const seq = this.seqs[i]!;
      if (seq.isForced !== forced) continue;
      const extra = Math.min(seq.chunkLimit - this.counts[i]!, left);
      this.counts[i]! += extra;
      left -= extra;
    }
    return left;
  }

  /** The chunks, those of one token first: they stand with the decodes, which also have one. */
  *chosen(): Generator<[seq: Sequence, count: number]> {
    const { seqs, counts } = this;
    for (let i = 0; i < seqs.length; i++) if (counts[i] === 1) yield [seqs[i]!, 1];
    for (let i = 0; i < seqs.length; i++) if (counts[i]! > 1) yield [seqs[i]!, counts[i]!];
  }
}
