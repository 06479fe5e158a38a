/**
 * When cached pages are likely to be asked for again. What is learned from the past: how long it takes until a new page has
 * its second use, and how many ever have one. Time is counted in pages taken from the pool.
 */
import type { PageNode } from "./page-cache.ts";

/** Forgotten pages whose last use is remembered, per page that the cache can hold. */
const REMEMBERED = 3;
/** New pages, per page that the cache can hold, after which what was learned counts half. */
const MEMORY = 4;

interface Past {
  usedAt: number;
  gap: number;
}

export class PageReuse {
  /** Pages taken so far: the clock. */
  now = 0;
  /** Pages that the cache can hold. */
  capacity = 0;
  private readonly forgotten = new Map<bigint, Past>();
  private firsts = 0;
  private seconds = 0;
  private gaps = 0;

  /** The usual time between the first use of a page and its second; infinite until a second use has been seen. */
  get usualGap(): number {
    return this.seconds === 0 ? Number.POSITIVE_INFINITY : this.gaps / this.seconds;
  }

  /** How far away the next use of a page is that was used once. */
  get freshDistance(): number {
    return this.seconds === 0 ? Number.POSITIVE_INFINITY : (this.usualGap * this.firsts) / this.seconds;
  }

  /** Whether the cache usually forgets pages before their second use. Then the newest had better leave, so that others stay. */
  get comesTooLate(): boolean {
    return this.usualGap > this.capacity;
  }

  /** `node` has become findable. It may have been so before. */
  created(node: PageNode): void {
    const past = this.forgotten.get(node.key);
    if (past === undefined) {
      this.firsts++;
      if (this.firsts > MEMORY * this.capacity) {
        this.firsts /= 2;
        this.seconds /= 2;
        this.gaps /= 2;
      }
      return;
    }
    this.forgotten.delete(node.key);
    node.usedAt = past.usedAt;
    node.gap = past.gap;
    this.usedAgain(node);
  }

  /** A sequence refers to `node` again, which none did. */
  usedAgain(node: PageNode): void {
    const gap = this.now - node.usedAt;
    if (node.gap < 0) {
      this.seconds++;
      this.gaps += gap;
      node.gap = gap;
    } else {
      node.gap = (node.gap + gap) / 2;
    }
  }

  /** The last sequence that referred to `node` does so no more. */
  unused(node: PageNode): void {
    node.usedAt = this.now;
  }

  /** `node` has lost its room, and may be made again. */
  dropped({ key, usedAt, gap }: PageNode): void {
    this.forgotten.set(key, { usedAt, gap });
    if (this.forgotten.size > REMEMBERED * this.capacity) {
      this.forgotten.delete(this.forgotten.keys().next().value!);
    }
  }

  /** What was learned stays; which pages there were does not: their content is worth nothing any more. */
  clear(): void {
    this.forgotten.clear();
  }
}
