/** Bugs planted in the KV cache on disk. */
import { inFile, type PlantedBug } from "./bugs.ts";

const PAGES = ["src/engine/offload/disk-pages.test.ts"];
const EVENTS = ["src/engine/pages/kv-events.test.ts"];
const LISTINGS = ["src/engine/offload/disk-listing.test.ts"];
const REPLICAS = ["src/engine/replicas.test.ts"];
const FOLDERS = ["src/kv-cache-dir/folder.test.ts"];
const FILES = ["src/kv-cache-dir/page-file.test.ts"];
const STORES = ["src/kv-cache-dir/store.test.ts"];
const SETUPS = ["src/kv-cache-dir/setup.test.ts"];

export const diskBugs: PlantedBug[] = [
  ...inFile(
    "src/engine/pages/page-digest.ts",
    [...PAGES, ...REPLICAS],
    [
      ["new TextEncoder().encode(salt)", "new Uint8Array(0)", "salts share pages"],
      ["this.digests[i - 1] ?? rootDigest(this.salt)", "rootDigest(this.salt)", "no page of a prompt is chained"],
    ],
  ),
  ...inFile("src/engine/offload/disk-listing.ts", LISTINGS, [
    ["if (cleared) this.keys.clear();", "", "what was cleared counts as there"],
    ["for (const key of removed) this.keys.delete(key);", "", "what was removed counts as there"],
    ["if (this.keys.size <= this.most) break;", "break;", "the listing has no bound"],
  ]),
  ...inFile("src/engine/offload/disk-index.ts", LISTINGS, [
    ["this.changed(digest, true)", "{}", "nobody hears that a page is there"],
    ["this.changed(digest, false)", "{}", "nobody hears that a page is gone"],
    ["this.changes.clear();\n", "", "what came before all was removed counts as there"],
    ["this.wasCleared = true;", "", "nobody hears that all is gone"],
    ["this.changes = new Map();", "", "everything is told of again"],
  ]),
  ...inFile("src/engine/replicas.ts", REPLICAS, [
    [
      "this.indexes[i]!.match(keys, isOnDisk)",
      "this.indexes[i]!.match(keys)",
      "what engines have on disk is not looked at",
    ],
  ]),
  ...inFile(
    "src/engine/worker.ts",
    ["test/kv-cache-dir.test.ts"],
    [['if (change) this.post({ type: "disk_pages", change });', "", "nobody hears what an engine has on disk"]],
  ),
  ...inFile("src/engine/offload/disk-saves.ts", PAGES, [
    [
      "if (succeeded) this.write(saves);\n    else this.giveUp",
      "this.giveUp",
      "what is copied beside steps is never written",
    ],
    ["if (arriving.has(node)) continue;", "", "pages are written that have not arrived yet"],
    ["if (oldest.length > 0) this.store.remove(oldest);", "", "the disk holds more than it may"],
    ["if (!state.isValid(save)) continue;", "", "what was cleared while it was written counts as there"],
    [
      "for (const digest of left) this.end(this.saving.get(digest)!);",
      "",
      "host pages of saves that were given up are lost",
    ],
    ["this.write(this.planned.splice(0));", "", "the last pages are not written while nothing runs"],
    [
      "for (const page of this.staging.splice(0)) this.cache.giveHost(page);",
      "",
      "host pages stay set apart for nothing",
    ],
  ]),
  ...inFile("src/engine/offload/disk-loads.ts", PAGES, [
    ["this.read(this.due.splice(0));\n", "", "loads wait for the end of all work"],
    ["begun.waiting.push(seq);\n      return true;", "", "pages that are being read are computed"],
    ["parent = null;\n        this.cache.giveHost", "this.cache.giveHost", "pages are adopted after one that is lost"],
    ["if (parent && read.has(page.digest))", "if (parent)", "pages that could not be read are used"],
    ["this.loading -= load.pages.length;", "", "after some loads nothing is read any more"],
    ["load.epoch = STALE;", "{}", "what slept is taken for what it was"],
    ["for (const seq of load.waiting) this.goOn(seq);", "", "nobody goes on after a load"],
    ["for (const load of unread) this.adopt(load, []);", "", "host pages of loads that never begin are lost"],
    [
      "for (const seq of load.waiting.splice(0)) this.goOn(seq);",
      "",
      "who waits for a disk that is off waits for ever",
    ],
  ]),
  ...inFile("src/engine/offload/disk-pages.ts", PAGES, [
    ["if (state.isOpen) this.store.clear();", "", "a cleared cache is found on disk"],
    ["this.store.interrupt();", "", "memory is written to disk while it sleeps"],
  ]),
  ...inFile("src/engine/offload/disk-index.ts", PAGES, [
    [
      "if (!this.digests.delete(digest)) this",
      "if (!this.digests.has(digest)) this",
      "what is used goes as soon as what is not",
    ],
    ["this.size + more - this.capacity", "this.size - this.capacity", "the disk holds more than it may, on its way"],
  ]),
  ...inFile("src/engine/offload/disk-index.ts", EVENTS, [
    ['this.listener.stored(node, "FS");', "", "nobody hears that a page is on disk"],
    ['this.listener!.removed(page, "FS");', "", "nobody hears that a page has left the disk"],
    [" || this.told.has(digest)", "", "a page on disk is told of twice"],
    [
      "for (const digest of [...this.told.keys()]) this.remove(digest);",
      "",
      "a disk that is off is taken for one that is on",
    ],
  ]),
  ...inFile("src/engine/offload/disk-pages.ts", EVENTS, [
    ["    state.index.forgetTold();\n", "", "after a cleared cache, pages on disk are not told of again"],
  ]),
  ...inFile("src/engine/offload/disk-saves.ts", EVENTS, [
    ["state.index.add(digest, save.node);", "state.index.add(digest);", "nobody hears that a page was written"],
  ]),
  ...inFile("src/engine/scheduler/full-pages.ts", PAGES, [
    ["else this.disk?.used(seq, node);", "", "computed pages are not written"],
  ]),
  ...inFile("src/engine/scheduler/scheduler.ts", PAGES, [
    ["this.disk?.committed(step, !(result instanceof FastgenError));", "", "nothing is written while steps run"],
    ["this.disk?.cleared(keepDisk);", "this.disk?.cleared(false);", "sleep empties the disk"],
  ]),
  ...inFile("src/kv-cache-dir/page-file.ts", FILES, [
    ["renameSync(path + UNFINISHED, path);", "", "a page stays unfinished"],
    ['return header.equals(expected) ? "read" : "damaged";', 'return "read";', "a damaged page is read"],
    ["rmSync(path + UNFINISHED, { force: true });\n    throw", "throw", "what could not be written stays"],
    ["rmSync(path + UNFINISHED, { force: true });\n          return", "return", "what lost its memory stays"],
    ['if (!copy(part, chunk)) return "taken";', "part.set(chunk);", "a page is read into memory that is for others"],
    ["futimesSync(file, now, now);", "", "what is read is as old as before"],
    ['if (code === "ELOOP") return "damaged";', "", "a link in a page's place ends the cache"],
    [" | constants.O_NONBLOCK", "", "a pipe in a page's place is waited for"],
  ]),
  ...inFile("src/kv-cache-dir/folder.ts", FOLDERS, [
    [
      'if (lock !== "busy") return { path, lock };',
      "return { path, lock: lock as FileLock };",
      "two engines have one folder",
    ],
    ["(found.mode & 0o077) === 0", "true", "a folder that others can read is used"],
    [" || !isPrivate(path)", "", "folders of others are looked into"],
    ["found.isFile() && ", "", "a link counts as a page"],
    [
      "pages.sort((a, b) => a.usedAt - b.usedAt)",
      "pages.sort((a, b) => b.usedAt - a.usedAt)",
      "the newest pages go first",
    ],
    ["found.size === fileBytes", "found.size > 0", "pages that were cut short count as there"],
    ["before < engines || ", "", "pages of engines that start later are taken"],
    ["before % engines !== engine", "false", "the first engine takes all pages of those that are gone"],
    ["if (!lock) return false;\n  try", "if (!lock) return true;\n  try", "a folder in use counts as emptied"],
  ]),
  ...inFile("src/kv-cache-dir/setup.ts", SETUPS, [
    ["kv_cache_dtype: config.kvDtype,", "", "pages of another KV format are taken for these"],
    [
      "digest = Bun.hash.xxHash3(chunk.subarray(0, filled), digest);",
      "digest = Bun.hash.xxHash3(chunk.subarray(0, filled));",
      "only the end of the weights counts",
    ],
    ["if (known !== undefined) return known;", "", "the weights are read at every start"],
    [" && (found.mode & 0o022) === 0", "", "what others could have written is believed"],
  ]),
  ...inFile("src/kv-cache-dir/store.ts", STORES, [
    ["this.takeMemory();", "", "a thread that hung goes on with memory that is for others"],
  ]),
  ...inFile("src/kv-cache-dir/thread.ts", STORES, [
    ["if (isOurs) to.set(from);", "to.set(from);", "memory that is for others is written to"],
    ["this.makeRoom(1);", "", "pages of other setups make no room"],
    [
      "if (this.isInterrupted) {\n        left.push(page.digest);\n        continue;\n      }",
      "",
      "an interrupted thread goes on writing",
    ],
    ["this.folder?.lock.close();", "", "a folder stays taken after its engine"],
  ]),
];
