/**
 * KV pages: who holds which, and which of them can be found again by content.
 *
 * A full page is identified by its tokens and everything before them, so the pages of all sequences form a forest of nodes.
 * A node may be on the device, in host memory, or in both. Pages that no sequence refers to stay until their room is needed.
 * The one that is expected last goes first (page-victims.ts), and a page never before those that follow it: to the host when
 * there is room or a page that is expected later still, else for good. Steps and copies run in the order they are submitted, so
 * a page may be given to another sequence while a step that used it is still in flight.
 *
 * Pure: no FFI, no clock. Copies are only recorded, in the plan of the step that they precede.
 */
import { FG } from "../../ffi/layout.ts";
import { EmptyHostPages } from "./empty-host-pages.ts";
import { PageReuse } from "./page-reuse.ts";
import { PageVictims } from "./page-victims.ts";

export const PAGE_TOKENS = FG.PAGE_TOKENS;

/** One full page of tokens. A root stands for the empty prefix and has no page. */
export interface PageNode {
  readonly parent: PageNode | null;
  /** Chained hash of all tokens up to here. It finds the node; tokens and parent then prove that it is the right one. */
  readonly key: bigint;
  /** [PAGE_TOKENS] */
  readonly tokens: Int32Array;
  /** Pages up to here, this one included. */
  readonly depth: number;
  /** The salt of the root above it; "" = none, null = the root is one sequence's own. */
  readonly salt: string | null;
  /** Device page, or -1. */
  page: number;
  /** Host page, or -1. */
  hostPage: number;
  /** Nodes that follow it: those on the device, and all. */
  deviceChildren: number;
  children: number;
  /** When its last use ended, and how long a new use takes to come, in pages taken; -1 = it was used once. */
  usedAt: number;
  gap: number;
  /** Waiting sequences that will start from it, and the arrival of the first of them. */
  waiters: number;
  due: number;
  /** Who needs it where it is. */
  locks: number;
  /** Where it stands among those that may leave; null while it may not. */
  victims: PageVictims | null;
}

/** Where page copies are recorded: a StepPlan. */
export interface CopyList {
  copyPage(page: number, hostPage: number, direction: number): void;
}

/** Where a page is, in the words of vLLM's events: the device, whatever kind it is of, the host's memory, or the disk. */
export type Medium = "GPU" | "CPU" | "FS";

/** Hears what becomes findable where, and what no longer is. A page may be in several places. */
export interface PageListener {
  stored(node: PageNode, medium: Medium): void;
  removed(page: Pick<PageNode, "key">, medium: Medium): void;
  /** Nothing of before is findable any more. */
  cleared(): void;
}

export function pagesFor(tokens: number): number {
  return Math.ceil(tokens / PAGE_TOKENS);
}

/** The key of the page that follows `parentKey` and holds `tokens`, [PAGE_TOKENS]. */
export function pageKey(parentKey: bigint, tokens: Int32Array): bigint {
  return Bun.hash.wyhash(tokens, parentKey);
}

export class PageCache {
  /** The empty prefix of all sequences without a salt. */
  readonly root = PageCache.makeRoot(0n, "");
  /** In pages, since the start. */
  readonly counts = { saved: 0, restored: 0, forgotten: 0 };
  /** Whether pages go to the host when they leave the device. Where some that follow a page are there, it does at any rate. */
  savesPages = true;
  /** By salt: the empty prefix that its sequences share, most recently used last. */
  private readonly roots = new Map<string, PageNode>();
  /** [pages]: the number of sequences that refer to each device page. Along one sequence it never rises. */
  readonly refs: Int32Array;
  private readonly nodeOf: (PageNode | null)[];
  private readonly free: number[];
  private readonly hostFree = new EmptyHostPages();
  private readonly index = new Map<bigint, PageNode>();
  private readonly reuse = new PageReuse();
  /** Nodes on the device that no sequence refers to and that nothing on the device follows. */
  private readonly deviceEnds = new PageVictims(this.reuse);
  /** Nodes on the host alone that nothing follows. */
  private readonly hostEnds = new PageVictims(this.reuse);
  /** Nodes on both: the host's copy can be given up at no loss. Oldest copy first. */
  private readonly onBoth = new Set<PageNode>();
  /** Nodes on the device that no sequence refers to. */
  private idle = 0;
  /** Nodes that were used once, on the device and the host. */
  private fresh = 0;

  constructor(
    readonly pages: number,
    hostPages: number,
    private listener: PageListener | null = null,
  ) {
    this.refs = new Int32Array(pages);
    this.nodeOf = new Array(pages).fill(null);
    this.free = Array.from({ length: pages }, (_, i) => pages - 1 - i);
    this.setHostPages(hostPages);
  }

