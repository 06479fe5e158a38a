/**
 * Pages on their way from the disk. A sequence whose next pages are there waits until they are in the host's memory, where the page
 * cache finds them. A page that cannot be read is computed.
 */
import type { LoadedNews, StoredPage } from "../../kv-cache-dir/store.ts";
import { PAGE_TOKENS, type PageCache, type PageNode } from "../pages/page-cache.ts";
import type { Sequence } from "../sequences/sequence.ts";
import type { PageStore } from "./disk-pages.ts";
import { type DiskState, STALE } from "./disk-state.ts";
import type { RestoreCosts } from "./restore-costs.ts";

/** Share of the host pages that may be on their way from the disk at once. */
const LOADING_SHARE = 0.75;

/** How often one sequence waits for the disk: where its pages are gone again before it gets a slot, it computes them. */
const MOST_LOADS = 2;

/** Consecutive pages of a sequence on their way from the disk. */
interface Load {
  epoch: number;
  /** The page before the first, or a root. */
  parent: PageNode;
  pages: (StoredPage & { key: bigint; tokens: Int32Array })[];
  /** Those that wait for it. */
  waiting: Sequence[];
}

export class DiskLoads {
  /** Loads that must wait: a copy that was planned before may still read their host pages, or write to them. */
  private readonly held: Load[] = [];
  /** Those of them that wait for the step that is in flight alone, or for nothing. */
  private readonly due: Load[] = [];
  /** By step: the loads that wait for its copies. */
  private readonly behind = new Map<object, Load[]>();
  /** By number: loads that the store has. */
  private readonly loads = new Map<number, Load>();
  /** By the digest of each of its pages. */
  private readonly loadOf = new Map<string, Load>();
  /** Pages in all loads. */
  private loading = 0;
  private readonly loadsOf = new WeakMap<Sequence, number>();

  constructor(
    private readonly state: DiskState,
    private readonly cache: PageCache,
    private readonly store: PageStore,
    private readonly costs: RestoreCosts,
    /** Called for a sequence that has waited: its pages are there, or it has to compute them. It may have ended. */
    private readonly goOn: (seq: Sequence) => void,
  ) {}

  /** Loads that wait for copies of plans. */
  get waiting(): number {
    return this.held.length + this.due.length;
  }

  /**
   * Whether `seq`, whose first pages are `nodes`, is to wait until pages that follow them have come from the disk: until it is
   * told to go on.
   */
  fetch(seq: Sequence, nodes: readonly PageNode[]): boolean {
    const { state } = this;
    if (!state.isOpen || seq.isPrivate || state.index.size === 0) return false;
    const first = nodes.length;
    if (first >= seq.sharablePages) return false;
    const parent = nodes.at(-1) ?? seq.root;
    let digest = state.digestAfter(state.digestOf(seq, parent), seq, first);
    const begun = this.loadOf.get(digest);
    if (begun) {
      begun.waiting.push(seq);
      return true;
    }
    const times = this.loadsOf.get(seq) ?? 0;
    if (!state.index.has(digest) || times >= MOST_LOADS || !this.costs.pays()) return false;
    // What the pages follow must not make room for them.
    this.cache.await(parent, seq.arrival);
    const load: Load = { epoch: state.epoch, parent, pages: [], waiting: [seq] };
    const most = Math.max(1, Math.floor(this.cache.hostPages * LOADING_SHARE)) - this.loading;
    for (let i = first; i < seq.sharablePages && load.pages.length < most && state.index.has(digest); i++) {
      if (this.loadOf.has(digest)) break;
      const hostPage = this.cache.takeHost();
      if (hostPage < 0) break;
      const tokens = seq.tokens.slice(i * PAGE_TOKENS, (i + 1) * PAGE_TOKENS);
      load.pages.push({ digest, hostPage, key: seq.key(i), tokens });
      state.index.add(digest);
      this.loadOf.set(digest, load);
      if (i + 1 < seq.sharablePages) digest = state.digestAfter(digest, seq, i + 1);
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

  submitted(step: object): void {
    if (this.held.length > 0) this.behind.set(step, this.held.splice(0));
  }

  committed(step: object): void {
    // Copies to the device may have run beside the step after the one they came with.
    this.read(this.due.splice(0));
    this.due.push(...(this.behind.get(step) ?? []));
    this.behind.delete(step);
  }

  /** The copies that were planned have been made, and all before them. */
  copied(): void {
    this.read([...this.due.splice(0), ...this.held.splice(0)]);
  }

  /** No copy uses the host pages of `loads` any more. */
  private read(loads: readonly Load[]): void {
    for (const load of loads) this.loads.set(this.store.load(load.pages), load);
  }

  /** The store has done what it can of a load. */
  loaded({ id, digests, lost, seconds }: LoadedNews): void {
    const load = this.loads.get(id)!;
    this.loads.delete(id);
    this.costs.restored(digests.length, seconds);
    this.adopt(load, digests);
    this.lose(load, lost);
    for (const seq of load.waiting) this.goOn(seq);
  }

  /** The pages that were read become pages of the cache, as far as the pages before them are there. */
  private adopt(load: Load, digests: readonly string[]): void {
    const { state } = this;
    const read = new Set(digests);
    this.cache.awaitNoMore(load.parent);
    let parent: PageNode | null = load.parent;
    if (!state.isValid(load) || !this.cache.isCached(parent)) parent = null;
    for (const page of load.pages) {
      this.loadOf.delete(page.digest);
      if (parent && read.has(page.digest)) {
        parent = this.cache.adoptHost(parent, page.key, page.tokens, page.hostPage);
        if (!parent) continue;
        state.setDigest(parent, page.digest);
        state.counters.diskHits++;
      } else {
        parent = null;
        this.cache.giveHost(page.hostPage);
      }
    }
    this.loading -= load.pages.length;
  }

  private lose(load: Load, digests: string[]): void {
    const { state } = this;
    // A reset takes files from under who reads them: those are not missed.
    if (!state.isValid(load) || digests.length === 0) return;
    state.counters.diskLost += digests.length;
    for (const digest of digests) state.index.remove(digest);
    this.store.remove(digests);
  }

  /** Loads that the store has not got yet. */
  private unread(): Load[] {
    return [...this.held, ...this.due, ...[...this.behind.values()].flat()];
  }

  /** What is read into memory from here on is not what it was taken for. */
  loseMemory(): void {
    for (const load of [...this.unread(), ...this.loads.values()]) load.epoch = STALE;
  }

  /** The level is off: sequences that wait go on. Host pages that threads may still write to stay out of use. */
  turnOff(): void {
    const unread = this.unread();
    this.held.length = this.due.length = 0;
    this.behind.clear();
    for (const load of unread) this.adopt(load, []);
    for (const load of [...unread, ...this.loads.values()]) for (const seq of load.waiting.splice(0)) this.goOn(seq);
  }
}
