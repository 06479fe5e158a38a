/** Engines on GPUs of their own, in one process. Needs two GPUs and `make -C libfastgen cuda`; without them it is skipped. */
import { expect, test } from "bun:test";
import { Fastgen } from "../../src/fastgen.ts";
import { devices } from "./device.ts";

const ENGINES = 2;
const skip = devices < ENGINES;
if (skip) console.log(`skipped: needs ${ENGINES} devices, and there are ${devices}`);

/** Greedy answers to some prompts, one after another. By salt, since engines take turns with prompts that share nothing. */
async function answers(fastgen: Fastgen, salts: string[]): Promise<number[][]> {
  const all: number[][] = [];
  for (const cache_salt of salts) {
    // The built-in model is sure of this answer: rounding, in which GPUs may differ, does not change it.
    const messages = [{ role: "user", content: "What is 23 plus 45?" }];
    const { choices } = await fastgen.generate({ messages }, { temperature: 0, max_tokens: 64 }, { cache_salt });
    all.push(choices[0]!.token_ids);
  }
  return all;
}

test.skipIf(skip)("each GPU answers as one alone does", async () => {
  const options = { device: "cuda", max_model_len: 512, max_num_seqs: 8 } as const;
  const salts = Array.from({ length: ENGINES }, (_, i) => `${i}`);
  let alone: number[][];
  {
    await using one = await Fastgen.load(undefined, options);
    alone = await answers(one, salts);
  }
  await using several = await Fastgen.load(undefined, { ...options, data_parallel_size: ENGINES });
  expect(await answers(several, salts)).toEqual(alone);
  expect(several.engines.map(({ stats }) => stats.generated_tokens)).toEqual(alone.map((ids) => ids.length));
});

test.skipIf(devices === 0)("more engines than GPUs are refused", async () => {
  const start = Fastgen.load(undefined, { device: "cuda", data_parallel_size: devices + 1 });
  await expect(start).rejects.toThrow(`needs ${devices + 1} GPUs, and this machine has ${devices}`);
});
