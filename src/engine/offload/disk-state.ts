/** What saving pages to disk and loading them from there share. */

import { PAGE_TOKENS, type PageListener, type PageNode } from "../pages/page-cache.ts";
import { pageDigest, rootDigest } from "../pages/page-digest.ts";
import { NO_DISK } from "../protocol.ts";
import type { Sequence } from "../sequences/sequence.ts";
import { DiskIndex } from "./disk-index.ts";

/** The epoch of what comes to nothing. */
export const STALE = -1;

export class DiskState {
  readonly index: DiskIndex;
  /** Nothing is written or read before the folder is open, or once the level is off. */
  isOpen = false;
  isOff = false;
  /** Counts how often everything was forgotten: what was begun before comes to nothing. */
  epoch = 0;
  readonly counters = { ...NO_DISK };
  private readonly digests = new WeakMap<PageNode, string>();

  /** `listener` hears which pages are on disk. */
  constructor(listener: PageListener | null) {
    this.index = new DiskIndex(listener);
  }

  isValid({ epoch }: { epoch: number }): boolean {
    return this.isOpen && epoch === this.epoch;
  }

  /** The digest of a page of `seq`, or of its root. */
  digestOf(seq: Sequence, node: PageNode): string {
    const known = this.digests.get(node);
    if (known !== undefined) return known;
    const digest =
      node.parent === null
        ? rootDigest(seq.request.cacheSalt)
        : pageDigest(this.digestOf(seq, node.parent), node.tokens);
    this.digests.set(node, digest);
    return digest;
  }

  /** The digest of a page that was asked for before. */
  knownDigest(node: PageNode): string {
    return this.digests.get(node)!;
  }

  /** The digest of page `index` of `seq`, which follows the page of digest `before`. */
  digestAfter(before: string, seq: Sequence, index: number): string {
    return pageDigest(before, seq.tokens.subarray(index * PAGE_TOKENS, (index + 1) * PAGE_TOKENS));
  }

  /** `node` is the page of this digest. */
  setDigest(node: PageNode, digest: string): void {
    this.digests.set(node, digest);
  }
}
