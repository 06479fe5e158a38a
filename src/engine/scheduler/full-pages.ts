/** Pages whose tokens are all computed become findable, and whoever waits for them goes on. */
import type { DiskPages } from "../offload/disk-pages.ts";
import { PAGE_TOKENS, type PageCache, type PageNode } from "../pages/page-cache.ts";
import type { PendingPages } from "../sequences/pending-pages.ts";
import type { Sequence } from "../sequences/sequence.ts";
import type { WaitingQueue } from "../sequences/waiting-queue.ts";

export class FullPages {
  /** Learns which pages are in use; null = nothing is kept on disk. */
  disk: DiskPages | null = null;

  constructor(
    private readonly cache: PageCache,
    private readonly pending: PendingPages,
    private readonly queue: WaitingQueue,
  ) {}

  /** Makes the pages of `seq` that are full now findable. */
  register(seq: Sequence): void {
    const { cache } = this;
    while ((seq.nodes.length + 1) * PAGE_TOKENS <= seq.computed) {
      const i = seq.nodes.length;
      const parent = i === 0 ? seq.root : seq.nodes[i - 1]!;
      const node = cache.register(parent, seq.key(i), seq.tokens, i * PAGE_TOKENS, seq.pages[i]!);
      this.stopAwaiting(seq, i, node);
      if (!node) return;
      if (seq.isPrivate) seq.privateNodes.push(node);
      else this.disk?.used(seq, node);
      seq.nodes.push(node);
      if (node.page !== seq.pages[i]) {
        // Another sequence computed the same page first. Both use that one from now on.
        seq.pages[i] = node.page;
        seq.sentPages = Math.min(seq.sentPages, i);
        this.queue.blockedSteps = 0;
      }
    }
  }

  /** `seq` computes none of its other pages any more: the sequences that wait for them are ready. */
  abandon(seq: Sequence): void {
    for (let i = seq.nodes.length; i < seq.promptPages; i++) this.stopAwaiting(seq, i, null);
  }

  /** `seq` has computed page `index`, which is `node` now, or never will (null). */
  private stopAwaiting(seq: Sequence, index: number, node: PageNode | null): void {
    if (!this.pending.remove(seq, index)) return;
    this.queue.unpark(seq.key(index), node);
    this.queue.blockedSteps = 0;
  }
}
