/**
 * The folder of --kv-cache-dir. Pages of one setup lie in a folder of their own below it, VERSION-SETUP-NUMBER, which one
 * engine at a time has: it holds the lock of a file in it. Another engine of the same setup takes the next number. A server that has
 * fewer engines than before shares out the pages of those that it no longer has.
 *
 * Everything here blocks: it runs on a thread of its own.
 */
import { lstatSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { KvCacheDirConfig } from "../engine-config.ts";
import { MAX_KV_CACHE_ENGINES } from "../limits.ts";
import { type FileLock, takeFileLock } from "../system/file-lock.ts";
import { FORMAT, UNFINISHED } from "./page-file.ts";
import { differences, type Setup, setupId } from "./setup.ts";

const FOLDER = /^v\d+-[0-9a-f]{32}-\d+$/;
const PAGE = /^[0-9a-f]{64}$/;
const LOCK = "lock";
const ABOUT = "about.json";
/** Holds the number of the engine, in its server, that the folder belongs to. */
const ENGINE = "engine";

/** A folder of pages that nobody uses. */
export interface Unused {
  path: string;
  /** Of its pages. */
  bytes: number;
  /** When a page in it was last written or read: milliseconds since 1970. */
  usedAt: number;
}

export interface PageFolder {
  path: string;
  /** Whoever holds it has the folder; it ends with this process at the latest. */
  lock: FileLock;
  /** The digests of its pages, the one that was not used for longest first. */
  pages: string[];
  /** The other folders that no engine has, the one that was not used for longest first. */
  unused: Unused[];
  /** Where there are no pages of this setup, and pages of others: in what one of them differs. */
  differs: string | null;
}

/**
 * Takes a folder for the pages of `setup` below the one of `place`, which is made where it is missing, and pages of engines that the
 * server no longer has. Files in it that are no whole pages of `fileBytes` bytes are removed.
 * @throws the system's error, or an Error that says what is wrong with the folder.
 */
export function takeFolder(place: KvCacheDirConfig, setup: Setup, fileBytes: number): PageFolder {
  const dir = place.path;
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const name = `v${FORMAT}-${setupId(setup)}`;
  const { path, lock } = claim(dir, name, place.engine);
  writeFileSync(join(path, ABOUT), `${JSON.stringify(setup, null, 2)}\n`, { mode: 0o600 });
  writeFileSync(join(path, ENGINE), `${place.engine}\n`, { mode: 0o600 });
  for (let number = 0; number < MAX_KV_CACHE_ENGINES; number++) adopt(join(dir, `${name}-${number}`), path, place);
  const pages = listPages(path, fileBytes);
  const unused = unusedFolders(dir, path);
  const newest = unused.at(-1);
  const differs = pages.length === 0 && newest ? differences(aboutOf(newest.path), setup) : null;
  return { path, lock, pages, unused, differs };
}

/** The setup's folder that this engine of a server had before, or the first that no other engine has. */
function claim(dir: string, name: string, engine: number): Pick<PageFolder, "path" | "lock"> {
  const numbers = Array.from({ length: MAX_KV_CACHE_ENGINES }, (_, number) => number);
  for (const number of [engine % MAX_KV_CACHE_ENGINES, ...numbers]) {
    const path = join(dir, `${name}-${number}`);
    if (isOfAnotherUser(path)) continue;
    makePrivate(path);
    const lock = takeFileLock(join(path, LOCK));
    if (lock === "unsupported") throw new Error(`the file system of ${dir} has no file locks (flock)`);
    if (lock !== "busy") return { path, lock };
  }
  throw new Error(`${MAX_KV_CACHE_ENGINES} engines use ${dir} already`);
}

/**
 * Moves the pages of an engine that the server no longer has to `own`: each such engine is one engine's to take over. Other servers may
 * use the same folder, so a folder without an owner says nothing; its engine's number does.
 */
function adopt(path: string, own: string, { engine, engines }: KvCacheDirConfig): void {
  if (!isPrivate(path) || path === own) return;
  const before = engineOf(path);
  if (before === null || before < engines || before % engines !== engine) return;
  const lock = lockOf(path);
  if (!lock) return;
  try {
    for (const name of readdirSync(path)) if (PAGE.test(name)) renameSync(join(path, name), join(own, name));
  } finally {
    lock.close();
  }
}

/** Null where a folder does not say whose it is. */
function engineOf(path: string): number | null {
  try {
    const text = readFileSync(join(path, ENGINE), "utf8");
    return /^\d{1,9}\n$/.test(text) ? Number(text) : null;
  } catch {
    return null;
  }
}

function isOfAnotherUser(path: string): boolean {
  const found = lstatSync(path, { throwIfNoEntry: false });
  return found !== undefined && found.uid !== process.getuid!();
}

/** Makes a folder that nobody else can read, or makes sure that it is one. What others could write to is not trusted. */
function makePrivate(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
  if (!isPrivate(path)) throw new Error(`${path} must be a folder of this user alone (mode 700): remove it`);
}

function isPrivate(path: string): boolean {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (!found?.isDirectory()) return false;
  return found.uid === process.getuid!() && (found.mode & 0o077) === 0;
}

/** The digests of the pages in a folder, oldest first. What was not finished, or has another size, is removed. */
function listPages(path: string, fileBytes: number): string[] {
  const pages: { digest: string; usedAt: number }[] = [];
  for (const name of readdirSync(path)) {
    if (name.endsWith(UNFINISHED)) removeAny(join(path, name));
    if (!PAGE.test(name)) continue;
    const found = lstatSync(join(path, name));
    if (found.isFile() && found.size === fileBytes) pages.push({ digest: name, usedAt: found.mtimeMs });
    else removeAny(join(path, name));
  }
  return pages.sort((a, b) => a.usedAt - b.usedAt).map(({ digest }) => digest);
}

function unusedFolders(dir: string, own: string): Unused[] {
  const folders: Unused[] = [];
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    const path = join(dir, entry.name);
    if (path === own || !FOLDER.test(entry.name) || !isPrivate(path) || !isFree(path)) continue;
    const files = pageFiles(path);
    if (files.length === 0) continue;
    const bytes = files.reduce((sum, { size }) => sum + size, 0);
    folders.push({ path, bytes, usedAt: files.reduce((last, { mtimeMs }) => Math.max(last, mtimeMs), 0) });
  }
  return folders.sort((a, b) => a.usedAt - b.usedAt);
}