  /** Host pages that can be used. */
  get hostPages(): number {
    return this.hostFree.count;
  }

  /** Host pages [0, count) can be used from now on. Never fewer than before. */
  setHostPages(count: number): void {
    this.hostFree.grow(count);
    this.reuse.capacity = this.pages + this.hostPages;
  }

  /** An empty prefix. With a null salt no other sequence shares it: pages below it are found only through it. `key` sets it apart. */
  static makeRoot(key: bigint, salt: string | null = null): PageNode {
    return makeNode(null, salt, key, new Int32Array(0), 0);
  }

  /**
   * The empty prefix of all sequences with this salt; "" = none. At most as many are kept as there are pages; the pages below one that is
   * no longer kept are not found again.
   */
  rootOf(salt: string): PageNode {
    if (salt === "") return this.root;
    const root = this.roots.get(salt) ?? PageCache.makeRoot(Bun.hash.wyhash(salt, 1n), salt);
    this.roots.delete(salt);
    this.roots.set(salt, root);
    if (this.roots.size > this.pages) this.roots.delete(this.roots.keys().next().value!);
    return root;
  }

  /** Pages that can be allocated now: empty ones, and cached ones that no sequence refers to. */
  get available(): number {
    return this.free.length + this.idle;
  }
  /** Pages that sequences refer to. */
  get referenced(): number {
    return this.pages - this.available;
  }
  /** Pages that hold nothing, not even content that a sequence may ask for again. */
  get empty(): number {
    return this.free.length;
  }
  get emptyHost(): number {
    return this.hostFree.size;
  }

  /** Pages that can be filled before others have to be forgotten. Those of the host, too, where pages go there. */
  get room(): number {
    return this.free.length + (this.savesPages ? this.hostFree.spare + this.onBoth.size : 0);
  }

  /** Whether a page is on the device or the host. A root always is. */
  isCached(node: PageNode): boolean {
    return node.parent === null || node.page >= 0 || node.hostPage >= 0;
  }

  /** The node of `tokens[from, from + PAGE_TOKENS)` after `parent`, or null when it is not cached. */
  find(parent: PageNode, key: bigint, tokens: Int32Array, from: number): PageNode | null {
    const node = this.index.get(key);
    return node !== undefined && isPage(node, parent, tokens, from) ? node : null;
  }

  /** The nodes from the first page of a sequence to `last`, up to the first that is no longer cached. */
  cachedPath(last: PageNode | null): PageNode[] {
    const path: PageNode[] = [];
    for (let node = last; node?.parent; node = node.parent) path.push(node);
    path.reverse();
    const gone = path.findIndex((node) => !this.isCached(node));
    return gone < 0 ? path : path.slice(0, gone);
  }

  /** A sequence that waits will start from `node` and what precedes it. `arrival`: the order in which such sequences start. */
  await(node: PageNode, arrival: number): void {
    this.hide(node);
    node.due = node.waiters === 0 ? arrival : Math.min(node.due, arrival);
    node.waiters++;
    this.show(node);
  }

  /** Takes back an await(). */
  awaitNoMore(node: PageNode): void {
    this.hide(node);
    node.waiters--;
    this.show(node);
  }

  /** A page for one sequence, or -1 when none is available. May evict a page, and so record a copy. */
  allocate(copies: CopyList): number {
    const page = this.free.pop() ?? this.evict(copies);
    if (page < 0) return page;
    this.refs[page] = 1;
    this.reuse.now++;
    return page;
  }

  /** Allocates until there are `count` pages in `pages`. False when no more are available. */
  grow(pages: number[], count: number, copies: CopyList): boolean {
    while (pages.length < count) {
      const page = this.allocate(copies);
      if (page < 0) return false;
      pages.push(page);
    }
    return true;
  }

  /**
   * Makes one sequence refer to the pages of `nodes`, and brings those back that are on the host. The caller has checked
   * that enough pages are available. Appends the device pages to `pages`. `isUse`: it is not a sequence that only takes back what it
   * had to give up. `direction`: FG.TO_DEVICE or FG.TO_DEVICE_BESIDE.
   */
  acquire(
    nodes: readonly PageNode[],
    pages: number[],
    copies: CopyList,
    isUse = true,
    direction: number = FG.TO_DEVICE,
  ): void {
    // They are all held before the first allocation, which could otherwise evict one of them.
    for (const node of nodes) {
      const isUsed = node.page >= 0 && this.refs[node.page]! > 0;
      if (node.page >= 0) this.hold(node);
      else this.lock(node);
      if (isUse && !isUsed) this.prove(node);
    }
    for (const node of nodes) {
      if (node.page < 0) {
        this.enterDevice(node, this.allocate(copies));
        copies.copyPage(node.page, node.hostPage, direction);
        this.counts.restored++;
        this.unlock(node);
      }
      pages.push(node.page);
    }
  }

