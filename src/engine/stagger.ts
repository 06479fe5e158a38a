/**
 * Staggered starts. Sequences that grow side by side fill the pool only at their end; those that start one after the other
 * fill it always, so that more of them run. But as long as starts are spread, and ends in their turn, fewer run: so they are
 * spread no further than must be. Pure: numbers in, numbers out.
 */
import { PAGE_TOKENS } from "./blocks.ts";
import { STEP_TILE } from "./step-size.ts";

/** A sequence that waits: tokens that it takes at its start, and that it is expected to add, one a step. */
export interface Grower {
  start: number;
  growth: number;
}

/** A sequence with fewer new tokens counts as young. */
export const YOUNG_TOKENS = 128;

/**
 * While more wait than fit: pages that young sequences may at most be about to add when another one starts. Infinity: all
 * may start side by side. `waiting`: those to start, or some that stand for them; `pages` of the pool; `most`: sequences
 * that can run at once.
 *
 * As many shall run as the pool holds when their ages are evenly mixed, or rather whole tiles of them, since past a tile's
 * edge a product takes longer for as much longer as it does more. With starts spread over `steps` steps the youngest is
 * `steps` behind the oldest, and when that one ends they hold `steps / 2` tokens each less than they do at most.
 */
export function youngLimit(waiting: readonly Grower[], pages: number, most: number): number {
  let [starts, growths, squares, products, youths] = [0, 0, 0, 0, 0];
  for (const { start, growth } of waiting) {
    starts += start + PAGE_TOKENS / 2; // of the last page, half is empty
    growths += growth;
    squares += growth * growth;
    products += (start + PAGE_TOKENS / 2) * growth;
    const young = Math.min(growth, YOUNG_TOKENS);
    youths += young * (growth - young / 2);
  }
  const count = waiting.length;
  const pool = pages * PAGE_TOKENS;
  // A sequence counts for as long as it runs.
  const mixed = Math.min(most, (pool * growths) / (products + squares / 2));
  const running = mixed < STEP_TILE ? mixed : mixed - (mixed % STEP_TILE);
  // What each holds at most if all start at once: those that end early make room for the others.
  let sideBySide = 0;
  const longestFirst = waiting.map(({ growth }) => growth).sort((a, b) => b - a);
  for (const [i, growth] of longestFirst.entries()) {
    sideBySide = Math.max(sideBySide, ((i + 1) / count) * (starts / count + growth));
  }
  const steps = Math.min(growths / count, 2 * (sideBySide - pool / running));
  if (!(steps > 0)) return Number.POSITIVE_INFINITY;
  // Starts a step, times the steps for which one is young, times what it has to grow meanwhile.
  return ((running / steps) * youths) / count / PAGE_TOKENS;
}
