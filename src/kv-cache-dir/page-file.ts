/**
 * A KV page as a file of its own. Its name is the page's digest, in hex. It is written under another name first, so that a
 * file under a digest was whole once; the checksum tells whether it still is.
 *
 *   0   "FGKV"
 *   4   format, u32
 *   8   the page's digest, 32 bytes
 *   40  bytes of the page on all ranks, u64
 *   48  checksum of all that is before it and after it, u64: xxHash3 of each chunk, seeded with that of the chunk before
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
  readSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";

/** Raise it with every change of the file, or of what a digest is made of. */
export const FORMAT = 1;

export const HEADER_BYTES = 56;

/** The end of the name of a file that is being written. */
export const UNFINISHED = ".new";

const MAGIC = 0x564b4746;
const CHECKSUM_AT = 48;

/** Bytes that are copied and hashed in one go: they stay in a core's cache in between. */
const CHUNK = 256 * 1024;

/** missing: there is no such file. damaged: it is not as it was written. taken: its memory was for others before it was read. */
export type ReadOutcome = "read" | "missing" | "damaged" | "taken";

/** Copies a chunk to or from a page's memory. False, and nothing is copied, once that memory is for others. */
export type Copier = (to: Uint8Array, from: Uint8Array) => boolean;

/** A file system may hang in a call for as long as it likes. So its calls get memory of this thread alone, never that of a page. */
const OWN = new Uint8Array(CHUNK);

const copyAlways: Copier = (to, from) => {
  to.set(from);
  return true;
};

/**
 * Writes a page to `folder` under its digest, in the place of one that is there. False where its memory was for others before it was
 * read: nothing is left behind then.
 * @throws the system's error; nothing is left behind then.
 */
export function writePage(folder: string, digest: string, parts: readonly Uint8Array[], copy = copyAlways): boolean {
  const path = join(folder, digest);
  const header = headerOf(digest, parts);
  try {
    const file = openSync(path + UNFINISHED, "w", 0o600);
    try {
      let at = HEADER_BYTES;
      let checksum = seedOf(header);
      for (const part of chunksOf(parts)) {
        const chunk = OWN.subarray(0, part.byteLength);
        if (!copy(chunk, part)) {
          rmSync(path + UNFINISHED, { force: true });
          return false;
        }
        checksum = Bun.hash.xxHash3(chunk, checksum);
        writeAll(file, chunk, at);
        at += chunk.byteLength;
      }
      header.writeBigUInt64LE(checksum, CHECKSUM_AT);
      writeAll(file, header, 0);
    } finally {
      closeSync(file);
    }
    renameSync(path + UNFINISHED, path);
    return true;
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
export function readPage(folder: string, digest: string, parts: readonly Uint8Array[], copy = copyAlways): ReadOutcome {
  let file: number;
  try {
    // Without waiting for whoever writes to a pipe.
    file = openSync(join(folder, digest), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return "missing";
    if (code === "ELOOP") return "damaged";
    throw error;
  }
  try {
    const outcome = readWhole(file, headerOf(digest, parts), parts, copy);
    if (outcome !== "read") return outcome;
    const now = new Date();
    futimesSync(file, now, now);
    return outcome;
  } finally {
    closeSync(file);
  }
}

/** "damaged" where the file is not that of this page, or not as it was written. `expected`: the header but the checksum. */
function readWhole(file: number, expected: Buffer, parts: readonly Uint8Array[], copy: Copier): ReadOutcome {
  const header = Buffer.alloc(HEADER_BYTES);
  const found = fstatSync(file);
  const isWhole = found.isFile() && found.size === HEADER_BYTES + bytesOf(parts);
  if (!isWhole || !readAll(file, header, 0)) return "damaged";
  let at = HEADER_BYTES;
  let checksum = seedOf(expected);
  for (const part of chunksOf(parts)) {
    const chunk = OWN.subarray(0, part.byteLength);
    if (!readAll(file, chunk, at)) return "damaged";
    if (!copy(part, chunk)) return "taken";
    checksum = Bun.hash.xxHash3(chunk, checksum);
    at += chunk.byteLength;
  }
  expected.writeBigUInt64LE(checksum, CHECKSUM_AT);
  return header.equals(expected) ? "read" : "damaged";
}

function bytesOf(parts: readonly Uint8Array[]): number {
  return parts.reduce((sum, part) => sum + part.byteLength, 0);
}

function* chunksOf(parts: readonly Uint8Array[]): Generator<Uint8Array> {
  for (const part of parts) {
    for (let at = 0; at < part.byteLength; at += CHUNK) yield part.subarray(at, at + CHUNK);
  }
}

/** The header of a page, without its checksum. */
function headerOf(digest: string, parts: readonly Uint8Array[]): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32LE(MAGIC, 0);
  header.writeUInt32LE(FORMAT, 4);
  header.write(digest, 8, "hex");
  header.writeBigUInt64LE(BigInt(bytesOf(parts)), 40);
  return header;
}

function seedOf(header: Buffer): bigint {
  return Bun.hash.xxHash3(header.subarray(0, CHECKSUM_AT));
}

function writeAll(file: number, bytes: Uint8Array, position: number): void {
  for (let at = 0; at < bytes.byteLength; ) at += writeSync(file, bytes, at, bytes.byteLength - at, position + at);
}

/** False at the end of the file. */
function readAll(file: number, bytes: Uint8Array, position: number): boolean {
  for (let at = 0; at < bytes.byteLength; ) {
    const read = readSync(file, bytes, at, bytes.byteLength - at, position + at);
    if (read === 0) return false;
    at += read;
  }
  return true;
}
