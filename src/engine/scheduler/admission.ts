/**
 * Admission answers one question: may this waiting sequence start now? It may when three things hold. The pool is expected to
 * hold its pages, and those it will add, beside those of the running sequences until they end. The tile of the batch that
 * it would open, if any, is worth its time. Enough steps have passed since the last start.
 *
 * Staggered starts: sequences that grow side by side fill the pool only at their end. Sequences that start one after another
 * keep it full all the time, so more of them run. But while starts are spread out, and later the ends, fewer run. So starts
 * are spread no further than the pool demands.
 */
import { FG } from "../../ffi/layout.ts";
import { PAGE_TOKENS, type PageCache, type PageNode, pagesFor } from "../pages/page-cache.ts";
import type { Sequence } from "../sequences/sequence.ts";
import type { OutputEstimate } from "./output-estimate.ts";
import { PoolForecast } from "./pool-forecast.ts";
import { STEP_TILE, WORTH_A_TILE } from "./step-size.ts";

/**
 * Pages that the forecast counts on, per page that exists. Recomputing a few of the youngest sequences costs less than
 * decoding in smaller batches so that it never happens.
 */
const OVERCOMMIT = 1.05;
/** A sequence with fewer outputs than this counts as young. */
export const YOUNG_TOKENS = 128;
/** How many of the waiting sequences are looked at, as a sample of all, to decide how far apart to start them. */
const SAMPLE = 128;

export class Admission {
  private readonly pool: PoolForecast;
  /** Pages that the young sequences in the forecast have yet to add. */
  private youngGrowth = 0;
  /** No further sequence starts while youngGrowth is above this. Null until it is needed. */
  private youngLimit: number | null = null;
  /** Prompt tokens yet to be computed, summed over the sequences in the forecast. */
  private backlog = 0;

  /** `running` and `waiting` are the scheduler's own lists. */
  constructor(
    private readonly limits: { readonly maxSeqs: number; readonly maxStepTokens: number },
    private readonly cache: PageCache,
    private readonly estimate: OutputEstimate,
    private readonly running: readonly Sequence[],
    private readonly waiting: readonly Sequence[],
  ) {
    this.pool = new PoolForecast(limits.maxSeqs + WORTH_A_TILE);
  }

  /** Starts a new forecast, of the running sequences. Call it once per step, before the first admits(). */
  refresh(): void {
    this.pool.clear();
    this.backlog = this.youngGrowth = 0;
    this.youngLimit = null;
    for (const seq of this.running) {
      this.addSequence(seq, seq.scheduled, seq.pages.length, seq.pages.length - this.sharedPages(seq));
    }
  }

  /** Whether the waiting sequence `seq`, which finds `nodes` cached, may start. If so, it joins the forecast. */
  admits(seq: Sequence, nodes: readonly PageNode[]): boolean {
    return this.fits(seq, nodes) && this.fillsTile(seq, nodes);
  }

  /** Whether the pool has the pages that a waiting sequence needs now and is expected to need later. Adds it to the forecast. */
  private fits(seq: Sequence, nodes: readonly PageNode[]): boolean {
    const { cache, youngGrowth } = this;
    const newPages = this.addWaiting(seq, nodes, 1);
    if (newPages > cache.available) return false;
    // Alone it always fits, because the context is no longer than the pool.
    if (this.running.length === 0) return true;
    if (!this.pagesLast(newPages)) return false;
    this.youngLimit ??= this.limitYoung(newPages / pagesFor(seq.target));
    return youngGrowth < this.youngLimit || this.allFit();
  }

  /**
   * Whether the tile that a sequence would open, if it opens one, will be filled well enough: whether the pool would hold
   * enough other sequences like it, which wait now or arrive later. Leaves the forecast as it was.
   */
  private fillsTile(seq: Sequence, nodes: readonly PageNode[]): boolean {
    const { length } = this.running;
    if (length === 0 || length % STEP_TILE !== 0) return true;
    const newPages = this.addWaiting(seq, nodes, WORTH_A_TILE - 1);
    const isWorthIt = this.pagesLast(newPages * WORTH_A_TILE);
    this.refresh();
    this.addWaiting(seq, nodes, 1);
    return isWorthIt;
  }

  /** Whether all waiting sequences would fit at full length beside the sequences in the forecast. */
  private allFit(): boolean {
    let left = this.cache.pages - this.cache.referenced - this.pool.growth;
    for (let i = 0; i < this.waiting.length && left >= 0; i++) {
      const { request, outputs, promptLength } = this.waiting[i]!;
      left -= pagesFor(promptLength + this.estimate.expected(request.maxTokens, outputs));
    }
    return left >= 0;
  }

  /** Whether the pages last for the whole forecast when its waiting sequences take `newPages` unused pages now. */
  private pagesLast(newPages: number): boolean {
    const { cache } = this;
    return this.pool.fits(cache.referenced + newPages, Math.floor(cache.pages * OVERCOMMIT));
  }

