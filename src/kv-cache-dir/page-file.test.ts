import { afterAll, expect, test } from "bun:test";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HEADER_BYTES, readPage, writePage } from "./page-file.ts";

const folder = mkdtempSync(join(tmpdir(), "fastgen-page-file-"));
afterAll(() => rmSync(folder, { recursive: true }));

const digest = "ab".repeat(32);
const path = join(folder, digest);
const parts = [Uint8Array.from({ length: 5000 }, (_, i) => i * 7), Uint8Array.from({ length: 5000 }, (_, i) => i * 11)];
const empty = () => parts.map((part) => new Uint8Array(part.length));

test("a page comes back as it was, for this user alone, and is the newest then", () => {
  writePage(folder, digest, parts);
  expect(readdirSync(folder)).toEqual([digest]);
  expect([statSync(path).size, statSync(path).mode & 0o777]).toEqual([HEADER_BYTES + 10_000, 0o600]);
  utimesSync(path, 1000, 1000);
  const read = empty();
  expect(readPage(folder, digest, read)).toBe("read");
  expect(read).toEqual(parts);
  expect(statSync(path).mtimeMs).toBeGreaterThan(1_000_000);
});

test("a page that is not there is missing", () => {
  expect(readPage(folder, "cd".repeat(32), empty())).toBe("missing");
});

test("no change of the file goes unnoticed: of a byte, of its length, of its name, of the ranks", () => {
  writePage(folder, digest, parts);
  const good = readFileSync(path);
  for (const at of [0, 4, 8, 39, 40, 48, 55, HEADER_BYTES, HEADER_BYTES + 4999, HEADER_BYTES + 5000, good.length - 1]) {
    const bad = Buffer.from(good);
    bad[at]! ^= 0x10;
    writeFileSync(path, bad);
    expect([at, readPage(folder, digest, empty())]).toEqual([at, "damaged"]);
  }
  writeFileSync(path, Buffer.concat([good, Buffer.of(0)]));
  expect(readPage(folder, digest, empty())).toBe("damaged");
  for (const length of [good.length - 1, HEADER_BYTES, HEADER_BYTES - 1, 0]) {
    writeFileSync(path, good);
    truncateSync(path, length);
    expect([length, readPage(folder, digest, empty())]).toEqual([length, "damaged"]);
  }
  writeFileSync(join(folder, "ef".repeat(32)), good);
  expect(readPage(folder, "ef".repeat(32), empty())).toBe("damaged");
  writeFileSync(path, good);
  expect(readPage(folder, digest, [new Uint8Array(10_000)])).toBe("damaged");
  expect(readPage(folder, digest, empty())).toBe("read");
});

test("a link, a folder and a pipe under the name of a page are damaged pages, and nobody waits for them", () => {
  writePage(folder, digest, parts);
  const [link, below, pipe] = ["1a", "2b", "3c"].map((byte) => byte.repeat(32)) as [string, string, string];
  symlinkSync(path, join(folder, link));
  mkdirSync(join(folder, below));
  expect(Bun.spawnSync(["mkfifo", join(folder, pipe)]).exitCode).toBe(0);
  for (const name of [link, below, pipe]) expect([name, readPage(folder, name, empty())]).toEqual([name, "damaged"]);
});

test("where a page cannot be written, the system's reason comes out and nothing stays", () => {
  const absent = join(folder, "absent");
  expect(() => writePage(absent, digest, parts)).toThrow("ENOENT");
  // A folder in the page's place: the rename fails after all has been written.
  const blocked = mkdtempSync(join(folder, "blocked-"));
  const target = "12".repeat(32);
  mkdtempSync(join(blocked, "x"));
  writeFileSync(join(blocked, "keep"), "");
  Bun.spawnSync(["mkdir", join(blocked, target)]);
  expect(() => writePage(blocked, target, parts)).toThrow();
  expect(readdirSync(blocked).filter((name) => name.startsWith(target))).toEqual([target]);
});

test("memory that is for others is neither written to nor read, and leaves nothing behind", () => {
  const long = [new Uint8Array(600_000).fill(3)];
  // As if it were taken after the first chunk.
  const once = () => {
    let times = 0;
    return (to: Uint8Array, from: Uint8Array) => {
      if (times++ > 0) return false;
      to.set(from);
      return true;
    };
  };
  const other = "12".repeat(32);
  expect(writePage(folder, other, long, once())).toBe(false);
  expect(readdirSync(folder).filter((name) => name.startsWith(other))).toEqual([]);
  expect(writePage(folder, other, long)).toBe(true);
  const memory = [new Uint8Array(600_000)];
  expect(readPage(folder, other, memory, once())).toBe("taken");
  expect([memory[0]![0], memory[0]![599_999]]).toEqual([3, 0]);
});
