/**
 * What it costs to bring a page back, and what it costs to compute its tokens again: both as measured. Until a page has come back, it is
 * taken to cost what it costs to save one.
 */
import { PAGE_TOKENS } from "../pages/page-cache.ts";

/** How much the newest measurement counts. */
const WEIGHT = 0.2;
/** Copies also hold up what is computed beside them. So they must take no more than this share of the time. See simulate-turns.ts. */
const WORTH = 2 / 3;
/** Steps after which copies that cost too much are tried again: what made them slow may be over. */
const TRY_AFTER = 1024;

export class RestoreCosts {
  /** Seconds for a page; null before the first measurement. */
  private restoring: number | null = null;
  private saving: number | null = null;
  private computing: number | null = null;
  /** Steps in which copies cost too much. */
  private steps = 0;

  /** `maxStepTokens`: of a step that is as full as can be. Emptier ones say little of the cost of a token. */
  constructor(private readonly maxStepTokens: number) {}

  restored(pages: number, seconds: number): void {
    if (pages > 0 && seconds > 0) this.restoring = mixed(this.restoring, seconds / pages);
  }

  saved(pages: number, seconds: number): void {
    if (pages > 0 && seconds > 0) this.saving = mixed(this.saving, seconds / pages);
  }

  /** A step of so many tokens is over. */
  computed(tokens: number, seconds: number): void {
    if (seconds > 0 && 2 * tokens >= this.maxStepTokens)
      this.computing = mixed(this.computing, (seconds / tokens) * PAGE_TOKENS);
    this.steps = this.pays() ? 0 : this.steps + 1;
    if (this.steps < TRY_AFTER) return;
    this.restoring = this.saving = null;
    this.steps = 0;
  }

  /** Whether pages are worth their copies. */
  pays(): boolean {
    const copying = this.restoring ?? this.saving;
    return copying === null || this.computing === null || copying < WORTH * this.computing;
  }
}

function mixed(old: number | null, measured: number): number {
  return old === null ? measured : old + WEIGHT * (measured - old);
}
