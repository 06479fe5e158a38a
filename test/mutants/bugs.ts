/** What a planted bug is, and how the lists of them are written. */
import { existsSync, readFileSync } from "node:fs";
import * as path from "node:path";

/** A planted bug: one change of the code that some test must notice. */
export interface PlantedBug {
  file: string;
  /** Code that stands in the file exactly once, and what it becomes. */
  find: string;
  replace: string;
  /** What goes wrong with it. */
  why: string;
  /** Files of bun tests, or names of libfastgen's test programs ("engine_test"). */
  tests: string[];
}

type Change = [find: string, replace: string, why: string];

/** The bugs of one file, which the same tests should notice. */
export function inFile(file: string, tests: string[], changes: Change[]): PlantedBug[] {
  return changes.map(([find, replace, why]) => ({ file, find, replace, why, tests }));
}

/** Whether the bug's code has changed: `text` of its file does not hold it exactly once. */
export function isStale({ find }: PlantedBug, text: string): boolean {
  return text.split(find).length !== 2;
}

/** The bugs whose code in the tree at `root` has changed. */
export function staleBugs(root: string, bugs: PlantedBug[]): PlantedBug[] {
  const texts = new Map<string, string>();
  return bugs.filter((bug) => {
    const place = path.join(root, bug.file);
    if (!texts.has(place)) texts.set(place, existsSync(place) ? readFileSync(place, "utf8") : "");
    return isStale(bug, texts.get(place)!);
  });
}

/** Parts of the code that have a share of their own. The first that matches a file is its part. */
const PARTS: [part: string, pattern: RegExp][] = [
  ["src/engine", /^src\/(engine|kv-cache-dir|kv-events|profile)\//],
  ["src/generation", /^src\/(generation\/|request\/|(fastgen|engine-config|run-bounded|text-cache)\.ts$)/],
  ["src/answer", /^src\/answer\//],
  ["routes", /^routes\//],
  ["cli", /^cli\//],
  ["src/model", /^src\/(model|system)\//],
  ["src/text", /^src\/text\//],
  ["src/grammar", /^src\/(grammar\/|grammar-sources\/|structured-outputs\.ts$)/],
  ["libfastgen", /^libfastgen\//],
];

export function partOf(file: string): string {
  return PARTS.find(([, pattern]) => pattern.test(file))?.[0] ?? "other";
}
