/**
 * The CUDA library with models as wide as real ones, which make_full_width.py makes in a temporary folder, against
 * transformers on the same GPU. Where there are several GPUs, the models are split over them too. Needs a python3 with torch,
 * transformers and safetensors, beside what the other GPU tests need.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { Expected } from "../golden/expected.ts";
import { Runner } from "../numerics.ts";
import { compareGraphs, compareRows, doubtOf, follow, readGolden } from "./compare.ts";
import { devices } from "./device.ts";
import { PythonModels, skipReason } from "./python-models.ts";

const NAMES = ["mistral-7b", "qwen2.5-7b", "llama-3.1-8b"];
const RANKS = [1, 2, 4].filter((ranks) => ranks === 1 || ranks <= devices);
const TIMEOUT_MS = 300_000;

const skipped = skipReason("models as wide as real ones");
const models = new PythonModels();
let made: Promise<string> | null = null;
afterAll(() => models.remove());

describe.skipIf(skipped !== null)("models as wide as real ones match transformers", () => {
  test(
    "are made",
    async () => {
      made = models.make("make_full_width.py", NAMES);
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
