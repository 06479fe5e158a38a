/** What a build shows while it runs (scripts/build-progress.mjs). */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";

interface Options {
  output: { isTTY: boolean; write(text: string): void };
  interval: number;
  logInterval: number;
}
type Progress = new (what: string, files: string[], options: Options) => { end(): void };
const { BuildProgress }: { BuildProgress: Progress } = await import(
  `${path.dirname(import.meta.dir)}/scripts/build-progress.mjs`
);

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "fastgen-build-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** A build of three files, of which an old one is there. */
function begin(isTTY: boolean, logInterval = 0) {
  const files = ["a.o", "b.o", "c.o"].map((name) => path.join(folder, name));
  writeFileSync(files[2]!, "");
  utimesSync(files[2]!, 1, 1);
  const written: string[] = [];
  const output = { isTTY, write: (text: string) => void written.push(text) };
  const progress = new BuildProgress("building it", files, { output, interval: 2, logInterval });
  /** Waits for what is written after something was made. */
  const make = async (i: number) => {
    const before = written.length;
    writeFileSync(files[i]!, "");
    for (let waited = 0; written.length === before && waited < 1000; waited++) await Bun.sleep(2);
  };
  return { progress, written, make };
}

test("in a terminal one line changes, and is gone at the end", async () => {
  const { progress, written, make } = begin(true);
  expect(written).toEqual(["building it (3 files)\n"]);
  for (const i of [0, 2]) await make(i);
  progress.end();
  expect(written.slice(1)).toEqual(["\rbuilding it: 1 of 3 files", "\rbuilding it: 2 of 3 files", "\r\x1b[K"]);
});

test("elsewhere a line comes now and then", async () => {
  const often = begin(false);
  for (const i of [1, 0]) await often.make(i);
  often.progress.end();
  expect(often.written).toEqual([
    "building it (3 files)\n",
    "building it: 1 of 3 files\n",
    "building it: 2 of 3 files\n",
  ]);
  const seldom = begin(false, 60_000);
  writeFileSync(path.join(folder, "a.o"), "");
  await Bun.sleep(20);
  seldom.progress.end();
  expect(seldom.written).toEqual(["building it (3 files)\n"]);
});
