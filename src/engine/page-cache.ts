/**
 * KV pages: who holds which, and which of them can be found again by content.
 *
 * A full page is identified by its tokens and everything before them, so the pages of all sequences form a forest of nodes.
 * A node may be on the device, in host memory, or in both. Pages that no sequence refers to stay until their room is needed.
 * The least recently used goes first: to the host when there is room, else for good. Steps and copies run in the order they
 * are submitted, so a page may be given to another sequence while a step that used it is still in flight.
 *
 * Pure: no FFI, no clock. Copies are only recorded, in the plan of the step that they precede.
 */
import { FG } from "../ffi/layout.ts";

export const PAGE_TOKENS = FG.PAGE_TOKENS;

/** One full page of tokens. A root stands for the empty prefix and has no page. */
export interface PageNode {
  readonly parent: PageNode | null;
  /** Chained hash of all tokens up to here. It finds the node; tokens and parent then prove that it is the right one. */
  readonly key: bigint;
  /** [PAGE_TOKENS] */
  readonly tokens: Int32Array;
  /** Device page, or -1. */
  page: number;
  /** Host page, or -1. */
  hostPage: number;
}

/** Where page copies are recorded: a StepPlan. */
export interface CopyList {
  copyPage(page: number, hostPage: number, direction: number): void;
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
  readonly root = PageCache.makeRoot(0n);
  /** By salt: the empty prefix that its sequences share, most recently used last. */
  private readonly roots = new Map<string, PageNode>();
  /** [pages]: the number of sequences that refer to each device page. Along one sequence it never rises. */
  readonly refs: Int32Array;
  private readonly nodeOf: (PageNode | null)[];
  private readonly free: number[];
  private readonly hostFree: number[] = [];
  private readonly index = new Map<bigint, PageNode>();
  /** Nodes on the device that no sequence refers to, least recently used first. */
  private readonly idle = new Set<PageNode>();
  /** Nodes with a host page, least recently evicted from the device first. */
  private readonly onHost = new Set<PageNode>();

  private usableHostPages = 0;

  constructor(
    readonly pages: number,
    hostPages: number,
  ) {
    this.refs = new Int32Array(pages);
    this.nodeOf = new Array(pages).fill(null);
    this.free = Array.from({ length: pages }, (_, i) => pages - 1 - i);
    this.setHostPages(hostPages);
  }

  /** Host pages that can be used. */
  get hostPages(): number {
    return this.usableHostPages;
  }

  /** Host pages [0, count) can be used from now on. Never fewer than before. */
  setHostPages(count: number): void {
    while (this.usableHostPages < count) this.hostFree.push(this.usableHostPages++);
  }

  /** An empty prefix that no other sequence shares: pages below it are found only through it. `key` sets it apart. */
  static makeRoot(key: bigint): PageNode {
    return { parent: null, key, tokens: new Int32Array(0), page: -1, hostPage: -1 };
  }

  /**
   * The empty prefix of all sequences with this salt; "" = none. At most as many are kept as there are pages; the pages below one that is
   * no longer kept are not found again.
   */
  rootOf(salt: string): PageNode {
    if (salt === "") return this.root;
    const root = this.roots.get(salt) ?? PageCache.makeRoot(Bun.hash.wyhash(salt, 1n));
    this.roots.delete(salt);
    this.roots.set(salt, root);
    if (this.roots.size > this.pages) this.roots.delete(this.roots.keys().next().value!);
    return root;
  }

  /** Pages that can be allocated now: empty ones, and cached ones that no sequence refers to. */
  get available(): number {
    return this.free.length + this.idle.size;
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
    return this.hostFree.length;
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
    const gone = path.findIndex((node) => node.page < 0 && node.hostPage < 0);
    return gone < 0 ? path : path.slice(0, gone);
  }

  /** A page for one sequence, or -1 when none is available. May evict a page, and so record a copy. */
  allocate(copies: CopyList): number {
    const page = this.free.pop() ?? this.evict(copies);
    if (page >= 0) this.refs[page] = 1;
    return page;
  }