  /** The node stays where it is until unlock(). */
  private lock(node: PageNode): void {
    this.hide(node);
    node.locks++;
  }

  private unlock(node: PageNode): void {
    node.locks--;
    this.show(node);
  }

  private hold(node: PageNode): void {
    if (this.refs[node.page]! === 0) {
      this.hide(node);
      this.idle--;
    }
    this.refs[node.page]!++;
  }

  private prove(node: PageNode): void {
    if (node.gap < 0) this.fresh--;
    this.reuse.usedAgain(node);
  }

  /**
   * Makes a full page findable: `page` holds `tokens[from, from + PAGE_TOKENS)` after `parent`, and the caller refers to it.
   * Returns its node. When another page has the same content, that is the node's page: the caller then refers to it, and no
   * longer to `page`. Null when other content in use has the same hash: the page is then not findable.
   */
  register(parent: PageNode, key: bigint, tokens: Int32Array, from: number, page: number): PageNode | null {
    let known = this.index.get(key);
    if (known !== undefined && !isPage(known, parent, tokens, from)) {
      // Other content with the same hash, or the same content below a parent that is gone.
      if (known.page >= 0 && this.refs[known.page]! > 0) return null;
      this.forget(known);
      known = undefined;
    }
    if (known === undefined) {
      const node = this.insert(parent, key, tokens.slice(from, from + PAGE_TOKENS));
      this.enterDevice(node, page);
      return node;
    }
    if (known.page < 0) {
      this.hide(known);
      this.prove(known);
      this.enterDevice(known, page);
      this.show(known);
    } else if (known.page !== page) {
      this.hold(known);
      this.release(page);
    }
    return known;
  }

  /** A new node, which is in neither memory yet. */
  private insert(parent: PageNode, key: bigint, tokens: Int32Array): PageNode {
    const node = makeNode(parent, parent.salt, key, tokens, this.reuse.now);
    this.index.set(key, node);
    this.reuse.created(node);
    if (node.gap < 0) this.fresh++;
    this.hide(parent);
    parent.children++;
    this.show(parent);
    return node;
  }

  /** One sequence stops referring to `page`. Release its pages last to first, so that prefixes outlive what follows them. */
  release(page: number): void {
    if (--this.refs[page]! > 0) return;
    const node = this.nodeOf[page]!;
    if (node === null) {
      this.free.push(page);
      return;
    }
    this.hide(node);
    this.reuse.unused(node);
    this.idle++;
    this.show(node);
    // It cannot be found since clear().
    if (this.index.get(node.key) !== node) this.forget(node);
  }

  /** Forgets a node that no sequence refers to, on the device and the host. */
  forget(node: PageNode): void {
    const { page } = node;
    const isIdle = page >= 0 && this.refs[page] === 0;
    this.drop(node);
    if (isIdle) this.free.push(page);
  }

  /** Forgets every page that no sequence refers to, on the device and the host. The others are found no more. */
  clear(): void {
    this.listener?.cleared();
    const nodes = new Set(this.index.values());
    for (const node of this.nodeOf) if (node) nodes.add(node);
    this.index.clear();
    this.reuse.clear();
    for (const node of nodes) if (node.page < 0 || this.refs[node.page] === 0) this.forget(node);
  }

  /** Takes the page from the cache that is expected last. -1 when sequences refer to every page. */
  private evict(copies: CopyList): number {
    const node = this.deviceEnds.worst(this.fresh);
    if (node === undefined) return -1;
    const { page } = node;
    this.lock(node);
    if (node.hostPage < 0 && (this.savesPages || node.children > 0)) this.save(node, copies);
    if (node.hostPage < 0) this.lose(node);
    else this.leaveDevice(node);
    this.unlock(node);
    return page;
  }

  /** Copies a node to the host, unless every page there is worth more. */
  private save(node: PageNode, copies: CopyList): void {
    const hostPage = this.takeHostPage(node);
    if (hostPage < 0) return;
    node.hostPage = hostPage;
    copies.copyPage(node.page, hostPage, FG.TO_HOST);
    this.counts.saved++;
    this.tellStored(node, "CPU");
  }

  /**
   * An empty host page for `node`, or for no node (null). Where none is to spare, another is emptied in its place: the copy of a page
   * that is on the device too, or a page that is worth less. -1 = there is none.
   */
  private takeHostPage(node: PageNode | null): number {
    if (this.hostFree.spare === 0) {
      const [copied] = this.onBoth;
      const victim = this.hostEnds.worst(this.fresh);
      if (copied) {
        this.giveCopyUp(copied);
      } else if (victim) {
        // What follows a node on the host would be lost with it.
        if (node?.children === 0 && this.hostEnds.isWorse(node, victim)) return -1;
        this.lose(victim);
      }
    }
    return this.hostFree.take();
  }

