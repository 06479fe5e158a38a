/**
 * How many tokens a request will generate. max_tokens is an upper bound. Where requests usually stop far below it, those
 * that ended recently show how far.
 */
import { PAGE_TOKENS } from "../pages/page-cache.ts";

/** Outputs assumed for a request with a larger max_tokens while too few requests like it have ended. */
const COLD_OUTPUTS = 2048;
/** Ends in a class of requests before its averages are used. */
const ENOUGH_ENDS = 16;
/** Weight of the newest end in the averages. */
const NEWEST = 1 / 32;
const MAX_CAUTION = 16;

/**
 * Averages the share of max_tokens that recent requests used, in classes of max_tokens a factor of two wide: short limits
 * tend to be reached, long ones do not.
 */
export class OutputEstimate {
  private readonly ends = new Float64Array(32);
  private readonly mean = new Float64Array(32);
  private readonly deviation = new Float64Array(32);
  /** How many mean deviations above the mean to assume. Doubles when pages run out, and falls back slowly. */
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

  /** The number of tokens that a request is expected to have generated when it ends. It has generated `outputs` so far. */
  expected(maxTokens: number, outputs: number): number {
    const c = classOf(maxTokens);
    const usual =
      this.ends[c]! < ENOUGH_ENDS
        ? COLD_OUTPUTS * this.caution
        : maxTokens * (this.mean[c]! + this.caution * this.deviation[c]!);
    // A request that has outlived the estimate is expected to go on for half as long again.
    return Math.min(maxTokens, Math.ceil(Math.max(usual, outputs * 1.5 + PAGE_TOKENS)));
  }

  /** The length of a short output, as a share of the expected length. 0 while too few requests like it have ended. */
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
