/**
 * What was sampled on a GPU and what scoring says of it there: different kernels compute the two, so they differ by rounding. On
 * the same tokens the CPU library says what rounding to bfloat16 costs.
 */
import { expect, test } from "bun:test";
import { Fastgen } from "fastgen";
import { startServer } from "../../routes/testing.ts";
import type { LoadOptions } from "../../src/types.ts";
import { promptIds, QUESTIONS, type Sampled, sample, score } from "../rescoring.ts";
import { skipped } from "./device.ts";

const TIMEOUT_MS = 120_000;
const ON_GPU: LoadOptions = { device: "cuda", dtype: "bfloat16", kv_cache_memory_bytes: 256 * 2 ** 20 };

async function withServer<T>(
  options: LoadOptions,
  use: (server: Awaited<ReturnType<typeof startServer>>) => Promise<T>,
) {
  const fastgen = await Fastgen.load(undefined, options);
  const server = await startServer(fastgen);
  try {
    return await use(server);
  } finally {
    await server.stop();
    await fastgen.close();
  }
}

const differences = (a: number[][], b: number[][]) =>
  a.flatMap((list, i) => list.map((value, j) => Math.abs(value - b[i]![j]!)));
const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

test.skipIf(skipped !== null)(
  "sampled and scored log probabilities differ by what rounding to bfloat16 costs",
  async () => {
    const params = { max_tokens: 100, n: 8, temperature: 3, top_k: 50, seed: 3 };
    const onGpu = await withServer(ON_GPU, async (server) => {
      const all: Sampled[][] = [];
      for (const question of QUESTIONS) all.push(await sample(server, await promptIds(server, question), params));
      const sampled = all.flat();
      return { sampled, scored: await score(server, sampled) };
    });
    const { sampled, scored } = onGpu;
    const onCpu = (dtype: "float32" | "bfloat16") =>
      withServer({ device: "cpu", dtype, threads: 1 }, (server) => score(server, sampled));
    const rounding = differences(await onCpu("float32"), await onCpu("bfloat16"));
    const found = differences(
      sampled.map(({ logprobs }) => logprobs),
      scored,
    );
    const text = (values: number[]) =>
      `mean ${mean(values).toExponential(2)}, largest ${Math.max(...values).toExponential(2)}`;
    console.log(
      `${found.length} tokens: sampled against scored ${text(found)}; bfloat16 against float32 ${text(rounding)}`,
    );
    expect(found.length).toBeGreaterThan(500);
    // Either side may be off by twice that, as every kernel may; their errors are independent.
    expect(mean(found)).toBeLessThan(2 * Math.SQRT2 * mean(rounding));
  },
  TIMEOUT_MS,
);