  /** youngLimit() for this queue. `unshared`: of a waiting sequence's first pages, the fraction that no other one uses. */
  private limitYoung(unshared: number): number {
    const sample = this.waiting.slice(0, SAMPLE);
    const starters = sample.map(({ request, outputs, target }, i) => {
      const longest = this.estimate.expected(request.maxTokens, outputs) - outputs;
      // Some will end early, but it is not known which. Without stop ids none can.
      const least = request.stopIds.length === 0 ? 1 : this.estimate.leastShare(request.maxTokens);
      return { start: target * unshared, growth: longest * (least + ((1 - least) * (i + 0.5)) / sample.length) };
    });
    const most = Math.min(this.limits.maxSeqs, this.running.length + this.waiting.length);
    return youngLimit(starters, this.cache.pages, most);
  }

  /** Adds a waiting sequence to the forecast `count` times. Returns how many unused pages it takes when it starts. */
  private addWaiting(seq: Sequence, nodes: readonly PageNode[], count: number): number {
    const pages = pagesFor(seq.target);
    let inUse = 0;
    for (const node of nodes) if (node.page >= 0 && this.cache.refs[node.page]! > 0) inUse++;
    for (let i = 0; i < count; i++) this.addSequence(seq, nodes.length * PAGE_TOKENS, pages, pages - inUse);
    return pages - inUse;
  }

  /** Adds a sequence that has `scheduled` tokens and `pages`, of which `freed` become free when it ends. */
  private addSequence(seq: Sequence, scheduled: number, pages: number, freed: number): void {
    const todo = seq.pendingSamples > 0 ? 0 : seq.target - scheduled;
    this.backlog += todo;
    // Prompts are computed one after another, from the budget that decoding leaves. A long prompt gets half of it.
    const { maxStepTokens } = this.limits;
    const prefillTokens = Math.max(1, maxStepTokens - this.running.length) / (todo > maxStepTokens ? 2 : 1);
    // An end is noticed when its step is committed. By then the next steps are planned.
    const delay = FG.STEPS_IN_FLIGHT + (todo > 0 ? Math.ceil(this.backlog / prefillTokens) : 0);
    const kv = scheduled + todo;
    const outputs = seq.outputs + seq.pendingSamples;
    const expected = this.estimate.expected(seq.request.maxTokens, outputs);
    if (outputs < YOUNG_TOKENS) this.youngGrowth += (expected - outputs) / PAGE_TOKENS;
    const final = seq.promptLength + expected - 1;
    const slack = Math.max(0, Math.min(pages * PAGE_TOKENS - kv, PAGE_TOKENS - 1));
    this.pool.add(Math.max(0, final - kv), delay, slack, freed);
  }

  /** Pages of a running sequence that others refer to too. They come first, so a binary search finds where they end. */
  private sharedPages(seq: Sequence): number {
    let low = 0;
    let high = seq.pages.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.cache.refs[seq.pages[middle]!]! > 1) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** A waiting sequence, in tokens: what it takes when it starts, and what it is expected to add, one per step. */
export interface Starter {
  start: number;
  growth: number;
}

/**
 * The most pages that young sequences may have yet to add when another sequence starts, while more wait than fit. Infinity:
 * all may start side by side. `waiting`: the sequences to start, or a sample of them; `pages`: of the pool; `most`: the
 * number of sequences that can run at once.
 *
 * The number to run is what the pool holds when ages are evenly mixed, rounded down to whole tiles: past the edge of a tile
 * the step takes longer by as much as it does more. With starts spread over `steps` steps, the youngest is `steps` behind
 * the oldest. When the oldest ends, each sequence holds `steps / 2` tokens less, on average, than it ever will.
 */
export function youngLimit(waiting: readonly Starter[], pages: number, most: number): number {
  let [starts, growths, squares, products, youths] = [0, 0, 0, 0, 0];
  for (const { start, growth } of waiting) {
    starts += start + PAGE_TOKENS / 2; // half of the last page is empty
    growths += growth;
    squares += growth * growth;
    products += (start + PAGE_TOKENS / 2) * growth;
    const young = Math.min(growth, YOUNG_TOKENS);
    youths += young * (growth - young / 2);
  }
  const count = waiting.length;
  const pool = pages * PAGE_TOKENS;
  // Each sequence is weighted by how long it runs.
  const mixed = Math.min(most, (pool * growths) / (products + squares / 2));
  const running = mixed < STEP_TILE ? mixed : mixed - (mixed % STEP_TILE);
  // The most that a sequence holds if all start at once: those that end early make room for the others.
  let sideBySide = 0;
  const longestFirst = waiting.map(({ growth }) => growth).sort((a, b) => b - a);
  for (const [i, growth] of longestFirst.entries()) {
    sideBySide = Math.max(sideBySide, ((i + 1) / count) * (starts / count + growth));
  }
  const steps = Math.min(growths / count, 2 * (sideBySide - pool / running));
  if (!(steps > 0)) return Number.POSITIVE_INFINITY;
  // Starts per step, times the steps during which a sequence is young, times the pages that it has yet to add meanwhile.
  return ((running / steps) * youths) / count / PAGE_TOKENS;
}
