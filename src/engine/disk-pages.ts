/**
 * The third level of the KV cache: pages on disk, below the device's and the host's (--kv-cache-dir).
 *
 * A page that is computed and can be shared is written behind: it is copied to a host page that is set apart for this, beside
 * a step, and from there to a file. A sequence whose next pages are on disk leaves the queue until they are in the host's
 * memory, where the page cache finds them. What the disk does not keep up with is not saved, and a page that cannot be read
 * is computed: no step waits for a file.
 *
 * A page is named by a SHA-256 over its tokens and the name of the page before it, so that whatever has that name is that
 * page. Pure: no I/O and no clock; the store does the work.
 */
import { FG } from "../ffi/layout.ts";
import type { StepPlan } from "../ffi/step-plan.ts";
import type { StoredPage, StoreNews } from "../kv-cache-dir/store.ts";
import { DiskIndex } from "./disk-index.ts";
import { type CopyList, PAGE_TOKENS, type PageCache, type PageListener, type PageNode } from "./page-cache.ts";
import { type DiskStats, NO_DISK } from "./protocol.ts";
import type { RestoreCosts } from "./restore-costs.ts";
import type { Sequence } from "./sequence.ts";

/** Host pages that are set apart for pages on their way to disk, at most; and at most this share of all. */
const STAGING_PAGES = 64;
const STAGING_SHARE = 0.25;

/** Share of the host pages that may be on their way from the disk at once. */
const LOADING_SHARE = 0.75;

/** Pages that are copied beside one step on their way to disk; and while nothing runs, when a request may come at any time. */
const COPIES_PER_STEP = 32;
const COPIES_IDLE = 8;

/** How often one sequence waits for the disk: where its pages are gone again before it gets a slot, it computes them. */
const MOST_LOADS = 2;

const NONE: ReadonlySet<PageNode> = new Set();

/** The epoch of what comes to nothing. */
const STALE = -1;

/** What this class needs of a KvCacheDir. */
export interface PageStore {
  save(pages: readonly StoredPage[]): void;
  load(pages: readonly StoredPage[]): number;
  remove(digests: string[]): void;
  clear(): void;
  news(): StoreNews[];
  interrupt(): void;
}

/** A page on its way to disk. */
interface Save extends StoredPage {
  node: PageNode;
  /** Of the contents that were valid when it began: see `epoch`. */
  epoch: number;
}

/** Consecutive pages of a sequence on their way from the disk. */
interface Load {
  epoch: number;
  /** The page before the first, or a root. */
  parent: PageNode;
  pages: (StoredPage & { key: bigint; tokens: Int32Array })[];
  /** Those that wait for it. */
  waiting: Sequence[];
}

export class DiskPages {
  private readonly index: DiskIndex;
  /** Nothing is written or read before the folder is open, or once the level is off. */
  private isOpen = false;
  private isOff = false;
  /** Counts how often everything was forgotten: what was begun before comes to nothing. */
  private epoch = 0;
  private readonly digests = new WeakMap<PageNode, string>();
  /** Computed pages that are to be saved, oldest first. */
  private readonly candidates = new Set<PageNode>();
  /** Host pages set apart, and those of them that no save uses. */
  private staged = 0;
  private readonly staging: number[] = [];
  /** Saves whose copy is in a plan that was not submitted. */
  private readonly planned: Save[] = [];
  /** Loads that must wait: a copy that was planned before may still read their host pages, or write to them. */
  private readonly held: Load[] = [];
  /** Those of them that wait for the step that is in flight alone, or for nothing. */
  private readonly due: Load[] = [];
  /** By step: the saves whose copies it makes, and the loads that wait for its copies. */
  private readonly behind = new Map<object, { saves: Save[]; loads: Load[] }>();
  /** By digest: saves that the store has. */
  private readonly saving = new Map<string, Save>();
  private readonly loads = new Map<number, Load>();
  /** By the digest of each of its pages. */
  private readonly loadOf = new Map<string, Load>();
  private loading = 0;
  private readonly loadsOf = new WeakMap<Sequence, number>();
  private readonly counters = { ...NO_DISK };
  /** Sentences for the log that nobody has taken. */
  private readonly warnings: string[] = [];
  /** Something was done since whoever sets it to false has told of the stats. */
  hasNews = false;

