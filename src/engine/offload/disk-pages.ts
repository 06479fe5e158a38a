/**
 * The third level of the KV cache: pages on disk, below the device's and the host's (--kv-cache-dir).
 *
 * A page that is computed and can be shared is written behind (disk-saves.ts). A sequence whose next pages are on disk leaves the
 * queue until they are in the host's memory (disk-loads.ts). What the disk does not keep up with is not saved, and a page that
 * cannot be read is computed: no step waits for a file.
 *
 * A page is named by a SHA-256 over its tokens and the name of the page before it, so that whatever has that name is that
 * page. Pure: no I/O and no clock; the store does the work.
 */
import type { StepPlan } from "../../ffi/step-plan.ts";
import type { StoredPage, StoreNews } from "../../kv-cache-dir/store.ts";
import type { CopyList, PageCache, PageListener, PageNode } from "../pages/page-cache.ts";
import type { DiskStats } from "../protocol.ts";
import type { Sequence } from "../sequences/sequence.ts";
import type { DiskChange } from "./disk-listing.ts";
import { DiskLoads } from "./disk-loads.ts";
import { DiskSaves } from "./disk-saves.ts";
import { DiskState } from "./disk-state.ts";
import type { RestoreCosts } from "./restore-costs.ts";

/** What this class needs of a KvCacheDir. */
export interface PageStore {
  save(pages: readonly StoredPage[]): void;
  load(pages: readonly StoredPage[]): number;
  remove(digests: string[]): void;
  clear(): void;
  news(): StoreNews[];
  interrupt(): void;
}

export class DiskPages {
  private readonly state: DiskState;
  private readonly saves: DiskSaves;
  private readonly loads: DiskLoads;
  /** Sentences for the log that nobody has taken. */
  private readonly warnings: string[] = [];
  /** Something was done since whoever sets it to false has told of the stats. */
  hasNews = false;

  constructor(
    cache: PageCache,
    private readonly store: PageStore,
    /** Of pages that come from the disk. */
    readonly costs: RestoreCosts,
    /** Called for a sequence that has waited: its pages are there, or it has to compute them. It may have ended. */
    goOn: (seq: Sequence) => void,
    /** Hears which pages are on disk. */
    listener: PageListener | null,
  ) {
    this.state = new DiskState(listener);
    this.saves = new DiskSaves(this.state, cache, store);
    this.loads = new DiskLoads(this.state, cache, store, costs, goOn);
  }

  get stats(): DiskStats {
    const { counters, index } = this.state;
    return { ...counters, diskPages: index.size, diskCapacity: index.capacity };
  }

  /** What has become of the pages on disk since the last call, or null. */
  takeChange(): DiskChange | null {
    return this.state.index.takeChange();
  }

  /** `seq` has the page `node` on the device, and all of it is computed. Others may share it. */
  used(seq: Sequence, node: PageNode): void {
    this.saves.used(seq, node);
  }

  /** `seq` got its first slot with `nodes` in the cache: the pages that follow them were not on disk either. */
  started(seq: Sequence, nodes: readonly PageNode[]): void {
    if (!this.state.isOpen || seq.isPrivate) return;
    this.state.counters.diskMisses += seq.sharablePages - nodes.length;
    // From the last to the first: what a prefix is of no use without goes last.
    for (let i = nodes.length - 1; i >= 0; i--) this.used(seq, nodes[i]!);
  }

  /** See DiskLoads.fetch. */
  fetch(seq: Sequence, nodes: readonly PageNode[]): boolean {
    return this.loads.fetch(seq, nodes);
  }

  /** Adds the copies of pages that are to be saved to a step that runs. Nodes that are `arriving` beside it have to wait. */
  planSaves(copies: CopyList, arriving: ReadonlySet<PageNode>): void {
    this.saves.plan(copies, arriving);
  }

  /** The copies that were planned go with `step`. */
  submitted(step: object): void {
    this.saves.submitted(step);
    this.loads.submitted(step);
  }

  /** `step` is over; `succeeded`: its copies were made. */
  committed(step: object, succeeded: boolean): void {
    this.loads.committed(step);
    this.saves.committed(step, succeeded);
  }

  /**
   * While no step is in flight and the engine may compute: goes on with pages on their way to and from the disk. `copy` makes the
   * copies that this needs, and before them those that `plan` has kept for a step. False when nothing was copied for the disk.
   */
  idle(plan: StepPlan, copy: (copies: Int32Array<ArrayBuffer>) => void): boolean {
    const { saves, loads } = this;
    if (!this.state.isOpen || saves.waiting + saves.plannedCount + loads.waiting === 0) return false;
    if (plan.copyCount > 0) {
      copy(plan.listCopies());
      plan.submitted();
    }
    const list: number[] = [];
    const count = saves.planIdle({ copyPage: (...one) => void list.push(...one) });
    // It waits for all copies, these and those of before.
    if (saves.plannedCount + loads.waiting > 0) copy(Int32Array.from(list));
    saves.copied();
    loads.copied();
    return count > 0;
  }

  /** Takes what the store has done. Call it before every plan. Returns sentences for the log. */
  update(): string[] {
    const { counters } = this.state;
    for (const news of this.store.news()) {
      this.hasNews = true;
      switch (news.type) {
        case "opened":
          this.open(news);
          break;
        case "saved":
          counters.diskWriteSeconds += news.seconds;
          this.saves.saved(news.digests, news.left);
          break;
        case "loaded":
          counters.diskReadSeconds += news.seconds;
          this.loads.loaded(news);
          break;
        case "failed":
          this.turnOff(`the KV cache on disk is off from now on: ${news.message}`);
      }
    }
    return this.warnings.splice(0);
  }

  private open({ capacity, digests, warning }: Extract<StoreNews, { type: "opened" }>): void {
    const { state } = this;
    if (state.isOff) return;
    if (warning !== null) this.warnings.push(warning);
    if (capacity < 1) {
      this.turnOff("kv_cache_dir_size is too small for one page: the KV cache on disk is off");
      return;
    }
    state.isOpen = true;
    state.index.capacity = capacity;
    for (const digest of digests) state.index.add(digest);
  }

  /** Nothing is written or read from now on; `warning` says why. */
  private turnOff(warning: string): void {
    const { state } = this;
    if (state.isOff) return;
    state.isOff = true;
    state.isOpen = false;
    state.index.capacity = 0;
    state.index.clear();
    this.warnings.push(warning);
    this.saves.turnOff();
    this.loads.turnOff();
  }

  /** Other weights take the place of these: pages on disk stay there for those who start with the old ones. */
  weightsChange(): void {
    this.turnOff("the weights change: the KV cache on disk is off until the next start");
  }

  /** No page is found any more on the device and the host, nor on disk unless `keepDisk`. The listener has heard of it. */
  cleared(keepDisk: boolean): void {
    const { state } = this;
    state.index.forgetTold();
    if (keepDisk) return;
    state.epoch++;
    state.index.clear();
    this.saves.forget();
    if (state.isOpen) this.store.clear();
  }

  /** Device and host pages are about to lose what they hold; those on disk do not. Blocks until no file is read or written. */
  loseMemory(): void {
    this.saves.loseMemory();
    this.loads.loseMemory();
    this.store.interrupt();
  }
}
