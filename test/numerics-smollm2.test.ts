/** The CPU library with a real model against transformers (test/golden/make_smollm2.py). */
import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { Expected } from "./golden/expected.ts";
import {
  argmax,
  firstDifference,
  instructionSets,
  LIBRARY_PATH,
  largest,
  logsumexp,
  REAL_MODEL,
  Runner,
  relativeErrors,
  testsOn,
} from "./numerics.ts";

/** As in numerics.test.ts: how much of naive bfloat16's error float32 may have. */
const FLOAT32_SHARE = 16 / 2 ** 16;
const CONVERSATIONS = 5;

const ready = existsSync(LIBRARY_PATH) && existsSync(join(REAL_MODEL, "config.json"));
if (!ready) console.log(`skipped: needs ${LIBRARY_PATH} and the model in ${REAL_MODEL} (FASTGEN_TEST_MODEL)`);

const golden = Expected.read(join(import.meta.dir, "golden", "smollm2.safetensors"));
const prompts = Array.from({ length: CONVERSATIONS }, (_, i) => golden.ints(`${i}.prompt`));
/** Enough for the longest prompt and its 64 new tokens. */
const maxContext = 640;

describe.skipIf(!ready)("SmolLM2-135M-Instruct", () => {
  test("float32: 64 greedy tokens of five conversations, generated together", async () => {
    const r = await Runner.open(REAL_MODEL, { dtype: "float32", maxContext, maxStepTokens: 1024 });
    const vocab = r.shape.vocabSize;
    for (const [i, { ids, logits }] of r.generate(prompts, 64).entries()) {
      expect(Array.from(ids)).toEqual(Array.from(golden.ints(`${i}.greedy`)));
      // The first row belongs to the prompt's last position.
      const columns = golden.ints(`${i}.columns`);
      const last = golden.floats(`${i}.logits`).slice(-columns.length);
      const error = relativeErrors(logits.subarray(0, vocab), vocab, columns, last)[0]!;
      expect(error).toBeLessThan(largest(golden.floats(`${i}.bf16_error`)) * FLOAT32_SHARE);
      const sum = logsumexp(logits.subarray(0, vocab));
      expect(Math.abs(sum - golden.floats(`${i}.logsumexp`).at(-1)!)).toBeLessThan(
        largest(golden.floats(`${i}.bf16_max`)) * FLOAT32_SHARE,
      );
    }
    r.close();
  }, 120_000);

  test("float32: the first tokens of a conversation", async () => {
    const r = await Runner.open(REAL_MODEL, { dtype: "float32", maxContext: 128 });
    const [generated] = r.generate(prompts.slice(0, 1), 16);
    expect(Array.from(generated!.ids)).toEqual(Array.from(golden.ints("0.greedy").slice(0, 16)));
    r.close();
  }, 60_000);

  test.skipIf(process.env.FASTGEN_CPU_ISA !== undefined).each(instructionSets())(
    "float32 on %s",
    async (set) => {
      expect(await testsOn(set, import.meta.path, "float32: the first tokens")).toContain("1 pass");
    },
    120_000,
  );

  test("bfloat16: prompts and 64 greedy tokens within twice the error of naive bfloat16", async () => {
    const r = await Runner.open(REAL_MODEL, { dtype: "bfloat16", maxContext, maxStepTokens: 1024 });
    const vocab = r.shape.vocabSize;
    let sure = 0;
    for (const [i, prompt] of prompts.entries()) {
      const greedy = golden.ints(`${i}.greedy`);
      const whole = [...prompt, ...greedy.subarray(0, -1)];
      const [logits] = r.score([{ ids: whole }]);
      const columns = golden.ints(`${i}.columns`);
      const last = logits!.subarray((prompt.length - 8) * vocab, prompt.length * vocab);
      const errors = relativeErrors(last, vocab, columns, golden.floats(`${i}.logits`));
      expect(largest(errors)).toBeLessThan(2 * largest(golden.floats(`${i}.bf16_error`)));
      const cost = 2 * largest(golden.floats(`${i}.bf16_max`));
      for (const [at, gap] of golden.floats(`${i}.gap`).entries()) {
        if (gap <= cost) continue;
        sure++;
        const row = prompt.length - 1 + at;
        expect([i, at, argmax(logits!.subarray(row * vocab, (row + 1) * vocab))]).toEqual([i, at, greedy[at]!]);
      }
    }
    expect(sure).toBeGreaterThan(100);
    r.close();
  }, 120_000);

  test("the same bits alone, together, in chunks and with one thread", async () => {
    const options = { dtype: "bfloat16", maxContext, maxStepTokens: 1024 } as const;
    const r = await Runner.open(REAL_MODEL, options);
    const [first, second, third] = [prompts[0]!, prompts[2]!, prompts[3]!];
    const [alone] = r.score([{ ids: third }]);
    const together = r.score([{ ids: first, chunks: [1] }, { ids: third, chunks: [33, 1, 7] }, { ids: second }], {
      swapAt: 2,
    });
    expect(firstDifference(together[1]!, alone!)).toBe(-1);
    r.close();
    const single = await Runner.open(REAL_MODEL, { ...options, threads: 1 });
    expect(firstDifference(single.score([{ ids: third, chunks: [20] }])[0]!, alone!)).toBe(-1);
    single.close();
  }, 120_000);
});