  constructor(
    private readonly cache: PageCache,
    private readonly store: PageStore,
    /** Of pages that come from the disk. */
    readonly costs: RestoreCosts,
    /** Called for a sequence that has waited: its pages are there, or it has to compute them. It may have ended. */
    private readonly goOn: (seq: Sequence) => void,
    /** Hears which pages are on disk. */
    listener: PageListener | null,
  ) {
    this.index = new DiskIndex(listener);
  }

  get stats(): DiskStats {
    return { ...this.counters, diskPages: this.index.size, diskCapacity: this.index.capacity };
  }

  // ---- Saving ----

  /** `seq` has the page `node` on the device, and all of it is computed. Others may share it. */
  used(seq: Sequence, node: PageNode): void {
    if (this.isOff || this.candidates.has(node)) return;
    const digest = this.digestOf(seq, node);
    if (this.index.has(digest)) this.index.add(digest, node);
    else if (this.saving.has(digest)) return;
    else if (this.candidates.size < this.cache.pages) this.candidates.add(node);
    else this.counters.diskSkipped++;
  }

  /** Adds the copies of pages that are to be saved to a step that runs. Nodes that are `arriving` beside it have to wait. */
  planSaves(copies: CopyList, arriving: ReadonlySet<PageNode>): void {
    this.planned.push(...this.stage(copies, COPIES_PER_STEP, arriving));
  }

  /** The copies that were planned go with `step`. */
  submitted(step: object): void {
    if (this.planned.length === 0 && this.held.length === 0) return;
    this.behind.set(step, { saves: this.planned.splice(0), loads: this.held.splice(0) });
  }

  /** `step` is over; `succeeded`: its copies were made. */
  committed(step: object, succeeded: boolean): void {
    // Copies to the device may have run beside the step after the one they came with.
    this.read(this.due.splice(0));
    const behind = this.behind.get(step);
    if (!behind) return;
    this.behind.delete(step);
    if (succeeded) this.write(behind.saves);
    else this.giveUp(behind.saves);
    this.due.push(...behind.loads);
  }

  /**
   * While no step is in flight and the engine may compute: goes on with pages on their way to and from the disk. `copy` makes the
   * copies that this needs, and before them those that `plan` has kept for a step. False when nothing was copied for the disk.
   */
  idle(plan: StepPlan, copy: (copies: Int32Array<ArrayBuffer>) => void): boolean {
    if (!this.isOpen || (this.candidates.size === 0 && this.waits === 0)) return false;
    if (plan.copyCount > 0) {
      copy(plan.listCopies());
      plan.submitted();
    }
    const list: number[] = [];
    const saves = this.stage({ copyPage: (...one) => void list.push(...one) }, COPIES_IDLE);
    // It waits for all copies, these and those of before.
    if (saves.length > 0 || this.waits > 0) copy(Int32Array.from(list));
    this.write([...this.planned.splice(0), ...saves]);
    this.read([...this.due.splice(0), ...this.held.splice(0)]);
    return saves.length > 0;
  }

  /** Saves and loads that wait for copies of plans. */
  private get waits(): number {
    return this.planned.length + this.held.length + this.due.length;
  }

  /** Takes candidates to host pages that are set apart, while there are some. */
  private stage(copies: CopyList, most: number, arriving: ReadonlySet<PageNode> = NONE): Save[] {
    if (!this.isOpen || this.candidates.size === 0) return [];
    this.setApart();
    const saves: Save[] = [];
    for (const node of this.candidates) {
      if (saves.length === most || this.staging.length === 0) break;
      if (arriving.has(node)) continue;
      this.candidates.delete(node);
      const digest = this.digests.get(node)!;
      if (this.index.has(digest) || this.saving.has(digest)) continue;
      if (node.page < 0) {
        this.counters.diskSkipped++;
        continue;
      }
      const save = { node, digest, hostPage: this.staging.pop()!, epoch: this.epoch };
      copies.copyPage(node.page, save.hostPage, FG.TO_HOST);
      this.saving.set(digest, save);
      saves.push(save);
    }
    return saves;
  }

  /** Sets more host pages apart where there are more by now. */
  private setApart(): void {
    const most = Math.min(STAGING_PAGES, this.index.capacity);
    const wanted = Math.min(most, Math.ceil(this.cache.hostPages * STAGING_SHARE));
    for (; this.staged < wanted; this.staged++) {
      const page = this.cache.takeHost();
      if (page < 0) return;
      this.staging.push(page);
    }
  }

