import { afterEach, beforeEach, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { emptyUnused, takeFolder } from "./folder.ts";
import { setupId } from "./setup.ts";

const setup = { dtype: "bfloat16" };
const name = (one: Record<string, string>, number = 0) => `v1-${setupId(one)}-${number}`;
const digest = (n: number) => n.toString(16).padStart(64, "0");
const BYTES = 10;

let base: string;
let dir: string;
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "fastgen-folder-"));
  dir = join(base, "cache");
});
afterEach(() => rmSync(base, { recursive: true }));

/** What one engine of a server uses. */
const place = (engine = 0, engines = 1) => ({ path: dir, bytes: 1000, engine, engines });

/** A folder that no engine has, with pages of these ages. */
function leave(folder: string, times: number[], about: unknown = setup): string {
  const path = join(dir, folder);
  mkdirSync(path, { recursive: true, mode: 0o700 });
  writeFileSync(join(path, "about.json"), JSON.stringify(about));
  for (const [n, time] of times.entries()) {
    writeFileSync(join(path, digest(n)), Buffer.alloc(BYTES));
    utimesSync(join(path, digest(n)), time, time);
  }
  return path;
}

test("a folder is made for this user alone, and says what it is for", async () => {
  const { path, lock, pages, unused, differs } = takeFolder(place(), setup, BYTES);
  expect([path, pages, unused, differs]).toEqual([join(dir, name(setup)), [], [], null]);
  expect([dir, path].map((folder) => statSync(folder).mode & 0o777)).toEqual([0o700, 0o700]);
  expect(await Bun.file(join(path, "about.json")).json()).toEqual(setup);
  lock.close();
  expect(takeFolder(place(), setup, BYTES).path).toBe(path);
});

test("pages that were left are there, oldest first; what is not whole goes, and other files stay", async () => {
  const path = leave(name(setup), [300, 100, 200]);
  for (const [file, size] of [
    [digest(9), BYTES - 1],
    [`${digest(8)}.new`, BYTES],
    ["notes.txt", 3],
  ] as const) {
    writeFileSync(join(path, file), Buffer.alloc(size));
  }
  expect(takeFolder(place(), setup, BYTES).pages).toEqual([digest(1), digest(2), digest(0)]);
  expect(readdirSync(path).sort()).toEqual([
    digest(0),
    digest(1),
    digest(2),
    "about.json",
    "engine",
    "lock",
    "notes.txt",
  ]);
});

test("what has the name of a page and is no file goes, whatever it is", () => {
  const path = leave(name(setup), [100, 200]);
  mkdirSync(join(path, digest(3), "below"), { recursive: true });
  mkdirSync(join(path, "a.new"));
  symlinkSync(join(path, digest(0)), join(path, digest(4)));
  symlinkSync("/nonexistent", join(path, digest(5)));
  expect(takeFolder(place(), setup, BYTES).pages).toEqual([digest(0), digest(1)]);
  expect(readdirSync(path).sort()).toEqual([digest(0), digest(1), "about.json", "engine", "lock"]);
});

test("folders that are not this user's alone, or cannot be locked, are left alone", () => {
  const open = leave(name({ dtype: "a" }), [100]);
  chmodSync(open, 0o755);
  const odd = leave(name({ dtype: "b" }), [100]);
  mkdirSync(join(odd, "lock"));
  expect(takeFolder(place(), setup, BYTES).unused).toEqual([]);
  expect(emptyUnused({ path: odd, bytes: BYTES, usedAt: 0 })).toBe(false);
  for (const path of [open, odd]) expect(existsSync(join(path, digest(0)))).toBe(true);
});