function pageFiles(path: string) {
  const names = readdirSync(path).filter((name) => PAGE.test(name) || name.endsWith(UNFINISHED));
  return names.flatMap((name) => lstatSync(join(path, name), { throwIfNoEntry: false }) ?? []);
}

/** Whether no engine has a folder. */
function isFree(path: string): boolean {
  const lock = lockOf(path);
  lock?.close();
  return lock !== null;
}

/** Null where an engine has the folder, or where it cannot be known. */
function lockOf(path: string): FileLock | null {
  try {
    const lock = takeFileLock(join(path, LOCK));
    return lock === "busy" || lock === "unsupported" ? null : lock;
  } catch {
    return null;
  }
}

/** Removes the pages of a folder that was unused, unless an engine has it now. Returns whether they are gone. */
export function emptyUnused({ path }: Unused): boolean {
  const lock = lockOf(path);
  if (!lock) return false;
  try {
    removePages(path);
    return true;
  } finally {
    lock.close();
  }
}

/** Removes every page of a folder that this engine has. */
export function removePages(path: string): void {
  for (const name of readdirSync(path)) {
    if (PAGE.test(name) || name.endsWith(UNFINISHED)) removeAny(join(path, name));
  }
}

/** Whatever is under the name of a page, if anything is. */
export function removeAny(path: string): void {
  rmSync(path, { force: true, recursive: true });
}

function aboutOf(path: string): unknown {
  try {
    return JSON.parse(readFileSync(join(path, ABOUT), "utf8"));
  } catch {
    return null;
  }
}
