/** What it costs to bring a page back from the host, and what it costs to compute its tokens again: both as measured. */
import { PAGE_TOKENS } from "./page-cache.ts";

/** How much the newest measurement counts. */
const WEIGHT = 0.2;
/** While computing is cheaper, every so many sequences one is restored all the same, so that the cost is measured again. */
const TRY_EVERY = 64;

export class RestoreCosts {
  /** Seconds for a page; null before the first measurement. */
  private restoring: number | null = null;
  private computing: number | null = null;
  private untried = 0;

  /** `maxStepTokens`: of a step that is as full as can be. Emptier ones say little of the cost of a token. */
  constructor(private readonly maxStepTokens: number) {}

  restored(pages: number, seconds: number): void {
    if (pages > 0 && seconds > 0) this.restoring = mixed(this.restoring, seconds / pages);
  }

  computed(tokens: number, seconds: number): void {
    if (seconds <= 0 || 2 * tokens < this.maxStepTokens) return;
    this.computing = mixed(this.computing, (seconds / tokens) * PAGE_TOKENS);
  }

  /** Whether pages that a sequence finds on the host are worth the copy. */
  pays(): boolean {
    if (this.restoring === null || this.computing === null || this.restoring < this.computing) return true;
    this.untried = (this.untried + 1) % TRY_EVERY;
    return this.untried === 0;
  }
}

function mixed(old: number | null, measured: number): number {
  return old === null ? measured : old + WEIGHT * (measured - old);
}
