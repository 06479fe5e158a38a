/**
 * bun test/mutants/run.ts [filter ...] [--jobs N] [--stale]: plants one bug at a time in a copy of the tree, runs the tests that should
 * notice it, and prints which did not. Filters keep the bugs whose file or description contains one of them.
 *
 * The exit code is 1 when fewer than 90 % of a part's bugs are caught. A bug whose code has changed is "stale": it does not
 * count as caught, so the list has to keep up with the code. --stale lists those, and runs no tests.
 */
import { availableParallelism } from "node:os";
import * as path from "node:path";
import { parseArgs } from "node:util";
import { answerBugs } from "./answers.ts";
import { type PlantedBug, partOf, staleBugs } from "./bugs.ts";
import { cliBugs } from "./cli.ts";
import { engineBugs } from "./engine.ts";
import { diskBugs } from "./engine-disk.ts";
import { engineGrammarBugs } from "./engine-grammars.ts";
import { pageBugs } from "./engine-pages.ts";
import { generationBugs } from "./generation.ts";
import { grammarBugs } from "./grammar.ts";
import { kvEventBugs } from "./kv-events.ts";
import { libraryBugs } from "./libfastgen.ts";
import { modelBugs } from "./model.ts";
import { folderBugs } from "./model-folders.ts";
import { promptBugs } from "./prompts.ts";
import { routeBugs } from "./routes.ts";
import { apiBugs } from "./routes-apis.ts";
import { batchBugs } from "./routes-batch.ts";
import { chatBugs } from "./routes-chat.ts";
import { requestBugs } from "./routes-requests.ts";
import { serverBugs } from "./routes-server.ts";
import { tokenBugs } from "./routes-tokens.ts";
import { structureBugs } from "./structures.ts";
import { textBugs } from "./text.ts";
import { type Outcome, TreeCopy } from "./tree-copy.ts";
import { weightBugs } from "./weights.ts";

const LEAST_CAUGHT = 0.9;
/** For the tests of one bug. They take some seconds, or hang because of it. */
const TIMEOUT_MS = 120_000;

export interface Result {
  bug: PlantedBug;
  outcome: Outcome;
}

/** Tries every bug, several at a time. Throws when the tests fail without any bug. */
export async function tryBugs(
  root: string,
  bugs: PlantedBug[],
  jobs = 1,
  onResult: (result: Result) => void = () => {},
): Promise<Result[]> {
  const queue = [...bugs];
  const results: Result[] = [];
  const work = async () => {
    const copy = await TreeCopy.make(root, TIMEOUT_MS);
    try {
      for (let bug = queue.shift(); bug; bug = queue.shift()) {
        const result = { bug, outcome: await copy.plant(bug) };
        results.push(result);
        onResult(result);
      }
    } finally {
      copy.remove();
    }
  };
  await Promise.all(Array.from({ length: Math.min(jobs, bugs.length) }, work));
  return results;
}

/** By part: how many bugs were caught, of how many. */
export function shares(results: Result[]): Map<string, { caught: number; all: number }> {
  const parts = new Map<string, { caught: number; all: number }>();
  for (const { bug, outcome } of results) {
    const part = parts.get(partOf(bug.file)) ?? { caught: 0, all: 0 };
    part.all++;
    if (outcome === "caught") part.caught++;
    parts.set(partOf(bug.file), part);
  }
  return parts;
}

/** Whether enough bugs of every part were caught. */
export function isGoodEnough(parts: Map<string, { caught: number; all: number }>): boolean {
  return parts.size > 0 && [...parts.values()].every(({ caught, all }) => caught >= LEAST_CAUGHT * all);
}

export const allBugs = [
  ...answerBugs,
  ...engineBugs,
  ...pageBugs,
  ...diskBugs,
  ...engineGrammarBugs,
  ...generationBugs,
  ...grammarBugs,
  ...promptBugs,
  ...routeBugs,
  ...requestBugs,
  ...apiBugs,
  ...batchBugs,
  ...chatBugs,
  ...serverBugs,
  ...tokenBugs,
  ...structureBugs,
  ...cliBugs,
  ...modelBugs,
  ...folderBugs,
  ...kvEventBugs,
  ...weightBugs,
  ...textBugs,
  ...libraryBugs,
];

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    options: { jobs: { type: "string" }, stale: { type: "boolean" } },
    allowPositionals: true,
  });
  const filters = positionals.length > 0 ? positionals : [""];
  const bugs = allBugs.filter(({ file, why }) => filters.some((filter) => `${file}: ${why}`.includes(filter)));
  const root = path.join(import.meta.dir, "../..");
  if (values.stale) {
    const stale = staleBugs(root, bugs);
    for (const { file, why, find } of stale) console.log(`${file}: ${why}\n${find}\n`);
    console.log(`${stale.length} of ${bugs.length} are stale`);
    return stale.length > 0 ? 1 : 0;
  }
  const jobs = values.jobs === undefined ? availableParallelism() : Number(values.jobs);
  const results = await tryBugs(root, bugs, jobs, ({ bug, outcome }) =>
    console.log(`${outcome.padEnd(8)} ${bug.file}: ${bug.why}`),
  );
  const table = [...shares(results)].map(([part, { caught, all }]) => ({
    part,
    caught,
    all,
    share: `${Math.round((100 * caught) / all)} %`,
  }));
  console.table(table);
  return isGoodEnough(shares(results)) ? 0 : 1;
}

if (import.meta.main) process.exit(await main());