  /** Their host pages hold what is to be written. */
  private write(saves: readonly Save[]): void {
    const [valid, stale] = [saves.filter((save) => this.isValid(save)), saves.filter((save) => !this.isValid(save))];
    this.giveUp(stale);
    if (valid.length === 0) return;
    const oldest = this.index.makeRoom(this.saving.size);
    if (oldest.length > 0) this.store.remove(oldest);
    this.store.save(valid);
  }

  private isValid({ epoch }: { epoch: number }): boolean {
    return this.isOpen && epoch === this.epoch;
  }

  private giveUp(saves: readonly Save[]): void {
    for (const save of saves) this.endSave(save);
  }

  private endSave({ digest, hostPage }: StoredPage): void {
    this.saving.delete(digest);
    if (this.isOff) this.cache.giveHost(hostPage);
    else this.staging.push(hostPage);
  }

  // ---- Loading ----

  /**
   * Whether `seq`, whose first pages are `nodes`, is to wait until pages that follow them have come from the disk: until it is
   * told to go on.
   */
  fetch(seq: Sequence, nodes: readonly PageNode[]): boolean {
    if (!this.isOpen || seq.isPrivate || this.index.size === 0) return false;
    const first = nodes.length;
    if (first >= seq.sharablePages) return false;
    const parent = nodes.at(-1) ?? seq.root;
    let digest = this.after(this.digestOf(seq, parent), seq, first);
    const begun = this.loadOf.get(digest);
    if (begun) {
      begun.waiting.push(seq);
      return true;
    }
    const times = this.loadsOf.get(seq) ?? 0;
    if (!this.index.has(digest) || times >= MOST_LOADS || !this.costs.pays()) return false;
    // What the pages follow must not make room for them.
    this.cache.await(parent, seq.arrival);
    const load: Load = { epoch: this.epoch, parent, pages: [], waiting: [seq] };
    const most = Math.max(1, Math.floor(this.cache.hostPages * LOADING_SHARE)) - this.loading;
    for (let i = first; i < seq.sharablePages && load.pages.length < most && this.index.has(digest); i++) {
      if (this.loadOf.has(digest)) break;
      const hostPage = this.cache.takeHost();
      if (hostPage < 0) break;
      const tokens = seq.tokens.slice(i * PAGE_TOKENS, (i + 1) * PAGE_TOKENS);
      load.pages.push({ digest, hostPage, key: seq.key(i), tokens });
      this.index.add(digest);
      this.loadOf.set(digest, load);
      if (i + 1 < seq.sharablePages) digest = this.after(digest, seq, i + 1);
    }
    if (load.pages.length === 0) {
      this.cache.awaitNoMore(parent);
      return false;
    }
    this.loadsOf.set(seq, times + 1);
    this.loading += load.pages.length;
    this.held.push(load);
    return true;
  }

  /** No copy uses the host pages of `loads` any more. */
  private read(loads: readonly Load[]): void {
    for (const load of loads) this.loads.set(this.store.load(load.pages), load);
  }

  /** `seq` got its first slot with `nodes` in the cache: the pages that follow them were not on disk either. */
  started(seq: Sequence, nodes: readonly PageNode[]): void {
    if (!this.isOpen || seq.isPrivate) return;
    this.counters.diskMisses += seq.sharablePages - nodes.length;
    // From the last to the first: what a prefix is of no use without goes last.
    for (let i = nodes.length - 1; i >= 0; i--) this.used(seq, nodes[i]!);
  }

  /** The pages that were read become pages of the cache, as far as the pages before them are there. */
  private adopt(load: Load, digests: readonly string[]): void {
    const read = new Set(digests);
    this.cache.awaitNoMore(load.parent);
    let parent: PageNode | null = load.parent;
    if (!this.isValid(load) || !this.cache.isCached(parent)) parent = null;
    for (const page of load.pages) {
      this.loadOf.delete(page.digest);
      if (parent && read.has(page.digest)) {
        parent = this.cache.adoptHost(parent, page.key, page.tokens, page.hostPage);
        if (!parent) continue;
        this.digests.set(parent, page.digest);
        this.counters.diskHits++;
      } else {
        parent = null;
        this.cache.giveHost(page.hostPage);
      }
    }
    this.loading -= load.pages.length;
  }

  // ---- Both ----

