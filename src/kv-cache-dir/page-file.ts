/**
 * A KV page as a file of its own. Its name is the page's digest, in hex. It is written under another name first, so that a
 * file under a digest was whole once; the checksum tells whether it still is.
 *
 *   0   "FGKV"
 *   4   format, u32
 *   8   the page's digest, 32 bytes
 *   40  bytes of the page on all ranks, u64
 *   48  checksum of all that is before it and after it, u64
 *   56  the page: each rank's part
 *
 * Integers are little-endian. Nothing is synced: after a power cut a file may be damaged, and is then no page.
 */
import {
  closeSync,
  constants,
  fstatSync,
  futimesSync,
  openSync,
  readvSync,
  renameSync,
  rmSync,
  writevSync,
} from "node:fs";
import { join } from "node:path";

/** Raise it with every change of the file, or of what a digest is made of. */
export const FORMAT = 1;

export const HEADER_BYTES = 56;

/** The end of the name of a file that is being written. */
export const UNFINISHED = ".new";

const MAGIC = 0x564b4746;
const CHECKSUM_AT = 48;

/** missing: there is no such file. damaged: it is not as it was written. */
export type ReadOutcome = "read" | "missing" | "damaged";

/**
 * Writes a page to `folder` under its digest, in the place of one that is there.
 * @throws the system's error; nothing is left behind then.
 */
export function writePage(folder: string, digest: string, parts: readonly Uint8Array[]): void {
  const path = join(folder, digest);
  const header = headerOf(digest, parts);
  try {
    const file = openSync(path + UNFINISHED, "w", 0o600);
    try {
      transfer(writevSync, file, [header, ...parts]);
    } finally {
      closeSync(file);
    }
    renameSync(path + UNFINISHED, path);
  } catch (error) {
    rmSync(path + UNFINISHED, { force: true });
    throw error;
  }
}

/**
 * Reads the page `digest` into `parts`, whose content means nothing unless the outcome is "read". A page that was read is the
 * newest of its folder by its time of change.
 * @throws the system's error, where that is not a missing file.
 */
export function readPage(folder: string, digest: string, parts: readonly Uint8Array[]): ReadOutcome {
  let file: number;
  try {
    file = openSync(join(folder, digest), constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "missing";
    throw error;
  }
  try {
    const header = Buffer.alloc(HEADER_BYTES);
    const isWhole = fstatSync(file).size === fileBytes(parts) && transfer(readvSync, file, [header, ...parts]);
    if (!isWhole || !header.equals(headerOf(digest, parts))) return "damaged";
    const now = new Date();
    futimesSync(file, now, now);
    return "read";
  } finally {
    closeSync(file);
  }
}

/** Bytes of the file of a page. */
function fileBytes(parts: readonly Uint8Array[]): number {
  return parts.reduce((sum, part) => sum + part.byteLength, HEADER_BYTES);
}

function headerOf(digest: string, parts: readonly Uint8Array[]): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32LE(MAGIC, 0);
  header.writeUInt32LE(FORMAT, 4);
  header.write(digest, 8, "hex");
  header.writeBigUInt64LE(BigInt(fileBytes(parts) - HEADER_BYTES), 40);
  let checksum = Bun.hash.xxHash3(header.subarray(0, CHECKSUM_AT));
  for (const part of parts) checksum = Bun.hash.xxHash3(part, checksum);
  header.writeBigUInt64LE(checksum, CHECKSUM_AT);
  return header;
}

/** Reads or writes all of `buffers`, one after the other. False at the end of the file. */
function transfer(
  call: (file: number, buffers: Uint8Array[], position: number) => number,
  file: number,
  buffers: readonly Uint8Array[],
): boolean {
  let rest = [...buffers];
  for (let at = 0; rest.length > 0; ) {
    let moved = call(file, rest, at);
    if (moved === 0) return false;
    at += moved;
    while (rest.length > 0 && moved >= rest[0]!.byteLength) moved -= rest.shift()!.byteLength;
    if (moved > 0) rest = [rest[0]!.subarray(moved), ...rest.slice(1)];
  }
  return true;
}
