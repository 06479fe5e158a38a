/**
 * One file of the hub into the cache's blobs/ folder. Bytes arrive in <blob>.incomplete; after an interruption the next
 * attempt goes on from there. The content is read back and checked against its hash before it gets its name.
 *
 * Only the process that holds the file's lock writes to it. Names and locks are those of Python's huggingface_hub, so both can
 * share a cache at the same time, between containers too.
 */
import { createReadStream } from "node:fs";
import { type FileHandle, mkdir, open, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as setTimeoutPromise } from "node:timers/promises";
import { FastgenError } from "../errors.ts";
import { withFileLock } from "../system/file-lock.ts";
import { type HubClient, TransientError } from "./hub-client.ts";

export interface HubFile {
  /** Its path in the repository. */
  path: string;
  bytes: number;
  /** The name of the blob: the sha256 of an LFS file, git's sha1 of any other file. */
  etag: string;
  hash: "sha256" | "git";
}

export interface DownloadOptions {
  /** Called with the bytes that have arrived since the last call. Negative when a file starts again. */
  onBytes: (bytes: number) => void;
  signal: AbortSignal;
  /** Milliseconds before the second attempt. They double each time. */
  retryDelayMs: number;
}

/** Files up to this size are known by their hash, which takes milliseconds; larger ones that are here, by their size. */
const MAX_HASHED_BYTES = 64 * 1024 * 1024;

/** Attempts without a new byte after which a download is given up. */
const MAX_ATTEMPTS = 5;

/** A connection that sends nothing for this long is dead. */
const STALL_MS = 60_000;

/** Whether `path` holds `file`, as far as it costs no time to know. */
export async function isIntact(path: string, file: HubFile): Promise<boolean> {
  const info = await stat(path).catch(() => null);
  if (!info?.isFile() || info.size !== file.bytes) return false;
  return file.bytes > MAX_HASHED_BYTES || (await hashOf(path, file)) === file.etag;
}

/**
 * Downloads `file` from `url` to `blob`, unless it is there whole already. Of a blob that was cut short the rest is fetched;
 * one that is damaged is replaced. `lock` is the path of its lock file.
 * @throws FastgenError, or the file system's own error.
 */
export async function downloadBlob(
  client: HubClient,
  url: string,
  file: HubFile,
  blob: string,
  lock: string,
  options: DownloadOptions,
): Promise<void> {
  let reported = 0;
  const report = (total: number) => {
    options.onBytes(total - reported);
    reported = total;
  };
  await mkdir(dirname(lock), { recursive: true });
  const onWait = async () => report(await bytesHere(blob));
  await withFileLock(lock, { signal: options.signal, onWait }, async (locked) => {
    report(0);
    if (await isIntact(blob, file)) return report(file.bytes);
    // Without a lock nobody may go on with another's file.
    const partial = locked ? `${blob}.incomplete` : `${blob}.${crypto.randomUUID()}.incomplete`;
    if (locked) await goOnWith(blob, partial, file);
    try {
      await new Download(client, url, file, partial, options).run();
      await rename(partial, blob);
    } catch (error) {
      if (!locked) await rm(partial, { force: true });
      throw error;
    }
  });
}

/** Makes a blob that was cut short the partial file of its download, unless there is one. */
async function goOnWith(blob: string, partial: string, file: HubFile): Promise<void> {
  const [cut, begun] = await Promise.all([blob, partial].map((path) => stat(path).catch(() => null)));
  if (cut && !begun && cut.size < file.bytes) await rename(blob, partial);
}

/** The hash of what is in the file `path`, of the kind that `file` is named by. */
async function hashOf(path: string, { hash, bytes }: HubFile, signal?: AbortSignal): Promise<string> {
  const hasher =
    hash === "sha256" ? new Bun.CryptoHasher("sha256") : new Bun.CryptoHasher("sha1").update(`blob ${bytes}\0`);
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 22, signal })) hasher.update(chunk);
  return hasher.digest("hex");
}

class Download {
  #done = 0;

  constructor(
    readonly client: HubClient,
    readonly url: string,
    readonly file: HubFile,
    readonly partial: string,
    readonly options: DownloadOptions,
  ) {}

