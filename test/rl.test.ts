/** examples/rl at a small size: a policy learns from what fgserve samples, and both sides' log probabilities agree at every step. */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import * as path from "node:path";
import { missing } from "./server.ts";

const root = path.dirname(import.meta.dir);
const environment = path.join(root, ".cache/clients/rl");
const why = missing ?? (existsSync(path.join(environment, "installed.txt")) ? null : "needs scripts/fetch-clients.sh");
/** Milliseconds: for cores that many share. */
const PATIENCE = 600_000;

/** Runs the loop; what it printed, read. */
async function run(...args: string[]) {
  const child = Bun.spawn([path.join(environment, "bin/python"), path.join(root, "examples/rl/grpo.py"), ...args], {
    env: {
      ...process.env,
      FASTGEN_EXECUTABLE: path.join(root, "fgserve"),
      PYTHONPATH: path.join(root, "python"),
      PYTHONDONTWRITEBYTECODE: "1",
      // Threads that wait for each other by spinning take minutes where other tests run.
      OMP_NUM_THREADS: "1",
    },
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  expect({ code, ...(code !== 0 && { out, err }) }).toEqual({ code: 0 });
  const shares = [...out.matchAll(/held-out problems solved (?:before|after): (\d+)%/g)];
  const [before, after] = shares.map(([, share]) => Number(share));
  const rows = [...out.matchAll(/^ *\d+ +([\d.]+) +([\d.e+-]+) +([\d.e+-]+) /gm)];
  const steps = rows.map((row) => ({ reward: Number(row[1]), mean: Number(row[2]), largest: Number(row[3]) }));
  return { before: before!, after: after!, steps };
}

describe.skipIf(why !== null)(`examples/rl${why === null ? "" : ` (${why})`}`, () => {
  test(
    "the reward rises, and bfloat16 keeps the two sides close",
    async () => {
      const { before, after, steps } = await run("--steps", "14", "--problems", "8", "--held-out", "60");
      expect(steps).toHaveLength(14);
      for (const { mean } of steps) expect(mean).toBeLessThan(0.01);
      expect(after).toBeGreaterThan(before + 10);
    },
    PATIENCE,
  );

  test(
    "in float32 the two sides are one",
    async () => {
      const { steps } = await run("--dtype", "float32", "--steps", "3", "--problems", "4", "--held-out", "8");
      expect(steps).toHaveLength(3);
      for (const { mean, largest } of steps) {
        expect(mean).toBeLessThan(1e-5);
        expect(largest).toBeLessThan(1e-3);
      }
    },
    PATIENCE,
  );
});

test("the page names every flag of the loop", () => {
  const page = readFileSync(path.join(root, "examples/rl/README.md"), "utf8");
  const loop = readFileSync(path.join(root, "examples/rl/grpo.py"), "utf8");
  const flags = [...loop.matchAll(/add_argument\("(--[a-z-]+)"/g)].map((match) => match[1]!);
  expect(flags.length).toBeGreaterThan(0);
  expect(flags.filter((flag) => !page.includes(`\`${flag}\``))).toEqual([]);
});
