import { afterAll, expect, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { withFileLock } from "./file-lock.ts";

const folder = mkdtempSync(join(tmpdir(), "fastgen-lock-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const { signal } = new AbortController();

test("one at a time, also within one process; whoever waits is told so", async () => {
  const path = join(folder, "one");
  let inside = 0;
  let most = 0;
  let waited = 0;
  const work = async (locked: boolean) => {
    expect(locked).toBe(true);
    most = Math.max(most, ++inside);
    await Bun.sleep(20);
    inside--;
  };
  const onWait = async () => {
    waited++;
  };
  await Promise.all(Array.from({ length: 3 }, () => withFileLock(path, { signal, onWait }, work)));
  expect(most).toBe(1);
  expect(waited).toBeGreaterThan(0);
});

test("the lock is given back when the work fails", async () => {
  const path = join(folder, "failing");
  const failing = withFileLock(path, { signal }, async () => {
    throw new Error("no luck");
  });
  await expect(failing).rejects.toThrow("no luck");
  expect(await withFileLock(path, { signal }, async () => "done")).toBe("done");
});

test("an abort ends the wait", async () => {
  const path = join(folder, "aborted");
  const abort = new AbortController();
  let ran = false;
  await withFileLock(path, { signal }, async () => {
    const onWait = async () => abort.abort(new Error("enough"));
    const waiting = withFileLock(path, { signal: abort.signal, onWait }, async () => {
      ran = true;
    });
    await expect(waiting).rejects.toThrow();
  });
  expect(ran).toBe(false);
});

test("a lock on a file that is gone is nobody's: it is taken anew under the same name", async () => {
  const path = join(folder, "removed");
  let second: Promise<void> | null = null;
  await withFileLock(path, { signal }, async () => {
    const { promise: waits, resolve } = Promise.withResolvers<void>();
    second = withFileLock(path, { signal, onWait: async () => resolve() }, async () => {
      expect(existsSync(path)).toBe(true);
    });
    await waits;
    rmSync(path);
  });
  await second!;
  expect(existsSync(path)).toBe(true);
});
