/**
 * Looking ahead: a sequence is admitted when its pages will last beside those of the sequences that run, until they end.
 * How long they run is known up to max_tokens; where that is far more than such requests really use, recent ones say how
 * much that is.
 */
import { PAGE_TOKENS } from "./blocks.ts";

/** Outputs assumed of a request with a larger max_tokens while too few like it have ended to know better. */
const COLD_OUTPUTS = 2048;
/** Ends needed before a class of requests is believed. */
const ENOUGH_ENDS = 16;
/** Weight of the newest end in the averages. */
const NEWEST = 1 / 32;
const MAX_CAUTION = 16;

/** How many tokens a request will generate: by classes of max_tokens, a factor of two wide. */
export class OutputEstimate {
  private readonly ends = new Float64Array(32);
  private readonly mean = new Float64Array(32);
  private readonly deviation = new Float64Array(32);
  /** Deviations above the mean to assume. Doubles when pages ran out, and falls back slowly. */
  private caution = 1;

  ended(maxTokens: number, outputs: number): void {
    const c = classOf(maxTokens);
    const weight = Math.max(NEWEST, 1 / ++this.ends[c]!);
    const error = outputs - this.mean[c]!;
    this.mean[c]! += weight * error;
    this.deviation[c]! += weight * (Math.abs(error) - this.deviation[c]!);
    this.caution = Math.max(1, this.caution * 0.98);
  }

  ranOut(): void {
    this.caution = Math.min(MAX_CAUTION, this.caution * 2);
  }

  /** Tokens that a request will have generated when it ends; it has `outputs` now. */
  expected(maxTokens: number, outputs: number): number {
    const c = classOf(maxTokens);
    const usual =
      this.ends[c]! < ENOUGH_ENDS
        ? COLD_OUTPUTS * this.caution
        : this.mean[c]! + (1 + this.caution) * this.deviation[c]!;
    // One that has outlived the estimate is expected to go on for half as long again.
    return Math.min(maxTokens, Math.ceil(Math.max(usual, outputs * 1.5 + PAGE_TOKENS)));
  }
}

function classOf(maxTokens: number): number {
  return 31 - Math.clz32(Math.max(1, maxTokens));
}

/** Sequences that grow by one token a step each, until they end: does the pool hold them at every moment? */
export class GrowthForecast {
  private count = 0;
  /** Sum of pages if nobody ended before all had reached their full length. */
  private peakBound = 0;
  private readonly remaining: Int32Array;
  private readonly slack: Uint8Array;
  private readonly own: Int32Array;
  private readonly order: Float64Array;
  private readonly bySlack = new Int32Array(PAGE_TOKENS);

  constructor(maxSequences: number) {
    this.remaining = new Int32Array(maxSequences + 1);
    this.slack = new Uint8Array(maxSequences + 1);
    this.own = new Int32Array(maxSequences + 1);
    this.order = new Float64Array(maxSequences + 1);
  }

  clear(): void {
    this.count = 0;
    this.peakBound = 0;
  }

  /** A sequence whose `pages` have room for `slack` more tokens, that will compute `remaining` more, and frees `own` at its end. */
  add(remaining: number, slack: number, own: number): void {
    const i = this.count++;
    this.remaining[i] = remaining;
    this.slack[i] = slack;
    this.own[i] = own;
    this.peakBound += growth(remaining, slack);
  }

  removeLast(): void {
    const i = --this.count;
    this.peakBound -= growth(this.remaining[i]!, this.slack[i]!);
  }

  /** Whether `pages` suffice, of which `used` are in use now. */
  fits(used: number, pages: number): boolean {
    if (used > pages) return false;
    if (used + this.peakBound <= pages) return true;
    // Usage only rises between ends, so it is enough to look just before each one. Sequences with equal slack grow alike.
    const { count, order, bySlack } = this;
    bySlack.fill(0);
    for (let i = 0; i < count; i++) {
      bySlack[this.slack[i]!]!++;
      order[i] = this.remaining[i]! * 65536 + i;
    }
    order.subarray(0, count).sort();
    let held = used;
    for (let k = 0; k < count; k++) {
      const i = order[k]! % 65536;
      const steps = this.remaining[i]!;
      let grown = 0;
      for (let s = 0; s < PAGE_TOKENS; s++) grown += bySlack[s]! * growth(steps, s);
      if (held + grown > pages) return false;
      held -= this.own[i]!;
      bySlack[this.slack[i]!]!--;
    }
    return true;
  }
}

/** Pages that `tokens` more need when `slack` of them still fit. */
function growth(tokens: number, slack: number): number {
  return tokens <= slack ? 0 : Math.ceil((tokens - slack) / PAGE_TOKENS);
}
