/** What the main thread knows of the pages that one of several engines has on disk: what that engine has told of its DiskIndex. */
import { MAX_INDEXED_PAGES } from "../../limits.ts";

/** What has become of an engine's pages on disk since it told last. Pages are named by their digestKey. */
export interface DiskChange {
  /** All that were there are gone. What was added comes after that. */
  cleared: boolean;
  /** The one that was not used for longest first. */
  added: Float64Array;
  removed: Float64Array;
}

export class DiskListing {
  /** Told of first, first. */
  private readonly keys = new Set<number>();

  /** @param most keys that are kept */
  constructor(private readonly most = MAX_INDEXED_PAGES) {}

  get size(): number {
    return this.keys.size;
  }

  has(key: number): boolean {
    return this.keys.has(key);
  }

  change({ cleared, added, removed }: DiskChange): void {
    if (cleared) this.keys.clear();
    for (const key of removed) this.keys.delete(key);
    for (const key of added) this.keys.add(key);
    for (const key of this.keys) {
      if (this.keys.size <= this.most) break;
      this.keys.delete(key);
    }
  }
}
