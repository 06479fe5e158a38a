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

/**
 * Pages that the forecast counts on, for each that there is: computing a few of the youngest sequences again costs less
 * than decoding in smaller batches so that it never happens.
 */
export const OVERCOMMIT = 1.05;

/**
 * How many tokens a request will generate: the share of max_tokens that recent requests used, by classes of max_tokens a
 * factor of two wide (short limits tend to be reached, long ones not).
 */
export class OutputEstimate {
  private readonly ends = new Float64Array(32);
  private readonly mean = new Float64Array(32);
  private readonly deviation = new Float64Array(32);
  /** Mean deviations above the mean to assume. Doubles when pages ran out, and falls back slowly. */
  private caution = 1;

  ended(maxTokens: number, outputs: number): void {
    if (maxTokens === 0) return;
    const c = classOf(maxTokens);
    const weight = Math.max(NEWEST, 1 / ++this.ends[c]!);
    const error = outputs / maxTokens - this.mean[c]!;
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
        : maxTokens * (this.mean[c]! + this.caution * this.deviation[c]!);
    // One that has outlived the estimate is expected to go on for half as long again.
    return Math.min(maxTokens, Math.ceil(Math.max(usual, outputs * 1.5 + PAGE_TOKENS)));
  }

  /** Of the tokens expected of such requests, the share that a short one has; 0 while too few have ended to know. */
  leastShare(maxTokens: number): number {
    const c = classOf(maxTokens);
    if (this.ends[c]! < ENOUGH_ENDS) return 0;
    const [mean, deviation] = [this.mean[c]!, this.deviation[c]!];
    return Math.max(0, mean - deviation) / (mean + this.caution * deviation);
  }
}

function classOf(maxTokens: number): number {
  return 31 - Math.clz32(Math.max(1, maxTokens));
}

/**
 * Sequences that grow by one token a step each and give their pages back at their end: does the pool hold them at every
 * moment until then?
 */
export class GrowthForecast {
  private count = 0;
  /** Pages that all would add if nobody ended before all had reached their full length. */
  private totalGrowth = 0;
  private readonly remaining: Int32Array;
  private readonly end: Int32Array;
  private readonly slack: Uint8Array;
  private readonly own: Int32Array;
  private readonly events: Float64Array;
  private readonly growing = new Int32Array(PAGE_TOKENS);

  constructor(maxSequences: number) {
    const room = maxSequences + 1;
    this.remaining = new Int32Array(room);
    this.end = new Int32Array(room);
    this.slack = new Uint8Array(room);
    this.own = new Int32Array(room);
    this.events = new Float64Array(2 * room);
  }

  /** Pages that all sequences added would still add if nobody ended before. */
  get growth(): number {
    return this.totalGrowth;
  }

  clear(): void {
    this.count = 0;
    this.totalGrowth = 0;
  }

  /**
   * A sequence that will compute `remaining` more tokens, of which `slack` fit in the pages that it has, and that ends
   * `delay` steps later than those take. `own` of the pages it has are then free.
   */
  add(remaining: number, delay: number, slack: number, own: number): void {
    const i = this.count++;
    this.remaining[i] = remaining;
    this.end[i] = remaining + delay;
    this.slack[i] = slack;
    this.own[i] = own;
    this.totalGrowth += growth(remaining, slack);
  }

  /** Whether `pages` suffice, of which `used` are in use now. */
  fits(used: number, pages: number): boolean {
    if (used > pages) return false;
    if (used + this.totalGrowth <= pages) return true;
    // Usage only rises between ends, so it is enough to look just before each. Those that still grow are told apart by
    // their slack alone: how far they have grown depends on nothing else.
    const { growing, slack, remaining } = this;
    growing.fill(0);
    for (let i = 0; i < this.count; i++) growing[slack[i]!]!++;
    let held = used;
    for (const event of this.sortedEvents()) {
      const i = (event % EVENT_STRIDE) >> 1;
      const full = growth(remaining[i]!, slack[i]!);
      if (event % 2 === 0) {
        growing[slack[i]!]!--;
        held += full;
        continue;
      }
      const step = Math.floor(event / EVENT_STRIDE);
      let grown = 0;
      for (let s = 0; s < PAGE_TOKENS; s++) grown += growing[s]! * growth(step, s);
      if (held + grown > pages) return false;
      held -= full + this.own[i]!;
    }
    return true;
  }

  /** In order of time: step * EVENT_STRIDE + 2 * sequence, + 1 when it ends, + 0 when it stops to grow. */
  private sortedEvents(): Float64Array {
    for (let i = 0; i < this.count; i++) {
      this.events[2 * i] = this.remaining[i]! * EVENT_STRIDE + 2 * i;
      this.events[2 * i + 1] = this.end[i]! * EVENT_STRIDE + 2 * i + 1;
    }
    return this.events.subarray(0, 2 * this.count).sort();
  }
}

const EVENT_STRIDE = 2 ** 20;

/** Pages that `tokens` more need when `slack` of them still fit. */
function growth(tokens: number, slack: number): number {
  return tokens <= slack ? 0 : Math.ceil((tokens - slack) / PAGE_TOKENS);
}
