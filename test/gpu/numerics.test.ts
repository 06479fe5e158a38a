/**
 * The CUDA library against transformers' logits (test/golden) and the CPU library's choices. Needs a GPU and
 * `make -C libfastgen cuda`; without them every test here is skipped.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Expected, MODEL_NAMES, MODELS_DIRECTORY } from "../golden/expected.ts";
import { argmax, LIBRARY_PATH, largest, median, Runner, relativeErrors, rootMeanSquare } from "../numerics.ts";
import { skipped } from "./device.ts";

/** cuBLASLt wants rows of whole 16-byte pieces, as every real model has. */
const fits = (name: string) => {
  const config = JSON.parse(readFileSync(join(MODELS_DIRECTORY, name, "config.json"), "utf8"));
  return config.hidden_size % 8 === 0 && config.intermediate_size % 8 === 0;
};

const open = new Map<string, Promise<Runner>>();

function runner(name: string): Promise<Runner> {
  const made = open.get(name) ?? Runner.open(join(MODELS_DIRECTORY, name), { dtype: "bfloat16", device: "cuda" });
  open.set(name, made);
  return made;
}

afterAll(async () => {
  for (const made of open.values()) await made.then((r) => r.close()).catch(() => {});
});

describe.skipIf(skipped !== null).each(MODEL_NAMES.filter(fits))("CUDA as transformers: %s", (name) => {
  const golden = Expected.read(join(MODELS_DIRECTORY, name, "expected.safetensors"));
  const ids = golden.ints("ids");
  const columns = golden.ints("columns");
  const bf16Error = golden.floats("bf16_error");
  const bf16Max = golden.floats("bf16_max");

  function check(logits: Float32Array, vocab: number): void {
    const errors = relativeErrors(logits, vocab, columns, golden.floats("logits"));
    expect(rootMeanSquare(errors)).toBeLessThan(2 * rootMeanSquare(bf16Error));
    expect(median(errors)).toBeLessThan(2 * median(bf16Error));
    for (const [i, gap] of golden.floats("gap").entries()) {
      if (gap <= 2 * largest(bf16Max)) continue;
      expect([i, argmax(logits.subarray(i * vocab, (i + 1) * vocab))]).toEqual([i, golden.ints("argmax")[i]!]);
    }
  }

  test("a whole prompt: no worse than twice naive bfloat16", async () => {
    const r = await runner(name);
    check(r.score([{ ids }])[0]!, r.shape.vocabSize);
  });

  test("in chunks beside others, through swapped pages", async () => {
    const r = await runner(name);
    const jobs = [
      { ids: ids.toReversed(), chunks: [1] },
      { ids, chunks: [50, 1, 1, 5], start: 2 },
      { ids: ids.slice(0, 65) },
      { ids, chunks: [1], start: 1 },
    ];
    const together = r.score(jobs, { swapAt: 9 });
    check(together[1]!, r.shape.vocabSize);
    check(together[3]!, r.shape.vocabSize);
  });

  test("graphs choose what single launches choose", async () => {
    const r = await runner(name);
    const prompts = [ids.slice(0, 70), ids.slice(20, 50), ids];
    const launched = r.generate(prompts, 24);
    const replayed = r.generate(prompts, 24, false);
    for (const [i, one] of launched.entries()) expect(Array.from(replayed[i]!.ids)).toEqual(Array.from(one.ids));
  });

  test.skipIf(!existsSync(LIBRARY_PATH))("greedy tokens are the CPU library's wherever bfloat16 can tell", async () => {
    const r = await runner(name);
    const cpu = await Runner.open(join(MODELS_DIRECTORY, name), { dtype: "bfloat16" });
    const [got] = r.generate([ids], 24);
    const [wanted] = cpu.generate([ids], 24);
    cpu.close();
    const vocab = r.shape.vocabSize;
    for (const [at, id] of wanted!.ids.entries()) {
      const row = wanted!.logits.slice(at * vocab, (at + 1) * vocab);
      const gap = row[id]! - largest(row.map((x, i) => (i === id ? Number.NEGATIVE_INFINITY : x)));
      if (got!.ids[at] === id) continue;
      // Once they differ, they are different texts.
      expect(gap).toBeLessThan(2 * largest(bf16Max));
      break;
    }
  });
});

test.skipIf(skipped !== null)("a shape that CUDA cannot compute is refused by its number", async () => {
  const odd = MODEL_NAMES.find((name) => !fits(name))!;
  expect(runner(odd)).rejects.toThrow("must be multiples of 8");
});
