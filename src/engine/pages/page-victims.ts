/**
 * The pages that may leave one memory, device or host, and which of them goes first: the one whose next use is farthest away.
 *
 * - A page that a waiting sequence will start from is needed at a known time. It goes last; among such pages, the one of the
 *   sequence that waits behind the others goes first.
 * - A page that was used several times is expected again after the usual time between its uses. One that is overdue is the
 *   less likely to come the longer it is.
 * - A page that was used once is fresh. It is expected as PageReuse has learned. A few always stay, to get a chance.
 *
 * So neither a scan (pages that never come again) nor a cycle (more pages than fit, in turns) empties the cache.
 */
import type { PageNode } from "./page-cache.ts";
import type { PageReuse } from "./page-reuse.ts";

/** The share of all pages that fresh ones may always take. */
const FRESH_SHARE = 0.1;

export class PageVictims {
  /** Least recently used first. */
  private readonly fresh = new SortedNodes(({ usedAt }) => usedAt);
  /** By when they are expected, soonest first. */
  private readonly proven = new SortedNodes(({ usedAt, gap }) => usedAt + gap);
  /** By the place in the queue of who waits for them, first things first. */
  private readonly awaited = new SortedNodes(({ due }) => due);

  constructor(private readonly reuse: PageReuse) {}

  add(node: PageNode): void {
    this.listOf(node).add(node);
    node.victims = this;
  }

  /** Call it before anything changes that its place depends on. */
  remove(node: PageNode): void {
    this.listOf(node).remove(node);
    node.victims = null;
  }

  /** Which one goes first. `freshPages`: how many there are, on the device and the host. */
  worst(freshPages: number): PageNode | undefined {
    const { reuse } = this;
    const fresh = reuse.comesTooLate ? this.fresh.last : this.fresh.first;
    const [overdue, late] = [this.proven.first, this.proven.last];
    const proven = overdue && late && (this.distance(overdue) > this.distance(late) ? overdue : late);
    if (fresh && proven) {
      const mayStay = freshPages <= FRESH_SHARE * reuse.capacity;
      return mayStay || this.distance(proven) > reuse.freshDistance ? proven : fresh;
    }
    return fresh ?? proven ?? this.awaited.last;
  }

  /** Whether `a` should leave before `b`, or as soon. */
  isWorse(a: PageNode, b: PageNode): boolean {
    if (a.waiters > 0 || b.waiters > 0) return b.waiters > 0 && (a.waiters === 0 || a.due >= b.due);
    const [far, near] = [this.distance(a), this.distance(b)];
    if (far !== near || a.gap >= 0) return far >= near;
    return this.reuse.comesTooLate ? a.usedAt >= b.usedAt : a.usedAt <= b.usedAt;
  }

  private distance({ usedAt, gap }: PageNode): number {
    return gap < 0 ? this.reuse.freshDistance : Math.abs(usedAt + gap - this.reuse.now);
  }

  private listOf({ waiters, gap }: PageNode): SortedNodes {
    return waiters > 0 ? this.awaited : gap < 0 ? this.fresh : this.proven;
  }
}

class SortedNodes {
  private readonly nodes: PageNode[] = [];

  constructor(private readonly rank: (node: PageNode) => number) {}

  get first(): PageNode | undefined {
    return this.nodes[0];
  }

  get last(): PageNode | undefined {
    return this.nodes.at(-1);
  }

  /** Behind those of the same rank. */
  add(node: PageNode): void {
    const rank = this.rank(node);
    let at = this.nodes.length;
    // Most nodes belong to one of the ends.
    if (at > 0 && this.rank(this.nodes[at - 1]!) > rank) at = this.firstAbove(rank);
    this.nodes.splice(at, 0, node);
  }

  remove(node: PageNode): void {
    this.nodes.splice(this.nodes.lastIndexOf(node, this.firstAbove(this.rank(node)) - 1), 1);
  }

  private firstAbove(rank: number): number {
    let low = 0;
    let high = this.nodes.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.rank(this.nodes[middle]!) > rank) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