  /** Takes an empty host page out of the cache, which may evict one: nobody else uses it before giveHost. -1 = there is none. */
  takeHost(): number {
    return this.takeHostPage(null);
  }

  /** Gives back a host page that was taken. What it holds is lost. */
  giveHost(hostPage: number): void {
    this.hostFree.add(hostPage);
  }

  /**
   * Makes a page findable that is on a host page that was taken: it holds `tokens`, [PAGE_TOKENS], after `parent`, which is
   * cached. Returns its node; where that is there already, the host page is given back. Null when other content has the same
   * hash: the host page is given back then, too.
   */
  adoptHost(parent: PageNode, key: bigint, tokens: Int32Array, hostPage: number): PageNode | null {
    const known = this.index.get(key);
    if (known !== undefined) {
      this.giveHost(hostPage);
      return isPage(known, parent, tokens, 0) ? known : null;
    }
    const node = this.insert(parent, key, tokens);
    node.hostPage = hostPage;
    this.tellStored(node, "CPU");
    this.show(node);
    return node;
  }

  /** Drops a node whose room is needed. The caller takes over its device page, if it has one. */
  private lose(node: PageNode): void {
    this.counts.forgotten++;
    if (this.index.get(node.key) === node) this.reuse.dropped(node);
    this.drop(node);
  }

  /** Removes a node from the index and from both memories. The caller takes over its device page, if it has one. */
  private drop(node: PageNode): void {
    this.hide(node);
    if (node.gap < 0) this.fresh--;
    if (node.page >= 0) this.leaveDevice(node);
    if (node.hostPage >= 0) this.leaveHost(node);
    if (this.index.get(node.key) === node) this.index.delete(node.key);
    const parent = node.parent!;
    this.hide(parent);
    parent.children--;
    this.show(parent);
  }

  private enterDevice(node: PageNode, page: number): void {
    const parent = node.parent!;
    node.page = page;
    this.nodeOf[page] = node;
    this.hide(parent);
    parent.deviceChildren++;
    this.show(parent);
    this.tellStored(node, "GPU");
  }

  /** The caller takes over its page. */
  private leaveDevice(node: PageNode): void {
    const parent = node.parent!;
    this.tellRemoved(node, "GPU");
    this.nodeOf[node.page] = null;
    if (this.refs[node.page] === 0) this.idle--;
    node.page = -1;
    this.hide(parent);
    parent.deviceChildren--;
    this.show(parent);
  }

  private giveCopyUp(node: PageNode): void {
    this.hide(node);
    this.leaveHost(node);
    this.show(node);
  }

  private leaveHost(node: PageNode): void {
    this.tellRemoved(node, "CPU");
    this.hostFree.add(node.hostPage);
    node.hostPage = -1;
  }

  /** Whether `node` is found by others than the sequences that refer to it. */
  private isShared(node: PageNode): boolean {
    return node.salt !== null && this.index.get(node.key) === node;
  }

  private tellStored(node: PageNode, medium: Medium): void {
    if (this.listener && this.isShared(node)) this.listener.stored(node, medium);
  }

  private tellRemoved(node: PageNode, medium: Medium): void {
    if (this.listener && this.isShared(node)) this.listener.removed(node, medium);
  }

  /** Puts a node among those that may leave, if it may. */
  private show(node: PageNode): void {
    if (node.locks > 0) return;
    if (node.page >= 0) {
      if (node.hostPage >= 0) this.onBoth.add(node);
      if (this.refs[node.page] === 0 && node.deviceChildren === 0) this.deviceEnds.add(node);
    } else if (node.hostPage >= 0 && node.children === 0) {
      this.hostEnds.add(node);
    }
  }

  /** Undoes show(). Call it before a node changes. */
  private hide(node: PageNode): void {
    this.onBoth.delete(node);
    node.victims?.remove(node);
  }
}

/** A node that is in neither memory yet. `now`: the time, in pages taken. */
function makeNode(
  parent: PageNode | null,
  salt: string | null,
  key: bigint,
  tokens: Int32Array,
  now: number,
): PageNode {
  const place = { page: -1, hostPage: -1, deviceChildren: 0, children: 0, locks: 0, victims: null };
  return {
    parent,
    salt,
    key,
    tokens,
    depth: (parent?.depth ?? -1) + 1,
    ...place,
    usedAt: now,
    gap: -1,
    waiters: 0,
    due: 0,
  };
}

function isPage(node: PageNode, parent: PageNode, tokens: Int32Array, from: number): boolean {
  if (node.parent !== parent) return false;
  for (let i = 0; i < PAGE_TOKENS; i++) if (node.tokens[i] !== tokens[from + i]) return false;
  return true;
}
