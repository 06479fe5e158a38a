/** Which pages are on disk, by their digests, and what the listener and the main thread have been told of them. */

import type { PageListener, PageNode } from "../pages/page-cache.ts";
import { digestKey } from "../pages/page-digest.ts";
import type { DiskChange } from "./disk-listing.ts";

export class DiskIndex {
  /** Pages that there is room for. */
  capacity = 0;
  /** The one that was not used for longest first. */
  private readonly digests = new Set<string>();
  /** By digest: pages that the listener knows to be on disk. What a start finds there is told of once a sequence uses it. */
  private readonly told = new Map<string, Pick<PageNode, "key">>();

  /** By digest: whether a page that came or went since takeChange() is there. All others are gone where all were removed. */
  private changes = new Map<string, boolean>();
  private wasCleared = false;

  constructor(private readonly listener: PageListener | null) {}

  get size(): number {
    return this.digests.size;
  }

  has(digest: string): boolean {
    return this.digests.has(digest);
  }

  /** The page becomes the one that was used last. `node`: what it is, where that is known. */
  add(digest: string, node: PageNode | null = null): void {
    if (!this.digests.delete(digest)) this.changed(digest, true);
    this.digests.add(digest);
    if (!node || !this.listener || this.told.has(digest)) return;
    this.told.set(digest, { key: node.key });
    this.listener.stored(node, "FS");
  }

  remove(digest: string): void {
    if (this.digests.delete(digest)) this.changed(digest, false);
    const page = this.told.get(digest);
    if (!page) return;
    this.told.delete(digest);
    this.listener!.removed(page, "FS");
  }

  /** Removes those that were not used for longest, as many as are in the way of `more`. Returns their digests. */
  makeRoom(more: number): string[] {
    const oldest = [...this.digests.values().take(Math.max(0, this.size + more - this.capacity))];
    for (const digest of oldest) this.remove(digest);
    return oldest;
  }

  /** Removes all. */
  clear(): void {
    for (const digest of [...this.told.keys()]) this.remove(digest);
    this.digests.clear();
    this.changes.clear();
    this.wasCleared = true;
  }

  private changed(digest: string, isThere: boolean): void {
    this.changes.delete(digest);
    this.changes.set(digest, isThere);
  }

  /** What has become of pages since the last call, or null. */
  takeChange(): DiskChange | null {
    const { changes, wasCleared } = this;
    if (changes.size === 0 && !wasCleared) return null;
    this.changes = new Map();
    this.wasCleared = false;
    const keys = (there: boolean) =>
      Float64Array.from([...changes].flatMap(([digest, isThere]) => (isThere === there ? [digestKey(digest)] : [])));
    return { cleared: wasCleared, added: keys(true), removed: keys(false) };
  }

  /** The listener has heard that nothing can be found any more: what stays on disk is told of anew once it is used. */
  forgetTold(): void {
    this.told.clear();
  }
}
