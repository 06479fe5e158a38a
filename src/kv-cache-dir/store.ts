/**
 * Pages on disk, as the engine's thread sees them: it asks for pages to be written and read, and later hears what came of it.
 * Threads of their own do the work (thread.ts), so that nothing here blocks but interrupt().
 */
import { availableParallelism } from "node:os";
import { extname } from "node:path";
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from "node:worker_threads";
import type { KvCacheDirConfig } from "../engine-config.ts";
import {
  CLOSING,
  COPYING,
  type FromThread,
  GENERATION,
  INTERRUPTED,
  type PageBytes,
  SHARED_WORDS,
  type ThreadStart,
  type ToThread,
  WAITING,
} from "./messages.ts";
import type { SetupSource } from "./setup.ts";

/** Threads that read, at most, and of the machine's cores. One copies and checks some GB/s where the files are in memory. */
const MOST_READERS = 8;
const READERS = Math.max(1, Math.min(MOST_READERS, Math.floor(availableParallelism() / 2)));

/** Milliseconds without any progress after which nobody waits for a file system that hangs. */
const PATIENCE = 30_000;

/** Milliseconds in which pages that are being saved are written when the engine closes. */
const CLOSE_PATIENCE = 5000;

/** As front.ts finds its worker. */
const THREAD_URL = import.meta.url.startsWith("file:///$bunfs/")
  ? new URL("file:///$bunfs/root/src/kv-cache-dir/thread.ts")
  : new URL(`./thread${extname(import.meta.url)}`, import.meta.url);

export interface StoreOptions {
  place: KvCacheDirConfig;
  source: SetupSource;
  /** Ranks of a page, and bytes of one rank's part. */
  ranks: number;
  partBytes: number;
  /** The addresses of a host page, one a rank. */
  hostPage(page: number): number[];
  /** Called when there is news while the thread is in its event loop. */
  onNews(): void;
}

/** A page that is written or read, and the host page that it is written from or read into. */
export interface StoredPage {
  digest: string;
  hostPage: number;
}

export type StoreNews = Exclude<FromThread, { type: "loaded" }> | LoadedNews;

/** What came of a whole load. */
export type LoadedNews = Extract<FromThread, { type: "loaded" }>;

interface Thread {
  worker: Worker;
  port: MessagePort;
}

export class KvCacheDir {
  private readonly threads: Thread[] = [];
  private readonly shared = new Int32Array(new SharedArrayBuffer(4 * SHARED_WORDS));
  private readonly inbox: FromThread[] = [];
  private folder = "";
  private nextLoad = 0;
  /** By load: answers that are missing, and what the others said. */
  private readonly loads = new Map<number, { missing: number; news: LoadedNews }>();

  constructor(private readonly options: StoreOptions) {
    const { place, source, ranks } = options;
    for (let i = 0; i <= READERS; i++) this.threads.push(this.startThread());
    this.send(0, { type: "open", place, source, ranks });
  }

  private startThread(): Thread {
    const worker = new Worker(THREAD_URL);
    const { port1, port2 } = new MessageChannel();
    const fail = (reason: string) => this.receive({ type: "failed", message: `a thread for pages ${reason}` });
    worker.on("error", (error) => fail(`crashed: ${error instanceof Error ? error.message : String(error)}`));
    port1.on("message", (message: FromThread) => this.receive(message));
    const { partBytes } = this.options;
    const start: ThreadStart = { port: port2, shared: this.shared.buffer as SharedArrayBuffer, partBytes };
    worker.postMessage(start, [port2]);
    return { worker, port: port1 };
  }

  private receive(message: FromThread): void {
    this.inbox.push(message);
    this.options.onNews();
  }

  private send(thread: number, message: ToThread): void {
    if (message.type !== "open") Atomics.add(this.shared, WAITING, 1);
    this.threads[thread]!.port.postMessage(message);
  }

