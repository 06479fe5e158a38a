/**
 * A thread that reads pages from files into host memory, and writes them. The engine has several: the first opens the folder
 * and writes, all others read. Each does one thing after the other, and blocks in it.
 */
import { type Pointer, toArrayBuffer } from "bun:ffi";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { parentPort } from "node:worker_threads";
import { MAX_KV_CACHE_PAGES } from "../limits.ts";
import { systemReason } from "../system/system-reason.ts";
import { emptyUnused, type PageFolder, removeAny, removePages, takeFolder } from "./folder.ts";
import {
  CLOSING,
  COPYING,
  type FromThread,
  GENERATION,
  INTERRUPTED,
  type PageBytes,
  type ThreadStart,
  type ToThread,
  WAITING,
} from "./messages.ts";
import { type Copier, HEADER_BYTES, readPage, writePage } from "./page-file.ts";
import { weightsDigest } from "./setup.ts";

class PageThread {
  private readonly shared: Int32Array;
  private folder: PageFolder | null = null;
  private limitBytes = 0;
  private fileBytes = 0;
  /** Pages in the folder. */
  private pages = 0;
  /** The file system has refused something. */
  private failed = false;

  constructor(private readonly start: ThreadStart) {
    this.shared = new Int32Array(start.shared);
  }

  take(message: ToThread): void {
    try {
      if (!this.failed || message.type === "close") this.carryOut(message);
    } catch (error) {
      this.failed = true;
      this.post({ type: "failed", message: systemReason(error) });
    }
    if (message.type === "open") return;
    Atomics.sub(this.shared, WAITING, 1);
    Atomics.notify(this.shared, WAITING);
  }

  private carryOut(message: ToThread): void {
    switch (message.type) {
      case "open":
        this.open(message);
        return;
      case "save":
        this.save(message);
        return;
      case "load":
        this.load(message);
        return;
      case "remove":
        for (const digest of message.digests) removeAny(join(this.folder!.path, digest));
        this.pages -= message.digests.length;
        return;
      case "clear":
        removePages(this.folder!.path);
        this.pages = 0;
        return;
      case "close":
        this.folder?.lock.close();
    }
  }

  private open({ place, source, ranks }: Extract<ToThread, { type: "open" }>): void {
    const { path: dir, bytes: limitBytes } = place;
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    const setup = { ...source.setup, weights: weightsDigest(source.weights, dir, () => this.isClosing) };
    this.fileBytes = HEADER_BYTES + ranks * this.start.partBytes;
    this.limitBytes = limitBytes;
    const folder = takeFolder(place, setup, this.fileBytes);
    this.folder = folder;
    const capacity = Math.min(MAX_KV_CACHE_PAGES, Math.floor(limitBytes / this.fileBytes));
    // The size may be less than it was.
    for (const digest of folder.pages.splice(0, folder.pages.length - capacity)) removeAny(join(folder.path, digest));
    this.pages = folder.pages.length;
    this.makeRoom(0);
    const warning =
      folder.differs === null ? null : `${dir} holds pages of another setup, which are ignored: ${folder.differs}`;
    this.post({ type: "opened", folder: folder.path, capacity, digests: folder.pages, warning });
  }

  /** Pages of other setups go first, where there is no room for `pages` more. */
  private makeRoom(pages: number): void {
    const { unused } = this.folder!;
    const used = () => (this.pages + pages) * this.fileBytes + unused.reduce((sum, { bytes }) => sum + bytes, 0);
    while (unused.length > 0 && used() > this.limitBytes) emptyUnused(unused.shift()!);
  }

  private save({ pages, generation }: Extract<ToThread, { type: "save" }>): void {
    const copy = this.copierOf(generation);
    const started = performance.now();
    const digests: string[] = [];
    const left: string[] = [];
    for (const page of pages) {
      if (this.isInterrupted) {
        left.push(page.digest);
        continue;
      }
      this.makeRoom(1);
      if (writePage(this.folder!.path, page.digest, this.partsOf(page), copy)) {
        this.pages++;
        digests.push(page.digest);
      } else left.push(page.digest);
    }
    this.post({ type: "saved", digests, left, seconds: (performance.now() - started) / 1000 });
  }

  private load({ id, folder, pages, generation }: Extract<ToThread, { type: "load" }>): void {
    const copy = this.copierOf(generation);
    const started = performance.now();
    const digests: string[] = [];
    const lost: string[] = [];
    const left: string[] = [];
    for (const page of pages) {
      const outcome = this.isInterrupted ? "taken" : readPage(folder, page.digest, this.partsOf(page), copy);
      (outcome === "read" ? digests : outcome === "taken" ? left : lost).push(page.digest);
    }
    this.post({ type: "loaded", id, digests, lost, left, seconds: (performance.now() - started) / 1000 });
  }

  /** Copies for a message of this generation: to or from host memory as long as that is not for others. */
  private copierOf(generation: number): Copier {
    const { shared } = this;
    return (to, from) => {
      Atomics.add(shared, COPYING, 1);
      // Who raises the generation waits for who was counted before.
      const isOurs = Atomics.load(shared, GENERATION) === generation;
      if (isOurs) to.set(from);
      Atomics.sub(shared, COPYING, 1);
      Atomics.notify(shared, COPYING);
      return isOurs;
    };
  }

  private get isClosing(): boolean {
    return Atomics.load(this.shared, CLOSING) !== 0;
  }

  private get isInterrupted(): boolean {
    return Atomics.load(this.shared, INTERRUPTED) !== 0;
  }

  /** The memory of a page: the library's own. It stays while a message waits. */
  private partsOf({ addresses }: PageBytes): Uint8Array[] {
    return addresses.map((at) => new Uint8Array(toArrayBuffer(at as Pointer, 0, this.start.partBytes)));
  }

  private post(message: FromThread): void {
    this.start.port.postMessage(message);
  }
}

parentPort?.once("message", (start: ThreadStart) => {
  const thread = new PageThread(start);
  start.port.on("message", (message: ToThread) => thread.take(message));
});
