/**
 * The CPU library against transformers (test/golden), and against itself: no bit of a sequence's result may depend on how
 * it was run.
 *
 * Tolerances come from the data: naive bfloat16's own error on the same input. float32 has 16 more bits of mantissa, so its
 * rounding costs about 2^-16 of that.
 */
import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Dtype } from "../src/model/shape.ts";
import { Expected, MODEL_NAMES, MODELS_DIRECTORY } from "./golden/expected.ts";
import {
  argmax,
  firstDifference,
  instructionSets,
  LIBRARY_PATH,
  largest,
  logsumexp,
  median,
  relativeErrors,
  runnersOf,
  testsOn,
} from "./numerics.ts";

/** Float32 may have 16 times 2^-16 of bfloat16's error: sums and rotary angles are rounded too, not only inputs. */
const FLOAT32_SHARE = 16 / 2 ** 16;

const library = existsSync(LIBRARY_PATH);
if (!library) console.log("skipped: no build/libfastgen_cpu.so (make -C libfastgen)");

const DTYPES: Dtype[] = ["float32", "bfloat16"];
const runner = runnersOf(MODELS_DIRECTORY);

describe.skipIf(!library).each([...MODEL_NAMES])("matches transformers: %s", (name) => {
  const golden = Expected.read(join(MODELS_DIRECTORY, name, "expected.safetensors"));
  const ids = golden.ints("ids");
  const columns = golden.ints("columns");
  const bf16Error = golden.floats("bf16_error");
  const bf16Max = golden.floats("bf16_max");

  test("float32: logits at every position", async () => {
    const r = await runner(name, { dtype: "float32" });
    const vocab = r.shape.vocabSize;
    const [logits] = r.score([{ ids }]);
    const errors = relativeErrors(logits!, vocab, columns, golden.floats("logits"));
    expect(largest(errors)).toBeLessThan(largest(bf16Error) * FLOAT32_SHARE);
    expect(median(errors)).toBeLessThan(median(bf16Error) * FLOAT32_SHARE);
    for (const [i, gap] of golden.floats("gap").entries()) {
      const row = logits!.subarray(i * vocab, (i + 1) * vocab);
      expect(Math.abs(logsumexp(row) - golden.floats("logsumexp")[i]!)).toBeLessThan(bf16Max[i]! * FLOAT32_SHARE);
      // Two logits may swap places only where rounding can swap them.
      if (gap > 2 * bf16Max[i]! * FLOAT32_SHARE) expect([i, argmax(row)]).toEqual([i, golden.ints("argmax")[i]!]);
    }
  });

  test("float32: greedy continuation", async () => {
    const r = await runner(name, { dtype: "float32" });
    const wanted = golden.ints("greedy");
    const [generated] = r.generate([ids], wanted.length);
    expect(Array.from(generated!.ids)).toEqual(Array.from(wanted));
  });

  test("bfloat16: at most twice the error of naive bfloat16", async () => {
    const r = await runner(name, { dtype: "bfloat16" });
    const vocab = r.shape.vocabSize;
    const [logits] = r.score([{ ids }]);
    const errors = relativeErrors(logits!, vocab, columns, golden.floats("logits"));
    expect(largest(errors)).toBeLessThan(2 * largest(bf16Error));
    expect(median(errors)).toBeLessThan(2 * median(bf16Error));
    let sure = 0;
    for (const [i, gap] of golden.floats("gap").entries()) {
      if (gap <= 2 * largest(bf16Max)) continue;
      sure++;
      expect([i, argmax(logits!.subarray(i * vocab, (i + 1) * vocab))]).toEqual([i, golden.ints("argmax")[i]!]);
    }
    expect(sure).toBeGreaterThan(10);
  });

  test("float16: at most twice the error of naive float16, which has 3 bits more than bfloat16", async () => {
    const r = await runner(name, { dtype: "float16" });
    const [logits] = r.score([{ ids }]);
    const errors = relativeErrors(logits!, r.shape.vocabSize, columns, golden.floats("logits"));
    expect(largest(errors)).toBeLessThan((2 * largest(bf16Error)) / 2 ** 3);
    expect(median(errors)).toBeLessThan((2 * median(bf16Error)) / 2 ** 3);
  });
});