  /** Fetches what is missing of the partial file and checks the whole. */
  async run(): Promise<void> {
    // What somebody else has left may be damaged: then the file is fetched once more, from its start.
    const attempts = (await stat(this.partial).catch(() => null))?.size ? 2 : 1;
    for (let attempt = 1; attempt <= attempts; attempt++) {
      this.#count(-this.#done);
      const handle = await open(this.partial, "a+");
      try {
        await this.#fetch(handle);
        await handle.sync();
      } finally {
        await handle.close();
      }
      // Of all that is in the file, whoever wrote it.
      if ((await hashOf(this.partial, this.file, this.options.signal)) === this.file.etag) return;
      await rm(this.partial, { force: true });
    }
    throw new FastgenError(
      "unavailable",
      `${this.file.path} was damaged on its way: its hash is wrong. Run again to download it anew.`,
    );
  }

  async #fetch(handle: FileHandle): Promise<void> {
    const { file, options } = this;
    const { size } = await handle.stat();
    if (size > file.bytes) await handle.truncate(0);
    else this.#count(size);
    for (let attempt = 1; this.#done < file.bytes; attempt++) {
      const before = this.#done;
      try {
        await this.#fetchRest(handle);
      } catch (error) {
        if (options.signal.aborted) throw new FastgenError("aborted", "the download was cancelled");
        if (!(error instanceof TransientError)) throw error;
        if (this.#done > before) attempt = 1;
        if (attempt >= MAX_ATTEMPTS) {
          throw new FastgenError(
            "unavailable",
            `${file.path} could not be downloaded: ${error.message}. Run again to go on from ${this.#done} of ${file.bytes} bytes.`,
            { cause: error },
          );
        }
        await pause(options.retryDelayMs * 2 ** (attempt - 1), options.signal);
      }
    }
  }

  async #restart(handle: FileHandle): Promise<void> {
    await handle.truncate(0);
    this.#count(-this.#done);
  }

  #count(bytes: number): void {
    this.#done += bytes;
    this.options.onBytes(bytes);
  }

  async #fetchRest(handle: FileHandle): Promise<void> {
    const stall = new AbortController();
    let timer = setTimeout(() => stall.abort(), STALL_MS);
    try {
      const response = await this.client.fetch(this.url, {
        headers: this.#done > 0 ? { range: `bytes=${this.#done}-` } : {},
        signal: AbortSignal.any([this.options.signal, stall.signal]),
      });
      const continues =
        response.status === 206 && response.headers.get("content-range")?.startsWith(`bytes ${this.#done}-`);
      if (this.#done > 0 && !continues) await this.#restart(handle);
      if (response.status === 416 || (response.status === 206 && !continues)) {
        await response.body?.cancel();
        throw new TransientError("the server does not serve the rest of the file");
      }
      for await (const chunk of response.body ?? []) {
        clearTimeout(timer);
        timer = setTimeout(() => stall.abort(), STALL_MS);
        if (this.#done + chunk.length > this.file.bytes) {
          throw new FastgenError(
            "unavailable",
            `${this.file.path} is longer than the ${this.file.bytes} bytes that the hub lists`,
          );
        }
        await handle.appendFile(chunk);
        this.#count(chunk.length);
      }
    } catch (error) {
      if (error instanceof FastgenError || isFileSystemError(error)) throw error;
      throw error instanceof TransientError ? error : new TransientError((error as Error).message);
    } finally {
      clearTimeout(timer);
    }
    if (this.#done < this.file.bytes) throw new TransientError("the connection was cut");
  }
}

function isFileSystemError(error: unknown): boolean {
  return typeof (error as NodeJS.ErrnoException).errno === "number" && "syscall" in (error as object);
}

/** Waits until the time is up or `signal` is aborted. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await setTimeoutPromise(ms, undefined, { signal }).catch(() => {});
}

/** How many bytes of a blob are here already. */
export async function bytesHere(blob: string): Promise<number> {
  for (const path of [blob, `${blob}.incomplete`]) {
    const info = await stat(path).catch(() => null);
    if (info) return info.size;
  }
  return 0;
}