  /** Writes pages behind what was asked for before. Their host pages must not change before the news of it. */
  save(pages: readonly StoredPage[]): void {
    this.send(0, { type: "save", pages: this.bytesOf(pages), generation: this.generation });
  }

  /** Reads pages into host pages, which nobody else may use before the news of it. Returns the load's id. */
  load(pages: readonly StoredPage[]): number {
    const id = this.nextLoad++;
    const readers = Math.min(READERS, pages.length);
    this.loads.set(id, { missing: readers, news: { type: "loaded", id, digests: [], lost: [], left: [], seconds: 0 } });
    for (let reader = 0; reader < readers; reader++) {
      const share = pages.filter((_, i) => i % readers === reader);
      const { folder, generation } = this;
      this.send(1 + reader, { type: "load", id, folder, pages: this.bytesOf(share), generation });
    }
    return id;
  }

  private bytesOf(pages: readonly StoredPage[]): PageBytes[] {
    return pages.map(({ digest, hostPage }) => ({ digest, addresses: this.options.hostPage(hostPage) }));
  }

  remove(digests: string[]): void {
    this.send(0, { type: "remove", digests });
  }

  clear(): void {
    this.send(0, { type: "clear" });
  }

  /** What has happened since the last call, in order. */
  news(): StoreNews[] {
    for (const { port } of this.threads) {
      for (let mail = receiveMessageOnPort(port); mail; mail = receiveMessageOnPort(port))
        this.inbox.push(mail.message);
    }
    const news: StoreNews[] = [];
    for (const message of this.inbox.splice(0)) {
      if (message.type === "opened") this.folder = message.folder;
      if (message.type !== "loaded") news.push(message);
      else {
        const whole = this.addLoaded(message);
        if (whole) news.push(whole);
      }
    }
    return news;
  }

  /** Adds one reader's answer to its load. Returns the load's news when that was the last. */
  private addLoaded({ id, digests, lost, left, seconds }: LoadedNews): LoadedNews | null {
    const load = this.loads.get(id)!;
    load.news.digests.push(...digests);
    load.news.lost.push(...lost);
    load.news.left.push(...left);
    // They read side by side.
    load.news.seconds = Math.max(load.news.seconds, seconds);
    if (--load.missing > 0) return null;
    this.loads.delete(id);
    return load.news;
  }

  private get generation(): number {
    return Atomics.load(this.shared, GENERATION);
  }

  /**
   * Blocks until no thread reads or writes host memory. What had not begun comes back as not saved, or lost. So does what hangs for
   * `patience` milliseconds: it may go on later, but no longer touches host memory.
   */
  interrupt(patience = PATIENCE): void {
    Atomics.store(this.shared, INTERRUPTED, 1);
    for (;;) {
      const waiting = Atomics.load(this.shared, WAITING);
      if (waiting === 0) break;
      if (Atomics.wait(this.shared, WAITING, waiting, patience) !== "timed-out") continue;
      this.takeMemory();
      break;
    }
    Atomics.store(this.shared, INTERRUPTED, 0);
  }

  /** Host memory is for others from now on. Waits for copies of a chunk alone. */
  private takeMemory(): void {
    Atomics.add(this.shared, GENERATION, 1);
    for (let copying = 1; copying > 0; ) {
      copying = Atomics.load(this.shared, COPYING);
      if (copying > 0) Atomics.wait(this.shared, COPYING, copying);
    }
  }

  /** Writes what is being saved, unless that takes long, and ends the threads. The last call; host memory may be freed then. */
  close(): void {
    Atomics.store(this.shared, CLOSING, 1);
    this.send(0, { type: "close" });
    const until = performance.now() + CLOSE_PATIENCE;
    for (let left = CLOSE_PATIENCE; left > 0; left = until - performance.now()) {
      const waiting = Atomics.load(this.shared, WAITING);
      if (waiting === 0) break;
      Atomics.wait(this.shared, WAITING, waiting, left);
    }
    this.interrupt();
    for (const { worker, port } of this.threads.splice(0)) {
      port.close();
      void worker.terminate();
    }
  }
}