  /** Takes what the store has done. Call it before every plan. Returns sentences for the log. */
  update(): string[] {
    for (const news of this.store.news()) {
      this.hasNews = true;
      switch (news.type) {
        case "opened":
          this.open(news);
          break;
        case "saved":
          this.counters.diskWriteSeconds += news.seconds;
          for (const digest of news.digests) {
            const save = this.saving.get(digest)!;
            this.endSave(save);
            if (!this.isValid(save)) continue;
            this.index.add(digest, save.node);
            this.counters.diskSaved++;
          }
          for (const digest of news.left) this.endSave(this.saving.get(digest)!);
          break;
        case "loaded": {
          const load = this.loads.get(news.id)!;
          this.loads.delete(news.id);
          this.counters.diskReadSeconds += news.seconds;
          this.costs.restored(news.digests.length, news.seconds);
          this.adopt(load, news.digests);
          this.lose(load, news.lost);
          for (const seq of load.waiting) this.goOn(seq);
          break;
        }
        case "failed":
          this.turnOff(`the KV cache on disk is off from now on: ${news.message}`);
      }
    }
    return this.warnings.splice(0);
  }

  private open({ capacity, digests, warning }: Extract<StoreNews, { type: "opened" }>): void {
    if (this.isOff) return;
    if (warning !== null) this.warnings.push(warning);
    if (capacity < 1) {
      this.turnOff("kv_cache_dir_size is too small for one page: the KV cache on disk is off");
      return;
    }
    this.isOpen = true;
    this.index.capacity = capacity;
    for (const digest of digests) this.index.add(digest);
  }

  private lose(load: Load, digests: string[]): void {
    this.counters.diskLost += digests.length;
    if (!this.isValid(load) || digests.length === 0) return;
    for (const digest of digests) this.index.remove(digest);
    this.store.remove(digests);
  }

  /**
   * Nothing is written or read from now on; `warning` says why. Sequences that wait go on. Host pages that threads may still
   * write to stay out of use.
   */
  private turnOff(warning: string): void {
    if (this.isOff) return;
    this.isOff = true;
    this.isOpen = false;
    this.index.capacity = 0;
    this.warnings.push(warning);
    this.index.clear();
    this.candidates.clear();
    for (const page of this.staging.splice(0)) this.cache.giveHost(page);
    const unread = this.waitingLoads();
    this.held.length = this.due.length = 0;
    for (const behind of this.behind.values()) behind.loads.length = 0;
    for (const load of unread) this.adopt(load, []);
    for (const load of [...unread, ...this.loads.values()]) for (const seq of load.waiting.splice(0)) this.goOn(seq);
  }

  /** Other weights take the place of these: pages on disk stay there for those who start with the old ones. */
  weightsChange(): void {
    this.turnOff("the weights change: the KV cache on disk is off until the next start");
  }

  /** Loads that the store has not got yet. */
  private waitingLoads(): Load[] {
    return [...this.held, ...this.due, ...this.behind.values().flatMap((behind) => behind.loads)];
  }

  /** No page is found any more on the device and the host, nor on disk unless `keepDisk`. The listener has heard of it. */
  cleared(keepDisk: boolean): void {
    this.index.forgetTold();
    if (keepDisk) return;
    this.epoch++;
    this.index.clear();
    this.candidates.clear();
    if (this.isOpen) this.store.clear();
  }

  /** Device and host pages are about to lose what they hold; those on disk do not. Blocks until no file is read or written. */
  loseMemory(): void {
    this.candidates.clear();
    for (const one of [...this.planned, ...this.waitingLoads(), ...this.loads.values()]) one.epoch = STALE;
    this.store.interrupt();
  }

  /** The digest of a page of `seq`, or of its root. */
  private digestOf(seq: Sequence, node: PageNode): string {
    const known = this.digests.get(node);
    if (known !== undefined) return known;
    const digest =
      node.parent === null
        ? sha256("root", new TextEncoder().encode(seq.request.cacheSalt))
        : sha256(this.digestOf(seq, node.parent), bytesOf(node.tokens));
    this.digests.set(node, digest);
    return digest;
  }

  /** The digest of page `index` of `seq`, which follows the page of digest `before`. */
  private after(before: string, seq: Sequence, index: number): string {
    return sha256(before, bytesOf(seq.tokens.subarray(index * PAGE_TOKENS, (index + 1) * PAGE_TOKENS)));
  }
}

function bytesOf(tokens: Int32Array): Uint8Array {
  return new Uint8Array(tokens.buffer, tokens.byteOffset, tokens.byteLength);
}

function sha256(before: string, bytes: Uint8Array): string {
  return new Bun.CryptoHasher("sha256").update(before).update(bytes).digest("hex");
}
