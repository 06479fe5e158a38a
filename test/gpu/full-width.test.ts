/**
 * The CUDA library with models as wide as real ones, which make_full_width.py makes in a temporary folder, against
 * transformers on the same GPU. Where there are several GPUs, the models are split over them too. Needs a python3 with torch,
 * transformers and safetensors, beside what the other GPU tests need.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeShapes } from "../../bench/shapes.ts";
import { Expected } from "../golden/expected.ts";
import { Runner } from "../numerics.ts";
import { compareGraphs, compareRows, doubtOf, follow, readGolden } from "./compare.ts";
import { devices, skipped as noDevice } from "./device.ts";

const NAMES = ["mistral-7b", "qwen2.5-7b", "llama-3.1-8b"];
const RANKS = [1, 2, 4].filter((ranks) => ranks === 1 || ranks <= devices);
const TIMEOUT_MS = 300_000;

/** Why python3 cannot make the models, or null. */
function pythonProblem(): string | null {
  const needs = 'import safetensors, transformers, torch; assert torch.cuda.is_available(), "torch finds no GPU"';
  const { exitCode, stderr } = Bun.spawnSync(["python3", "-c", needs]);
  return exitCode === 0 ? null : `python3: ${stderr.toString().trim().split("\n").at(-1)}`;
}

function problem(): string | null {
  if (noDevice !== null) return noDevice;
  return Bun.which("python3") ? pythonProblem() : "no python3";
}
const skipped = problem();
// device.ts has already reported that there is no device.
if (skipped !== null && noDevice === null) console.log(`skipped: models as wide as real ones: ${skipped}`);

let folder: string | null = null;
let made: Promise<string> | null = null;
afterAll(() => {
  if (folder !== null) rmSync(folder, { recursive: true });
});

async function makeModels(): Promise<string> {
  folder = mkdtempSync(join(tmpdir(), "fastgen-full-width-"));
  writeShapes(folder);
  const python = Bun.spawn(["python3", join(import.meta.dir, "make_full_width.py"), folder, ...NAMES], {
    stdout: "inherit",
    stderr: "pipe",
  });
  const errors = await python.stderr.text();
  if ((await python.exited) !== 0) throw new Error(`make_full_width.py: ${errors}`);
  return folder;
}

describe.skipIf(skipped !== null)("models as wide as real ones match transformers", () => {
  test(
    "are made",
    async () => {
      made = makeModels();
      await made;
    },
    TIMEOUT_MS,
  );

  test.each(NAMES.flatMap((name) => RANKS.map((ranks) => [name, ranks] as const)))(
    "%s on %d",
    async (name, ranks) => {
      const directory = join((await made)!, name);
      const expected = Expected.read(join(directory, "expected.safetensors"));
      const [long, short] = [readGolden(expected, "0."), readGolden(expected, "1.")];
      const options = { dtype: "bfloat16", device: "cuda", ranks, maxContext: 768, maxStepTokens: 1024 } as const;
      const runner = await Runner.open(directory, options);
      try {
        const compared = [
          // Both prompts whole, in one step.
          compareRows(runner, [
            { ids: long.ids, golden: long },
            { ids: short.ids, golden: short },
          ]),
          // In chunks beside others, its last tokens one by one, and through swapped pages.
          compareRows(
            runner,
            [
              { ids: short.ids.toReversed(), chunks: [1] },
              { ids: long.ids, golden: long, chunks: [257, 1, 64, 300, ...new Array(78).fill(1)], start: 1 },
              { ids: short.ids, golden: short, chunks: [1], start: 2 },
              { ids: long.ids.slice(0, 100) },
            ],
            { swapAt: 9 },
          ),
        ];
        const positions = long.ids.length + short.ids.length;
        for (const sure of compared) expect(sure).toBeGreaterThan(positions / 8);

        const steps = expected.ints("0.greedy").length;
        const texts = compareGraphs(runner, [long.ids, short.ids], steps);
        for (const [i, { bf16Max }] of [long, short].entries()) {
          follow(texts[i]!.ids, expected.ints(`${i}.greedy`), expected.floats(`${i}.greedy_gap`), doubtOf(bf16Max));
        }
      } finally {
        runner.close();
      }
    },
    TIMEOUT_MS,
  );
});
