/** The pages that waiting sequences will start from: the cache keeps them longer than others. */
import { type PageCache, pagesFor } from "../pages/page-cache.ts";
import type { Sequence } from "../sequences/sequence.ts";
import type { WaitingQueue } from "../sequences/waiting-queue.ts";

/** Page lookups that arriving sequences may cost between two plans: some milliseconds. The pages of the others are not kept for them. */
export const MOST_ARRIVAL_LOOKUPS = 16_384;

export class AwaitedPages {
  /** Since the last plan. */
  private lookups = 0;

  constructor(
    private readonly cache: PageCache,
    private readonly queue: WaitingQueue,
  ) {}

  /** A step is being planned. */
  begin(): void {
    this.lookups = 0;
  }

  /** `seq` begins to wait in the queue. */
  add(seq: Sequence): void {
    this.queue.add(seq);
    if (seq.isPrivate || this.lookups >= MOST_ARRIVAL_LOOKUPS) return;
    seq.awaitedNode = seq.cachedPages(this.cache).at(-1) ?? null;
    this.lookups += 1 + (seq.awaitedNode?.depth ?? 0);
    if (seq.awaitedNode) this.cache.await(seq.awaitedNode, seq.arrival);
  }

  /** `seq` leaves the queue. */
  remove(seq: Sequence): void {
    this.queue.remove(seq);
    if (seq.awaitedNode) this.cache.awaitNoMore(seq.awaitedNode);
    seq.awaitedNode = null;
  }

  /**
   * Which waiting sequence is the next: the oldest, unless pages have to be forgotten to make room for it. Then those that find their
   * pages go first: they give back what the others need, and would else have to compute all of theirs again.
   */
  next(): Sequence | undefined {
    const { cache, queue } = this;
    const oldest = queue.oldestReady();
    if (!oldest || pagesFor(oldest.target) <= cache.room) return oldest;
    return queue.oldestCached(({ awaitedNode: node, target }) => {
      return node !== null && node.depth * 2 > pagesFor(target) && cache.isCached(node);
    });
  }
}