describe
  .skipIf(!library || process.env.FASTGEN_CPU_ISA !== undefined)
  .each(MODEL_NAMES.flatMap((name) => DTYPES.map((dtype) => [name, dtype] as const)))(
  "the same bits: %s in %s",
  (name, dtype) => {
    const golden = Expected.read(join(MODELS_DIRECTORY, name, "expected.safetensors"));
    const ids = golden.ints("ids");
    const others = [ids.slice(40), ids.toReversed(), ids.slice(0, 65)];

    async function alone(): Promise<Float32Array> {
      const r = await runner(name, { dtype });
      return r.score([{ ids }])[0]!;
    }

    test.each([[[1]], [[7]], [[64]], [[3, 1, 61, 1, 1, 20]]])("in chunks of %j", async (chunks) => {
      const r = await runner(name, { dtype });
      expect(firstDifference(r.score([{ ids, chunks }])[0]!, await alone())).toBe(-1);
    });

    test("beside others, at different stages", async () => {
      const r = await runner(name, { dtype });
      const jobs = [
        { ids: others[0]!, chunks: [1] },
        { ids, chunks: [50, 1, 1, 5], start: 2 },
        { ids: others[1]! },
        { ids, chunks: [128, 1], start: 1 },
        { ids: others[2]!, chunks: [2], start: 3 },
      ];
      const together = r.score(jobs);
      const expected = await alone();
      expect(firstDifference(together[1]!, expected)).toBe(-1);
      expect(firstDifference(together[3]!, expected)).toBe(-1);
      expect(firstDifference(together[0]!, r.score([{ ids: others[0]! }])[0]!)).toBe(-1);
    });

    test.each([1, 3])("with %d threads", async (threads) => {
      const r = await runner(name, { dtype, threads });
      expect(r.capacity.threads).toBe(threads);
      const [whole] = r.score([{ ids }]);
      const [, chunked] = r.score([
        { ids: others[1]!, chunks: [1] },
        { ids, chunks: [40, 1] },
      ]);
      const expected = await alone();
      expect(firstDifference(whole!, expected)).toBe(-1);
      expect(firstDifference(chunked!, expected)).toBe(-1);
    });

    test("after its pages went to the host and came back elsewhere", async () => {
      const r = await runner(name, { dtype });
      const jobs = [
        { ids, chunks: [10] },
        { ids: others[1]!, chunks: [9] },
      ];
      const swapped = r.score(jobs, { swapAt: 8 });
      expect(firstDifference(swapped[0]!, await alone())).toBe(-1);
      expect(firstDifference(swapped[1]!, r.score([{ ids: others[1]! }])[0]!)).toBe(-1);
    });

    test("decoding from the token that the slot sampled last", async () => {
      const r = await runner(name, { dtype });
      const prompts = [ids.slice(0, 100), ids.slice(0, 30), ids.slice(20, 84)];
      for (const [i, generated] of r.generate(prompts, 40).entries()) {
        const whole = [...prompts[i]!, ...generated.ids.subarray(0, -1)];
        const rows = r.score([{ ids: whole }])[0]!.subarray((prompts[i]!.length - 1) * r.shape.vocabSize);
        expect(firstDifference(generated.logits, rows)).toBe(-1);
        for (const [at, id] of generated.ids.entries()) {
          expect(id).toBe(argmax(rows.subarray(at * r.shape.vocabSize, (at + 1) * r.shape.vocabSize)));
        }
      }
    });
  },
);

describe.skipIf(!library || process.env.FASTGEN_CPU_ISA !== undefined)("on every instruction set", () => {
  test.each(instructionSets())(
    "matches transformers on %s",
    async (set) => {
      expect(await testsOn(set, import.meta.path, "matches transformers:")).toContain(`${4 * MODEL_NAMES.length} pass`);
    },
    120_000,
  );
});
