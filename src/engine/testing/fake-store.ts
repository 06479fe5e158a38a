/** A disk for tests: pages by digest, written and read when tick() says so. It may be slow, lose pages, damage them, or fail. */
import type { LoadedNews, StoredPage, StoreNews } from "../../kv-cache-dir/store.ts";
import type { PageStore } from "../offload/disk-pages.ts";
import type { FakeLibrary } from "./fake-library.ts";

type Job =
  | { type: "save"; pages: readonly StoredPage[] }
  | { type: "load"; id: number; pages: readonly StoredPage[] }
  | { type: "remove"; digests: string[] }
  | { type: "clear" };

/** What a disk holds across engines: tokens by digest. */
export type FakeDisk = Map<string, Int32Array>;

export class FakeStore implements PageStore {
  /** Most pages that were ever there. */
  most = 0;
  private readonly jobs: Job[] = [];
  private ready: StoreNews[] = [];
  private ids = 0;
  private error: string | null = null;

  constructor(
    private readonly library: FakeLibrary,
    readonly disk: FakeDisk,
    capacity: number,
    /** By digest: whether it cannot be read. */
    private readonly isLost: (digest: string) => boolean = () => false,
  ) {
    this.ready.push({ type: "opened", folder: "/fake", capacity, digests: [...disk.keys()], warning: null });
  }

  get jobCount(): number {
    return this.jobs.length;
  }

  save(pages: readonly StoredPage[]): void {
    this.jobs.push({ type: "save", pages });
  }
  load(pages: readonly StoredPage[]): number {
    this.jobs.push({ type: "load", id: this.ids, pages });
    return this.ids++;
  }
  remove(digests: string[]): void {
    this.jobs.push({ type: "remove", digests });
  }
  clear(): void {
    this.jobs.push({ type: "clear" });
  }

  /** The next job fails, and no later one is done. */
  fail(message: string): void {
    this.error = message;
    this.jobs.length = 0;
    this.ready.push({ type: "failed", message });
  }

  /** Does the next `count` jobs. */
  tick(count = Number.POSITIVE_INFINITY): void {
    for (let i = 0; i < count && this.jobs.length > 0; i++) this.run(this.jobs.shift()!, false);
  }

  news(): StoreNews[] {
    return this.ready.splice(0);
  }

  interrupt(): void {
    for (const job of this.jobs.splice(0)) this.run(job, true);
  }

  private run(job: Job, interrupted: boolean): void {
    if (this.error !== null) return;
    const { disk, library } = this;
    switch (job.type) {
      case "save": {
        const saved = interrupted ? [] : job.pages;
        for (const { digest, hostPage } of saved) disk.set(digest, library.hostPage(hostPage).slice());
        this.most = Math.max(this.most, disk.size);
        const digests = saved.map(({ digest }) => digest);
        const left = interrupted ? job.pages.map(({ digest }) => digest) : [];
        this.ready.push({ type: "saved", digests, left, seconds: 1 });
        break;
      }
      case "load": {
        const news: LoadedNews = { type: "loaded", id: job.id, digests: [], lost: [], left: [], seconds: 1 };
        for (const { digest, hostPage } of job.pages) {
          const tokens = disk.get(digest);
          const list = interrupted ? news.left : tokens && !this.isLost(digest) ? news.digests : news.lost;
          list.push(digest);
          // What could not be read whole has been written to all the same.
          if (!interrupted) library.hostPage(hostPage).fill(-9);
          if (list === news.digests) library.hostPage(hostPage).set(tokens!);
        }
        this.ready.push(news);
        break;
      }
      case "remove":
        for (const digest of job.digests) disk.delete(digest);
        break;
      case "clear":
        disk.clear();
    }
  }
}
