/**
 * Whether a waiting sequence may start: whether its pages, and those that it will add, will last beside those of the
 * sequences that run. Forecasts the pool (admission.ts) from what is running.
 */
import { FG } from "../ffi/layout.ts";
import { GrowthForecast, type OutputEstimate, OVERCOMMIT } from "./admission.ts";
import { PAGE_TOKENS, type PageCache, type PageNode, pagesFor } from "./blocks.ts";
import type { Sequence } from "./sequence.ts";
import { YOUNG_TOKENS, youngLimit } from "./stagger.ts";
import { STEP_TILE, WORTH_A_TILE } from "./step-size.ts";

/** Waiting sequences that stand for all, when it is asked how far apart they should start. */
const SAMPLE = 128;

export class PageForecast {
  private readonly pool: GrowthForecast;
  /** Pages that young sequences in the forecast are still to add, and that they may be before another starts. */
  private youngGrowth = 0;
  private youngLimit: number | null = null;
  /** Prompt tokens to compute, of the sequences in the forecast. */
  private backlog = 0;

  /** `running` and `waiting` are the scheduler's own lists. */
  constructor(
    private readonly limits: { readonly maxSeqs: number; readonly maxStepTokens: number },
    private readonly cache: PageCache,
    private readonly estimate: OutputEstimate,
    private readonly running: readonly Sequence[],
    private readonly waiting: readonly Sequence[],
  ) {
    this.pool = new GrowthForecast(limits.maxSeqs + WORTH_A_TILE);
  }

  /** Whether a waiting sequence, which would begin with the cached pages `nodes`, may start. It is in the forecast then. */
  admits(seq: Sequence, nodes: readonly PageNode[]): boolean {
    return this.fits(seq, nodes) && this.fillsTile(seq, nodes);
  }

  /** Looks at the running sequences anew. */
  refresh(): void {
    this.pool.clear();
    this.backlog = this.youngGrowth = 0;
    this.youngLimit = null;
    for (const seq of this.running) {
      this.addSequence(seq, seq.scheduled, seq.pages.length, seq.pages.length - this.sharedPages(seq));
    }
  }

  /** A sequence with `scheduled` tokens and `pages`; of those, `own` are free once it has ended. */
  private addSequence(seq: Sequence, scheduled: number, pages: number, own: number): void {
    const todo = seq.pendingSamples > 0 ? 0 : seq.target - scheduled;
    this.backlog += todo;
    // Prompts are computed one after the other from what decoding leaves of the budget; long ones get half of it.
    const { maxStepTokens } = this.limits;
    const prefillTokens = Math.max(1, maxStepTokens - this.running.length) / (todo > maxStepTokens ? 2 : 1);
    // An end is noticed when its step is committed, by when the next ones are planned.
    const delay = FG.STEPS_IN_FLIGHT + (todo > 0 ? Math.ceil(this.backlog / prefillTokens) : 0);
    const kv = scheduled + todo;
    const outputs = seq.outputs + seq.pendingSamples;
    const expected = this.estimate.expected(seq.request.maxTokens, outputs);
    if (outputs < YOUNG_TOKENS) this.youngGrowth += (expected - outputs) / PAGE_TOKENS;
    const final = seq.promptLength + expected - 1;
    const slack = Math.max(0, Math.min(pages * PAGE_TOKENS - kv, PAGE_TOKENS - 1));
    this.pool.add(Math.max(0, final - kv), delay, slack, own);
  }

  /** Pages that others refer to as well. They are the first ones of a sequence, so a binary search finds their end. */
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

  /** Adds `count` times a waiting sequence to the forecast. Returns the pages that each takes of those not in use. */
  private addWaiting(seq: Sequence, nodes: readonly PageNode[], count: number): number {
    const pages = pagesFor(seq.target);
    let inUse = 0;
    for (const node of nodes) if (node.page >= 0 && this.cache.refs[node.page]! > 0) inUse++;
    for (let i = 0; i < count; i++) this.addSequence(seq, nodes.length * PAGE_TOKENS, pages, pages - inUse);
    return pages - inUse;
  }

  /** Whether the pages last for all in the forecast, when those of them that wait take `more` at once. */
  private pagesLast(more: number): boolean {
    const { cache } = this;
    return this.pool.fits(cache.referenced + more, Math.floor(cache.pages * OVERCOMMIT));
  }

  /** Whether a waiting sequence can have its pages now and is expected to find those that it will need. Adds it if so. */
  private fits(seq: Sequence, nodes: readonly PageNode[]): boolean {
    const { cache, youngGrowth } = this;
    const more = this.addWaiting(seq, nodes, 1);
    if (more > cache.available) return false;
    // Alone it always fits: the context is bounded by the pool.
    if (this.running.length === 0) return true;
    if (!this.pagesLast(more)) return false;
    this.youngLimit ??= this.limitYoung(more / pagesFor(seq.target));
    return youngGrowth < this.youngLimit || this.allFit();
  }

  /** See stagger.ts. `own`: the share of a waiting sequence's first pages that no other has. */
  private limitYoung(own: number): number {
    const sample = this.waiting.slice(0, SAMPLE);
    const growers = sample.map(({ request, outputs, target }, i) => {
      const longest = this.estimate.expected(request.maxTokens, outputs) - outputs;
      // Who will be short is not known, only that some will; without stop ids none can.
      const least = request.stopIds.length === 0 ? 1 : this.estimate.leastShare(request.maxTokens);
      return { start: target * own, growth: longest * (least + ((1 - least) * (i + 0.5)) / sample.length) };
    });
    const most = Math.min(this.limits.maxSeqs, this.running.length + this.waiting.length);
    return youngLimit(growers, this.cache.pages, most);
  }

  /**
   * Whether a sequence that fits is worth the tile that it would begin, if it begins one: the pages would last for enough
   * others like it, be they there or still to come. Leaves the forecast as it was.
   */
  private fillsTile(seq: Sequence, nodes: readonly PageNode[]): boolean {
    const { length } = this.running;
    if (length === 0 || length % STEP_TILE !== 0) return true;
    const more = this.addWaiting(seq, nodes, WORTH_A_TILE - 1);
    const worth = this.pagesLast(more * WORTH_A_TILE);
    this.refresh();
    this.addWaiting(seq, nodes, 1);
    return worth;
  }

  /** Whether all that wait would fit at full length beside those in the forecast. */
  private allFit(): boolean {
    let left = this.cache.pages - this.cache.referenced - this.pool.growth;
    for (let i = 0; i < this.waiting.length && left >= 0; i++) {
      const { request, outputs, promptLength } = this.waiting[i]!;
      left -= pagesFor(promptLength + this.estimate.expected(request.maxTokens, outputs));
    }
    return left >= 0;
  }
}
