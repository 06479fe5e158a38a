/**
 * Pages on their way to disk. A page that is computed is copied to a host page that is set apart for this, beside a step or while
 * nothing runs, and from there to a file. What the disk does not keep up with is not saved.
 */
import { FG } from "../../ffi/layout.ts";
import type { StoredPage } from "../../kv-cache-dir/store.ts";
import type { CopyList, PageCache, PageNode } from "../pages/page-cache.ts";
import type { Sequence } from "../sequences/sequence.ts";
import type { PageStore } from "./disk-pages.ts";
import { type DiskState, STALE } from "./disk-state.ts";

/** Host pages that are set apart for pages on their way to disk, at most; and at most this share of all. */
const STAGING_PAGES = 64;
const STAGING_SHARE = 0.25;

/** Pages that are copied beside one step on their way to disk; and while nothing runs, when a request may come at any time. */
const COPIES_PER_STEP = 32;
const COPIES_IDLE = 8;

const NONE: ReadonlySet<PageNode> = new Set();

/** A page on its way to disk. */
export interface Save extends StoredPage {
  node: PageNode;
  /** Of the contents that were valid when it began: see DiskState.epoch. */
  epoch: number;
}

export class DiskSaves {
  /** Computed pages that are to be saved, oldest first. */
  private readonly candidates = new Set<PageNode>();
  /** Host pages set apart, and those of them that no save uses. */
  private staged = 0;
  private readonly staging: number[] = [];
  /** Saves whose copy is in a plan that was not submitted. */
  private readonly planned: Save[] = [];
  /** By step: the saves whose copies it makes. */
  private readonly behind = new Map<object, Save[]>();
  /** By digest: saves that are under way. */
  private readonly saving = new Map<string, Save>();

  constructor(
    private readonly state: DiskState,
    private readonly cache: PageCache,
    private readonly store: PageStore,
  ) {}

  /** Pages that wait to be copied. */
  get waiting(): number {
    return this.candidates.size;
  }

  /** Pages whose copies are in a plan that was not submitted. */
  get plannedCount(): number {
    return this.planned.length;
  }

  /** `seq` has the page `node` on the device, and all of it is computed. Others may share it. */
  used(seq: Sequence, node: PageNode): void {
    const { state } = this;
    if (state.isOff || this.candidates.has(node)) return;
    const digest = state.digestOf(seq, node);
    if (state.index.has(digest)) state.index.add(digest, node);
    else if (this.saving.has(digest)) return;
    else if (this.candidates.size < this.cache.pages) this.candidates.add(node);
    else state.counters.diskSkipped++;
  }

  /** Adds the copies of pages that are to be saved to a step that runs. Nodes that are `arriving` beside it have to wait. */
  plan(copies: CopyList, arriving: ReadonlySet<PageNode>): void {
    this.planned.push(...this.stage(copies, COPIES_PER_STEP, arriving));
  }

  /** Likewise while nothing runs: as few as a request that comes can wait for. Returns how many. */
  planIdle(copies: CopyList): number {
    const saves = this.stage(copies, COPIES_IDLE);
    this.planned.push(...saves);
    return saves.length;
  }

  submitted(step: object): void {
    if (this.planned.length > 0) this.behind.set(step, this.planned.splice(0));
  }

  committed(step: object, succeeded: boolean): void {
    const saves = this.behind.get(step);
    if (!saves) return;
    this.behind.delete(step);
    if (succeeded) this.write(saves);
    else this.giveUp(saves);
  }

  /** The copies that were planned have been made. */
  copied(): void {
    this.write(this.planned.splice(0));
  }

  /** Takes candidates to host pages that are set apart, while there are some. */
  private stage(copies: CopyList, most: number, arriving: ReadonlySet<PageNode> = NONE): Save[] {
    const { state } = this;
    if (!state.isOpen || this.candidates.size === 0) return [];
    this.setApart();
    const saves: Save[] = [];
    for (const node of this.candidates) {
      if (saves.length === most || this.staging.length === 0) break;
      if (arriving.has(node)) continue;
      this.candidates.delete(node);
      const digest = state.knownDigest(node);
      if (state.index.has(digest) || this.saving.has(digest)) continue;
      if (node.page < 0) {
        state.counters.diskSkipped++;
        continue;
      }
      const save = { node, digest, hostPage: this.staging.pop()!, epoch: state.epoch };
      copies.copyPage(node.page, save.hostPage, FG.TO_HOST);
      this.saving.set(digest, save);
      saves.push(save);
    }
    return saves;
  }

  /** Sets more host pages apart where there are more by now. */
  private setApart(): void {
    const most = Math.min(STAGING_PAGES, this.state.index.capacity);
    const wanted = Math.min(most, Math.ceil(this.cache.hostPages * STAGING_SHARE));
    for (; this.staged < wanted; this.staged++) {
      const page = this.cache.takeHost();
      if (page < 0) return;
      this.staging.push(page);
    }
  }

  /** Their host pages hold what is to be written. */
  private write(saves: readonly Save[]): void {
    const { state } = this;
    const [valid, stale] = [saves.filter((save) => state.isValid(save)), saves.filter((save) => !state.isValid(save))];
    this.giveUp(stale);
    if (valid.length === 0) return;
    const oldest = state.index.makeRoom(this.saving.size);
    if (oldest.length > 0) this.store.remove(oldest);
    this.store.save(valid);
  }

  private giveUp(saves: readonly Save[]): void {
    for (const save of saves) this.end(save);
  }

  private end({ digest, hostPage }: StoredPage): void {
    this.saving.delete(digest);
    if (this.state.isOff) this.cache.giveHost(hostPage);
    else this.staging.push(hostPage);
  }

  /** The store has written `digests`, and not those that are `left`. */
  saved(digests: readonly string[], left: readonly string[]): void {
    const { state } = this;
    for (const digest of digests) {
      const save = this.saving.get(digest)!;
      this.end(save);
      if (!state.isValid(save)) continue;
      state.index.add(digest, save.node);
      state.counters.diskSaved++;
    }
    for (const digest of left) this.end(this.saving.get(digest)!);
  }

  /** What was computed so far is not saved. */
  forget(): void {
    this.candidates.clear();
  }

  /** Pages whose copies were planned lose what they hold. */
  loseMemory(): void {
    this.forget();
    for (const save of this.planned) save.epoch = STALE;
  }

  /** The level is off. */
  turnOff(): void {
    this.forget();
    for (const page of this.staging.splice(0)) this.cache.giveHost(page);
  }
}
