/**
 * One file of the hub into the cache's blobs/ folder. What has arrived stays in <name>.incomplete when the download is
 * interrupted, and the next attempt goes on from there. The content is checked against its hash before it gets its name.
 *
 * While it is being written, the file is called <name>.<pid>-<n>.incomplete: no two downloads, of this process or another,
 * write to the same file.
 */
import { type FileHandle, open, readdir, rename, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { setTimeout as setTimeoutPromise } from "node:timers/promises";
import { FastgenError } from "../errors.ts";
import { type HubClient, TransientError } from "./hub-client.ts";

export interface HubFile {
  /** In the repository. */
  path: string;
  bytes: number;
  /** Name of the blob: sha256 of an LFS file, git's sha1 of any other. */
  etag: string;
  hash: "sha256" | "git";
}

export interface DownloadOptions {
  /** Bytes that have come, beside those reported before; negative when a file has to start again. */
  onBytes: (bytes: number) => void;
  signal: AbortSignal;
  /** Pause before the second attempt; it doubles with each. */
  retryDelayMs: number;
}

/** Attempts without a single new byte before a download is given up. */
const MAX_ATTEMPTS = 5;

/** A connection that sends nothing for so long is dead. */
const STALL_MS = 60_000;

let downloads = 0;

/** @throws FastgenError, or the file system's own error. */
export async function downloadBlob(
  client: HubClient,
  url: string,
  file: HubFile,
  blob: string,
  options: DownloadOptions,
) {
  const partial = `${blob}.${process.pid}-${++downloads}.incomplete`;
  await claim(blob, partial);
  try {
    const handle = await open(partial, "a+");
    try {
      await new Download(client, url, file, handle, options).run();
    } finally {
      await handle.close();
    }
  } catch (error) {
    await rename(partial, `${blob}.incomplete`).catch(() => {});
    throw error;
  }
  await rename(partial, blob);
}

/** Takes over what an earlier attempt has left; atomic, so that only one process gets it. */
async function claim(blob: string, partial: string): Promise<void> {
  const name = basename(blob);
  for (const left of await readdir(dirname(blob))) {
    if (!left.startsWith(`${name}.`) || !left.endsWith(".incomplete")) continue;
    const owner = left.slice(name.length + 1, -".incomplete".length);
    const pid = /^(\d+)-\d+$/.exec(owner)?.[1];
    if (owner !== "" && (pid === undefined || isAlive(Number(pid)))) continue;
    try {
      await rename(join(dirname(blob), left), partial);
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

class Download {
  #done = 0;
  #hasher: Bun.CryptoHasher;

  constructor(
    readonly client: HubClient,
    readonly url: string,
    readonly file: HubFile,
    readonly handle: FileHandle,
    readonly options: DownloadOptions,
  ) {
    this.#hasher = this.#newHasher();
  }

  async run(): Promise<void> {
    const { file, options } = this;
    await this.#resume();
    for (let attempt = 1; this.#done < file.bytes; attempt++) {
      const before = this.#done;
      try {
        await this.#fetchRest();
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
    if (this.#hasher.digest("hex") !== file.etag) {
      await this.#restart();
      throw new FastgenError(
        "unavailable",
        `${file.path} was damaged on its way: its hash is wrong. Run again to download it anew.`,
      );
    }
  }

  #newHasher(): Bun.CryptoHasher {
    const { hash, bytes } = this.file;
    return hash === "sha256" ? new Bun.CryptoHasher("sha256") : new Bun.CryptoHasher("sha1").update(`blob ${bytes}\0`);
  }

  /** Counts and hashes what is in the file already. */
  async #resume(): Promise<void> {
    const { size } = await this.handle.stat();
    if (size > this.file.bytes) return this.#restart();
    const buffer = new Uint8Array(1 << 20);
    while (this.#done < size) {
      const { bytesRead } = await this.handle.read(buffer, 0, buffer.length, this.#done);
      if (bytesRead === 0) break;
      this.#count(buffer.subarray(0, bytesRead));
    }
  }

  async #restart(): Promise<void> {
    await this.handle.truncate(0);
    this.options.onBytes(-this.#done);
    this.#done = 0;
    this.#hasher = this.#newHasher();
  }

  #count(chunk: Uint8Array): void {
    this.#hasher.update(chunk);
    this.#done += chunk.length;
    this.options.onBytes(chunk.length);
  }

  async #fetchRest(): Promise<void> {
    const stall = new AbortController();
    let timer = setTimeout(() => stall.abort(), STALL_MS);
    try {
      const response = await this.client.fetch(this.url, {
        headers: this.#done > 0 ? { range: `bytes=${this.#done}-` } : {},
        signal: AbortSignal.any([this.options.signal, stall.signal]),
      });
      const continues =
        response.status === 206 && response.headers.get("content-range")?.startsWith(`bytes ${this.#done}-`);
      if (this.#done > 0 && !continues) await this.#restart();
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
            `${this.file.path} has more than the ${this.file.bytes} bytes that the hub lists`,
          );
        }
        await this.handle.appendFile(chunk);
        this.#count(chunk);
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

/** Waits; not at all once `signal` is aborted. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await setTimeoutPromise(ms, undefined, { signal }).catch(() => {});
}

/** Bytes of a blob that are here already, whole or in part. */
export async function bytesHere(blob: string): Promise<number> {
  for (const path of [blob, `${blob}.incomplete`]) {
    const info = await stat(path).catch(() => null);
    if (info) return info.size;
  }
  return 0;
}
