/** The runner itself: in a tree of three files, one bug that is caught, one that survives, one that is stale. */
import { afterEach, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { inFile, partOf, staleBugs } from "./bugs.ts";
import { allBugs, isGoodEnough, shares, tryBugs } from "./run.ts";

const root = path.join(import.meta.dir, "../..");
const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

const SOURCE = `export const add = (a: number, b: number) => a + b;
export const twice = (a: number) => a * 2;
`;

function tree(testText: string): string {
  const folder = mkdtempSync(path.join(tmpdir(), "fastgen-bugs-"));
  folders.push(folder);
  mkdirSync(path.join(folder, "src/model"), { recursive: true });
  writeFileSync(path.join(folder, "src/model/sum.ts"), SOURCE);
  writeFileSync(path.join(folder, "src/model/sum.test.ts"), testText);
  Bun.spawnSync(["git", "init", "-q"], { cwd: folder });
  return folder;
}

const GOOD_TEST = `import { expect, test } from "bun:test";
import { add } from "./sum.ts";
test("sums", () => expect(add(1, 2)).toBe(3));
`;

const BUGS = inFile(
  "src/model/sum.ts",
  ["src/model/sum.test.ts"],
  [
    ["a + b", "a - b", "a sum is a difference"],
    ["a * 2", "a * 3", "twice is three times"],
    ["a / 2", "a / 3", "half is a third"],
    ["a", "b", "not one place"],
  ],
);

test("a bug is caught, or it survives, or its code is gone; the tree stays as it was", async () => {
  const folder = tree(GOOD_TEST);
  const told: string[] = [];
  const results = await tryBugs(folder, BUGS, 2, ({ bug, outcome }) => told.push(`${bug.why}: ${outcome}`));
  const expected = [
    "a sum is a difference: caught",
    "half is a third: stale",
    "not one place: stale",
    "twice is three times: survived",
  ];
  expect(told.sort()).toEqual(expected);
  expect(results).toHaveLength(4);
  // What is stale is not caught.
  expect([...shares(results)]).toEqual([["src/model", { caught: 1, all: 4 }]]);
  expect(readFileSync(path.join(folder, "src/model/sum.ts"), "utf8")).toBe(SOURCE);
});

test("tests that fail without a bug catch nothing", async () => {
  const folder = tree(GOOD_TEST.replace("toBe(3)", "toBe(4)"));
  await expect(tryBugs(folder, BUGS.slice(0, 1))).rejects.toThrow(/sum.test.ts fails without a bug/);
});

test("nine in ten of every part must be caught", () => {
  const share = (caught: number, all: number) => new Map([["part", { caught, all }]]);
  expect([isGoodEnough(share(9, 10)), isGoodEnough(share(89, 100)), isGoodEnough(new Map())]).toEqual([
    true,
    false,
    false,
  ]);
  expect(isGoodEnough(new Map([...share(10, 10), ["other", { caught: 1, all: 2 }]]))).toBe(false);
});

test("no bug on the list is stale: its code stands in its file exactly once", () => {
  const stale = staleBugs(root, allBugs).map(({ file, why, find }) => `${file}: ${why}: ${find}`);
  const cure = "mend or remove these entries of test/mutants; bun test/mutants/run.ts --stale lists them";
  expect({ stale, cure }).toEqual({ stale: [], cure });
});

test("stale bugs are found without running a test", () => {
  const reasons = staleBugs(tree(GOOD_TEST), BUGS).map(({ why }) => why);
  expect(reasons).toEqual(["half is a third", "not one place"]);
});

test("every bug on the list has files, tests and a reason of its own", () => {
  expect(allBugs.length).toBeGreaterThan(400);
  const missing = new Set<string>();
  for (const { file, tests, find, replace } of allBugs) {
    if (!existsSync(path.join(root, file))) missing.add(file);
    for (const name of tests) {
      const place = name.endsWith(".ts") ? name : `libfastgen/test/${name}.c`;
      if (!existsSync(path.join(root, place))) missing.add(place);
    }
    expect(find).not.toBe(replace);
    expect(partOf(file)).not.toBe("other");
  }
  expect([...missing]).toEqual([]);
  const reasons = allBugs.map(({ file, why, replace }) => `${file}: ${why}: ${replace}`);
  expect(new Set(reasons).size).toBe(reasons.length);
});
