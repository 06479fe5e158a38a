/**
 * Host pages that hold nothing. A few are always kept empty, and the one that has been empty for longest is taken first. So a
 * page that goes to the host needs no place that is still being read, and copies run in both directions at the same time.
 */

/** Pages that are kept empty: more than go to the host with one step, so that none waits for those that come back. See simulate-turns.ts. */
const RESERVE = 64;
/** Of all host pages, at most. */
const RESERVE_SHARE = 1 / 16;

export class EmptyHostPages {
  /** In the order they became empty. */
  private readonly pages = new Set<number>();
  private usable = 0;

  /** Host pages that there are, with those that hold something. */
  get count(): number {
    return this.usable;
  }

  get size(): number {
    return this.pages.size;
  }

  /** Pages that can be filled before others have to be emptied. */
  get spare(): number {
    return Math.max(0, this.pages.size - Math.min(RESERVE, Math.floor(this.usable * RESERVE_SHARE)));
  }

  /** Host pages [0, count) can be used from now on. Never fewer than before. */
  grow(count: number): void {
    while (this.usable < count) this.pages.add(this.usable++);
  }

  add(page: number): void {
    this.pages.add(page);
  }

  /** -1 = none is empty. */
  take(): number {
    const [page] = this.pages;
    if (page === undefined) return -1;
    this.pages.delete(page);
    return page;
  }
}
