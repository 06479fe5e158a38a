/**
 * A lock between processes that ends with its owner: flock(2) on a file that stays. The kernel holds it, so it works between
 * containers that share a folder, whatever their process ids, and nobody has to clean up after a process that was killed.
 */
import { FFIType, read } from "bun:ffi";
import { closeSync, openSync } from "node:fs";
import { type FileHandle, open, stat } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { openLibrary } from "./dynamic-library.ts";

const LOCK_EXCLUSIVE = 2;
const LOCK_NON_BLOCKING = 4;
const EINTR = 4;
const EWOULDBLOCK = 11;

/** Milliseconds between two attempts. */
const INTERVAL = 100;

const openLibc = () =>
  openLibrary("libc.so.6", {
    flock: { args: [FFIType.i32, FFIType.i32], returns: FFIType.i32 },
    __errno_location: { args: [], returns: FFIType.ptr },
  }).symbols;
let libc: ReturnType<typeof openLibc> | null = null;

/** Takes the lock if nobody has it: "taken", "busy", or "unsupported" where the file system has no such locks. */
function tryLock(file: number): "taken" | "busy" | "unsupported" {
  libc ??= openLibc();
  if (libc.flock(file, LOCK_EXCLUSIVE | LOCK_NON_BLOCKING) === 0) return "taken";
  const errno = read.i32(libc.__errno_location()!);
  return errno === EWOULDBLOCK || errno === EINTR ? "busy" : "unsupported";
}

/** Whether `path` still names the open file: whoever had the lock before may have removed it. */
async function isCurrent(handle: FileHandle, path: string): Promise<boolean> {
  const [mine, named] = await Promise.all([handle.stat(), stat(path).catch(() => null)]);
  return named !== null && named.ino === mine.ino && named.dev === mine.dev;
}

/** A lock that was taken. Closing it, or the end of this process, gives it up. */
export interface FileLock {
  close(): void;
}

/**
 * Takes the lock on the file `path`, which is created when missing, without waiting for it. "busy": somebody has it.
 * "unsupported": the file system has no such locks. Throws the system's error where the file cannot be opened.
 */
export function takeFileLock(path: string): FileLock | "busy" | "unsupported" {
  const file = openSync(path, "a", 0o600);
  const outcome = tryLock(file);
  if (outcome === "taken") return { close: () => closeSync(file) };
  closeSync(file);
  return outcome;
}

/**
 * Waits for the lock on the file `path`, which is created when missing, and runs `work` with it. `work` is told whether the
 * lock is held: it is not where the file system supports none. `onWait` is called again and again while another process has
 * the lock. Throws the signal's reason when it is aborted while waiting.
 */
export async function withFileLock<T>(
  path: string,
  options: { signal: AbortSignal; onWait?: () => Promise<void> },
  work: (locked: boolean) => Promise<T>,
): Promise<T> {
  for (;;) {
    const handle = await open(path, "a");
    try {
      let outcome = tryLock(handle.fd);
      while (outcome === "busy") {
        await options.onWait?.();
        await sleep(INTERVAL, undefined, { signal: options.signal });
        outcome = tryLock(handle.fd);
      }
      if (outcome === "unsupported") return await work(false);
      if (await isCurrent(handle, path)) return await work(true);
    } finally {
      await handle.close();
    }
  }
}