test("engines of one setup have a folder each, and one that starts later finds the first that is free", async () => {
  const first = takeFolder(place(), setup, BYTES);
  const second = takeFolder(place(), setup, BYTES);
  expect([first, second].map(({ path }) => basename(path))).toEqual([name(setup, 0), name(setup, 1)]);
  expect(second.unused).toEqual([]);
  // In another process: the lock ends with it, however it ends.
  const code = `import { takeFolder } from "./folder.ts"; console.log((takeFolder(${JSON.stringify(place())}, { dtype: "x" }, 1)).path); setInterval(() => {}, 1000);`;
  const child = Bun.spawn([process.execPath, "-e", code], { cwd: import.meta.dir, stdout: "pipe" });
  const { value } = await child.stdout.getReader().read();
  expect(new TextDecoder().decode(value).trim()).toBe(join(dir, name({ dtype: "x" })));
  expect(basename(takeFolder(place(), { dtype: "x" }, 1).path)).toBe(name({ dtype: "x" }, 1));
  child.kill("SIGKILL");
  await child.exited;
  expect(basename(takeFolder(place(), { dtype: "x" }, 1).path)).toBe(name({ dtype: "x" }, 0));
});

test("pages of another setup are told of in words, and can be removed, unless an engine has them", async () => {
  const old = leave(name({ dtype: "a" }), [100, 400], { dtype: "float32" });
  leave(name({ dtype: "b" }), [300], { dtype: "float16" });
  leave(name({ dtype: "c" }), []);
  mkdirSync(join(dir, "else"));
  const { unused, differs } = takeFolder(place(), setup, BYTES);
  expect(differs).toBe("dtype was float32 and is bfloat16");
  expect(unused.map(({ path, bytes, usedAt }) => [basename(path), bytes, usedAt])).toEqual([
    [name({ dtype: "b" }), BYTES, 300_000],
    [name({ dtype: "a" }), 2 * BYTES, 400_000],
  ]);
  takeFolder(place(), { dtype: "b" }, BYTES);
  expect(emptyUnused(unused[0]!)).toBe(false);
  expect(existsSync(join(unused[0]!.path, digest(0)))).toBe(true);
  expect(emptyUnused(unused[1]!)).toBe(true);
  expect(readdirSync(old).sort()).toEqual(["about.json", "lock"]);
});

test.skipIf(process.getuid!() !== 0)("a folder of another user is passed over (needs root)", () => {
  const path = leave(name(setup), [100]);
  chownSync(path, 65_534, 65_534);
  const taken = takeFolder(place(), setup, BYTES);
  expect(basename(taken.path)).toBe(name(setup, 1));
  expect(taken.unused).toEqual([]);
});

test("a folder that others may write to, or that is a link, is not trusted", () => {
  const path = leave(name(setup), [100]);
  chmodSync(path, 0o770);
  expect(() => takeFolder(place(), setup, BYTES)).toThrow(`${path} must be a folder of this user`);
  rmSync(path, { recursive: true });
  symlinkSync(base, path);
  expect(() => takeFolder(place(), setup, BYTES)).toThrow(path);
});

test("a server with fewer engines shares out the pages of those that are gone, and takes none from other servers", () => {
  const before = Array.from({ length: 6 }, (_, engine) => takeFolder(place(engine, 6), setup, BYTES));
  // Another server's, which has one engine.
  const other = takeFolder(place(), setup, BYTES);
  for (const [i, { path, lock }] of [...before, other].entries()) {
    writeFileSync(join(path, digest(i)), Buffer.alloc(i === 3 ? BYTES - 1 : BYTES));
    if (i !== 5) lock.close();
  }
  // Engine 5's folder is in use.
  const first = takeFolder(place(0, 2), setup, BYTES);
  const second = takeFolder(place(1, 2), setup, BYTES);
  expect([first, second].map(({ path }) => basename(path))).toEqual([name(setup, 0), name(setup, 1)]);
  expect([first, second].map(({ pages }) => pages.sort())).toEqual([[0, 2, 4].map(digest), [1].map(digest)]);
  for (const [folder, n] of [
    [before[5]!, 5],
    [other, 6],
  ] as const) {
    expect(existsSync(join(folder.path, digest(n)))).toBe(true);
  }
});
