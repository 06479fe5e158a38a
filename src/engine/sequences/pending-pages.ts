/** Prompt pages that running sequences are computing now. Others that need the same pages wait for them. */
import { PAGE_TOKENS } from "../pages/page-cache.ts";
import type { Sequence } from "./sequence.ts";

export class PendingPages {
  /** By key: the sequence that computes the page. */
  private readonly computedBy = new Map<bigint, Sequence>();

  /** `seq` will compute the pages of its prompt from index `first` on. A page that another one computes stays its own. */
  add(seq: Sequence, first: number): void {
    for (let i = first; i < seq.promptPages; i++) {
      if (!this.computedBy.has(seq.key(i))) this.computedBy.set(seq.key(i), seq);
    }
  }

  /** `seq` has computed page `index`, or never will. False when it was not the one to compute it. */
  remove(seq: Sequence, index: number): boolean {
    const key = seq.key(index);
    return this.computedBy.get(key) === seq && this.computedBy.delete(key);
  }

  has(key: bigint): boolean {
    return this.computedBy.has(key);
  }

  /**
   * The page to wait for when another sequence computes page `first` of `seq`: the last one that both have in common, because
   * pages are computed in order. Also how many pages they have in common. Null when no sequence computes page `first`.
   */
  awaited(seq: Sequence, first: number): { key: bigint; common: number } | null {
    const other = first < seq.sharablePages ? this.computedBy.get(seq.key(first)) : undefined;
    if (!other || other.root !== seq.root) return null;
    const common = commonPages(seq, other);
    // The hashes are the same, and the tokens are not.
    if (common <= first) return null;
    seq.adoptKeys(other, common);
    const key = seq.key(common - 1);
    // Where hashes collide, that page may be another sequence's to compute.
    return { key: this.computedBy.get(key) === other ? key : seq.key(first), common };
  }
}

/** How many leading full pages `seq` and the prompt of `other` have in common. */
function commonPages(seq: Sequence, other: Sequence): number {
  const same = (from: number, to: number) => bytesOf(seq.tokens, from, to).equals(bytesOf(other.tokens, from, to));
  let low = 0;
  let high = Math.min(seq.sharablePages, other.promptPages);
  if (low < high && same(low, high)) return high;
  while (low + 1 < high) {
    const middle = (low + high) >> 1;
    if (same(low, middle)) low = middle;
    else high = middle;
  }
  return low;
}

/** The bytes of pages [from, to). */
function bytesOf(tokens: Int32Array, from: number, to: number): Buffer {
  const pageBytes = PAGE_TOKENS * tokens.BYTES_PER_ELEMENT;
  return Buffer.from(tokens.buffer, tokens.byteOffset + from * pageBytes, (to - from) * pageBytes);
}
