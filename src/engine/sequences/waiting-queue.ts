/**
 * The sequences that wait for a slot, in the order they run: that of their arrival, within one priority. A sequence whose next pages are being computed by another
 * one is parked under the last of them: planning does not look at it again until that page is computed, or nobody
 * computes it any longer. It then returns to its place in that order.
 */
import type { PageNode } from "../pages/page-cache.ts";
import { precedes, type Sequence } from "./sequence.ts";

/**
 * A sequence goes before an older one only if fewer arrived in between. So this is also how many can overtake one sequence.
 */
export const MOST_OVERTAKING = 256;

export class WaitingQueue {
  /** Every waiting sequence, first things first. */
  readonly all: Sequence[] = [];
  /** Those that are not parked, in order once `sorted`. */
  private readonly ready: Sequence[] = [];
  private sorted = true;
  /** Those that came after the queue was closed, in no order: they are not in `all` before it opens. */
  readonly later = new Set<Sequence>();
  /** Of the first arrival that belongs there. */
  closedFrom = Number.POSITIVE_INFINITY;
  /** Steps until the first sequence, which did not fit, is looked at again. Set to 0 whenever that may have changed. */
  blockedSteps = 0;
  /** Those that are parked, by the key of the page that they wait for. */
  private readonly parked = new Map<bigint, Set<Sequence>>();

  get size(): number {
    return this.all.length + this.later.size;
  }

  /** Sequences whose arrival is `from` or more wait until open(). Does nothing when it is closed already. */
  close(from: number): void {
    this.closedFrom = Math.min(this.closedFrom, from);
  }

  open(): void {
    this.closedFrom = Number.POSITIVE_INFINITY;
    for (const seq of this.later) this.add(seq);
    this.later.clear();
  }

  add(seq: Sequence): void {
    if (seq.arrival >= this.closedFrom) {
      this.later.add(seq);
      return;
    }
    this.all.splice(placeOf(this.all, seq), 0, seq);
    this.makeReady(seq);
  }

  /** Does nothing when `seq` is not in the queue. */
  remove(seq: Sequence): void {
    if (this.later.delete(seq)) return;
    const at = placeOf(this.all, seq);
    if (this.all[at] !== seq) return;
    this.all.splice(at, 1);
    if (seq.awaitedKey === null) {
      this.sort();
      this.ready.splice(placeOf(this.ready, seq), 1);
      return;
    }
    const group = this.parked.get(seq.awaitedKey)!;
    group.delete(seq);
    if (group.size === 0) this.parked.delete(seq.awaitedKey);
    seq.awaitedKey = null;
  }

  /** The first sequence that is not parked. */
  oldestReady(): Sequence | undefined {
    this.sort();
    return this.ready[0];
  }

  /**
   * The first sequence that is not parked and most of whose pages are cached, or the oldest where there is none. `isCached` says
   * whether that still holds for a sequence.
   */
  oldestCached(isCached: (seq: Sequence) => boolean): Sequence | undefined {
    const oldest = this.oldestReady();
    if (!oldest) return undefined;
    for (const seq of this.ready) {
      if (seq.priority !== oldest.priority || seq.arrival - oldest.arrival >= MOST_OVERTAKING) break;
      if (isCached(seq)) return seq;
    }
    return oldest;
  }

  /** Parks a ready sequence until unpark(key). It has all tokens up to that page in common with whoever computes it. */
  park(seq: Sequence, key: bigint): void {
    this.sort();
    this.ready.splice(placeOf(this.ready, seq), 1);
    seq.awaitedKey = key;
    const group = this.parked.get(key);
    if (group) group.add(seq);
    else this.parked.set(key, new Set([seq]));
  }

  /** Makes the sequences ready that are parked under `key`. `node` is that page, when it has been computed. */
  unpark(key: bigint, node: PageNode | null): void {
    const group = this.parked.get(key);
    if (!group) return;
    this.parked.delete(key);
    for (const seq of group) {
      seq.awaitedKey = null;
      if (node) seq.lastMatch = node;
      this.makeReady(seq);
    }
  }

  private makeReady(seq: Sequence): void {
    const newest = this.ready.at(-1);
    if (newest && precedes(seq, newest)) this.sorted = false;
    this.ready.push(seq);
  }

  private sort(): void {
    if (!this.sorted) this.ready.sort((a, b) => (precedes(a, b) ? -1 : 1));
    this.sorted = true;
  }
}

/** Where `seq` stands in a sorted list, or would stand. */
function placeOf(list: readonly Sequence[], seq: Sequence): number {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (precedes(list[middle]!, seq)) low = middle + 1;
    else high = middle;
  }
  return low;
}
