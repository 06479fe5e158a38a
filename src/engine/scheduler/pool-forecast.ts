/**
 * The pool of device pages over time. Sequences grow by one token per step and give their pages back when they end. Does the
 * pool hold them at every moment until then?
 */
import { PAGE_TOKENS } from "../pages/page-cache.ts";

export class PoolForecast {
  private count = 0;
  /** Pages that all sequences would add if none ended before all had reached their full length. */
  private totalGrowth = 0;
  private readonly remaining: Int32Array;
  private readonly end: Int32Array;
  private readonly slack: Uint8Array;
  private readonly freed: Int32Array;
  private readonly events: Float64Array;
  private readonly growing = new Int32Array(PAGE_TOKENS);

  constructor(maxSequences: number) {
    const room = maxSequences + 1;
    this.remaining = new Int32Array(room);
    this.end = new Int32Array(room);
    this.slack = new Uint8Array(room);
    this.freed = new Int32Array(room);
    this.events = new Float64Array(2 * room);
  }

  /** Pages that the sequences of the forecast would add if none ended before all had reached their full length. */
  get growth(): number {
    return this.totalGrowth;
  }

  clear(): void {
    this.count = 0;
    this.totalGrowth = 0;
  }

  /**
   * Adds a sequence that will compute `remaining` more tokens, of which `slack` fit in the pages that it has, and that ends
   * `delay` steps after the last of them. `freed` of the pages that it has now are free then.
   */
  add(remaining: number, delay: number, slack: number, freed: number): void {
    const i = this.count++;
    this.remaining[i] = remaining;
    this.end[i] = remaining + delay;
    this.slack[i] = slack;
    this.freed[i] = freed;
    this.totalGrowth += growth(remaining, slack);
  }

  /** Whether `pages` suffice, of which `used` are in use now. */
  fits(used: number, pages: number): boolean {
    if (used > pages) return false;
    if (used + this.totalGrowth <= pages) return true;
    // Usage only rises between ends, so it is enough to look just before each end. Sequences that still grow are counted by
    // their slack: how far they have grown depends on nothing else.
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
      held -= full + this.freed[i]!;
    }
    return true;
  }

  /** In order of time: step * EVENT_STRIDE + 2 * sequence, plus 1 when it ends and 0 when it stops growing. */
  private sortedEvents(): Float64Array {
    for (let i = 0; i < this.count; i++) {
      this.events[2 * i] = this.remaining[i]! * EVENT_STRIDE + 2 * i;
      this.events[2 * i + 1] = this.end[i]! * EVENT_STRIDE + 2 * i + 1;
    }
    return this.events.subarray(0, 2 * this.count).sort();
  }
}

const EVENT_STRIDE = 2 ** 20;

/** Pages that `tokens` more tokens need when `slack` of them still fit. */
function growth(tokens: number, slack: number): number {
  return tokens <= slack ? 0 : Math.ceil((tokens - slack) / PAGE_TOKENS);
}
