/**
 * FP8 checkpoints as wide as Mistral 7B, which make_full_width_fp8.py makes, loaded from their files by the CUDA library, against
 * what PyTorch computes from their weights on the same GPU. The tolerance is twice the error of naive FP8 of the same scheme on
 * the same input. Where there are several GPUs, the models are split over them too.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import type { StoredDtype } from "../../src/model/shape.ts";
import { Expected } from "../golden/expected.ts";
import { type Job, largest, median, Runner, relativeErrors } from "../numerics.ts";
import { compareGraphs } from "./compare.ts";
import { devices } from "./device.ts";
import { PythonModels, skipReason } from "./python-models.ts";

const FORMATS = [
  "compressed-channel",
  "compressed-tensor-static",
  "compressed-block",
  "fbgemm",
  "fp8-block",
  "fp8-dynamic",
  "modelopt",
];
const RANKS = [1, 2].filter((ranks) => ranks <= Math.max(1, devices));
const TIMEOUT_MS = 300_000;
const skipped = skipReason("FP8 checkpoints as wide as real ones");
const models = new PythonModels();
let made: Promise<string> | null = null;
afterAll(() => models.remove());

/** The errors of the logits of `ids`, position by position, in each of `jobs` that has these ids. */
function errorsOf(runner: Runner, jobs: Job[], ids: Int32Array, columns: Int32Array, logits: Float32Array): number[] {
  const errors: number[] = [];
  const see = (job: number, position: number, row: Float32Array) => {
    if (jobs[job]!.ids !== ids) return;
    const want = logits.subarray(position * columns.length, (position + 1) * columns.length);
    errors.push(relativeErrors(row, runner.shape.vocabSize, columns, want)[0]!);
  };
  runner.eachRow(jobs, see, jobs.length > 1 ? { swapAt: 3 } : {});
  return errors;
}

describe.skipIf(skipped !== null)("FP8 checkpoints as wide as real ones match PyTorch", () => {
  test(
    "are made",
    async () => {
      made = models.make("make_full_width_fp8.py", FORMATS);
      await made;
    },
    TIMEOUT_MS,
  );

  const caches: [StoredDtype, string][] = [
    ["bfloat16", "fp8_error"],
    ["float8_e4m3", "cache_error"],
  ];
  const cases = FORMATS.flatMap((name) =>
    RANKS.flatMap((ranks) => caches.map(([kvDtype, error]) => [name, ranks, kvDtype, error] as const)),
  );
  test.each(cases)(
    "%s on %d, keys and values in %s: at most twice the error of naive FP8",
    async (name, ranks, kvDtype, error) => {
      const directory = join((await made)!, name);
      const expected = Expected.read(join(directory, "expected.safetensors"));
      const ids = expected.ints("ids");
      const naive = expected.floats(error);
      const options = {
        dtype: "bfloat16",
        device: "cuda",
        kvDtype,
        ranks,
        maxContext: 384,
        maxStepTokens: 512,
      } as const;
      const runner = await Runner.open(directory, options);
      try {
        const beside = [
          { ids: ids.toReversed() },
          { ids, chunks: [129, 1, 64, 30, ...new Array(76).fill(1)], start: 1 },
        ];
        for (const jobs of [[{ ids }], beside]) {
          const errors = errorsOf(runner, jobs, ids, expected.ints("columns"), expected.floats("logits"));
          console.log(`${name}, ${ranks}, ${kvDtype}: ${median(errors).toFixed(4)}, naive ${median(naive).toFixed(4)}`);
          expect(errors.length).toBe(ids.length);
          expect(median(errors)).toBeLessThan(2 * median(naive));
          expect(largest(errors)).toBeLessThan(2 * largest(naive));
        }
        compareGraphs(runner, [ids.slice(0, 200), ids.slice(50, 80)], 16);
      } finally {
        runner.close();
      }
    },
    TIMEOUT_MS,
  );
});
