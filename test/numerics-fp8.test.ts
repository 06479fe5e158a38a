/**
 * FP8 checkpoints of every format on the CPU, against what their weights stand for (test/golden/make_fp8.py). The tolerance is
 * twice the error of naive FP8 of the same scheme on the same input.
 */
import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { Expected } from "./golden/expected.ts";
import {
  firstDifference,
  instructionSets,
  LIBRARY_PATH,
  largest,
  median,
  type RunnerOptions,
  relativeErrors,
  runnersOf,
  testsOn,
} from "./numerics.ts";

const DIRECTORY = join(import.meta.dir, "golden/fp8");
const FORMATS = readdirSync(DIRECTORY, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map((entry) => entry.name)
  .sort();

const library = existsSync(LIBRARY_PATH);
if (!library) console.log("skipped: no build/libfastgen_cpu.so (make -C libfastgen)");

const runner = runnersOf(DIRECTORY);

describe.skipIf(!library).each(FORMATS)("FP8 logits: %s", (name) => {
  const golden = Expected.read(join(DIRECTORY, name, "expected.safetensors"));
  const ids = golden.ints("ids");
  const columns = golden.ints("columns");
  const fp8Error = golden.floats("fp8_error");

  async function errors(options: RunnerOptions, wanted: "logits" | "fp8_logits"): Promise<number[]> {
    const r = await runner(name, options);
    return relativeErrors(r.score([{ ids }])[0]!, r.shape.vocabSize, columns, golden.floats(wanted));
  }

  test.each(["float32", "bfloat16"] as const)("%s: at most twice the error of naive FP8", async (dtype) => {
    const found = await errors({ dtype }, "logits");
    expect(largest(found)).toBeLessThan(2 * largest(fp8Error));
    expect(median(found)).toBeLessThan(2 * median(fp8Error));
  });

  test("float32: the scheme is the format's", async () => {
    // A value near a tie may be rounded to the other side, and attention passes that on to all later positions. Before the
    // first such value the logits are naive FP8's. With another scheme no position has them.
    const early = (await errors({ dtype: "float32" }, "fp8_logits")).slice(0, 4);
    expect(Math.min(...early)).toBeLessThan(Math.min(...fp8Error.slice(0, 4)) / 50);
  });

  test("an FP8 cache: at most twice the error with one", async () => {
    const cacheError = golden.floats("cache_error");
    const found = await errors({ dtype: "float32", kvDtype: "float8_e4m3" }, "logits");
    expect(largest(found)).toBeLessThan(2 * largest(cacheError));
    expect(median(found)).toBeLessThan(2 * median(cacheError));
  });

  test("the same bits in chunks, beside others, and after its pages went to the host", async () => {
    const r = await runner(name, { dtype: "bfloat16", kvDtype: "float8_e4m3" });
    const [alone] = r.score([{ ids }]);
    const jobs = [{ ids: ids.toReversed() }, { ids, chunks: [7, 1] }];
    expect(firstDifference(r.score(jobs, { swapAt: 3 })[1]!, alone!)).toBe(-1);
  });
});

describe.skipIf(!library || process.env.FASTGEN_CPU_ISA !== undefined)("on every instruction set", () => {
  test.each(instructionSets())(
    "FP8 on %s",
    async (set) => {
      expect(await testsOn(set, import.meta.path, "FP8 logits:")).toContain(`${5 * FORMATS.length} pass`);
    },
    120_000,
  );
});