  /**
   * Makes one sequence refer to the pages of `nodes`, and brings those back that are on the host. The caller has checked
   * that enough pages are available. Appends the device pages to `pages`.
   */
  acquire(nodes: readonly PageNode[], pages: number[], copies: CopyList): void {
    // They are all held before the first allocation, which could otherwise evict one of them.
    for (const node of nodes) {
      if (node.page >= 0) this.hold(node);
      else this.onHost.delete(node);
    }
    for (const node of nodes) {
      if (node.page < 0) {
        node.page = this.allocate(copies);
        this.nodeOf[node.page] = node;
        copies.copyPage(node.page, node.hostPage, FG.TO_DEVICE);
        this.onHost.add(node);
      }
      pages.push(node.page);
    }
  }

  private hold(node: PageNode): void {
    if (this.refs[node.page]!++ === 0) this.idle.delete(node);
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
      const node = { parent, key, tokens: tokens.slice(from, from + PAGE_TOKENS), page, hostPage: -1 };
      this.index.set(key, node);
      this.nodeOf[page] = node;
      return node;
    }
    if (known.page < 0) {
      known.page = page;
      this.nodeOf[page] = known;
    } else if (known.page !== page) {
      this.hold(known);
      this.release(page);
    }
    return known;
  }

  /** One sequence stops referring to `page`. Release its pages last to first, so that prefixes outlive what follows them. */
  release(page: number): void {
    if (--this.refs[page]! > 0) return;
    const node = this.nodeOf[page]!;
    if (node === null) this.free.push(page);
    else this.idle.add(node);
  }

  /** Forgets a node that no sequence refers to, on the device and the host. */
  forget(node: PageNode): void {
    if (this.idle.delete(node)) this.free.push(node.page);
    this.drop(node);
  }

  /** Forgets every page that no sequence refers to, on the device and the host. The others are found no more. */
  clear(): void {
    for (const node of [...this.idle, ...this.onHost, ...this.index.values()]) {
      const isUsed = node.page >= 0 && this.refs[node.page]! > 0;
      if (!isUsed) this.forget(node);
      else if (this.index.get(node.key) === node) this.index.delete(node.key);
    }
  }

  /** Takes the least recently used page from the cache. -1 when sequences refer to every page. */
  private evict(copies: CopyList): number {
    const node = first(this.idle);
    if (node === undefined) return -1;
    this.idle.delete(node);
    const { page } = node;
    if (node.hostPage < 0) {
      node.hostPage = this.takeHostPage();
      if (node.hostPage >= 0) copies.copyPage(page, node.hostPage, FG.TO_HOST);
    }
    if (node.hostPage >= 0) {
      this.onHost.delete(node);
      this.onHost.add(node);
      this.nodeOf[page] = null;
      node.page = -1;
    } else {
      this.drop(node);
    }
    return page;
  }

  private takeHostPage(): number {
    const free = this.hostFree.pop();
    if (free !== undefined) return free;
    const node = first(this.onHost);
    if (node === undefined) return -1;
    const { hostPage } = node;
    this.onHost.delete(node);
    node.hostPage = -1;
    if (node.page < 0) this.drop(node);
    return hostPage;
  }

  /** Takes an empty host page out of the cache, which may evict one: nobody else uses it before giveHost. -1 = there is none. */
  takeHost(): number {
    return this.takeHostPage();
  }

  /** Gives back a host page that was taken. What it holds is lost. */
  giveHost(hostPage: number): void {
    this.hostFree.push(hostPage);
  }

  /** Whether a page is on the device or the host. A root always is. */
  isCached(node: PageNode): boolean {
    return node.parent === null || node.page >= 0 || node.hostPage >= 0;
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
    const node = { parent, key, tokens, page: -1, hostPage };
    this.index.set(key, node);
    this.onHost.add(node);
    return node;
  }

  /** Removes a node from the index and from both memories. The caller takes over its device page, if it has one. */
  private drop(node: PageNode): void {
    if (this.index.get(node.key) === node) this.index.delete(node.key);
    if (node.page >= 0) this.nodeOf[node.page] = null;
    if (node.hostPage >= 0) {
      this.onHost.delete(node);
      this.hostFree.push(node.hostPage);
    }
    node.page = -1;
    node.hostPage = -1;
  }
}

function isPage(node: PageNode, parent: PageNode, tokens: Int32Array, from: number): boolean {
  if (node.parent !== parent) return false;
  for (let i = 0; i < PAGE_TOKENS; i++) if (node.tokens[i] !== tokens[from + i]) return false;
  return true;
}

function first<T>(set: Set<T>): T | undefined {
  return set.values().next().value;
}
