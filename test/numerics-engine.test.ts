/**
 * The whole engine on the CPU: no bit of a result may depend on what else runs, on how the prompt was chunked, on whether
 * its prefix was cached, or on whether the sequence was preempted. Log probabilities are compared as floats, because a
 * difference in the last bit of any logit shows there.
 */
import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { Fastgen } from "../src/fastgen.ts";
import { openModel } from "../src/model/load.ts";
import type { SamplingParams } from "../src/params.ts";
import type { LoadOptions } from "../src/types.ts";
import { Expected, MODELS_DIRECTORY } from "./golden/expected.ts";
import { LIBRARY_PATH } from "./numerics.ts";

const MODEL = join(MODELS_DIRECTORY, "llama3-rope");
const library = existsSync(LIBRARY_PATH);
if (!library) console.log("skipped: no build/libfastgen_cpu.so (make -C libfastgen)");

const golden = library ? Expected.read(join(MODEL, "expected.safetensors")) : null;
const source = golden ? Array.from(golden.ints("ids")) : [];

interface Request {
  prompt: number[];
  params: SamplingParams;
}

/** Prompts that share prefixes of about one and two pages with each other, greedy and sampled. */
const requests: Request[] = [150, 128, 127, 64, 65, 100, 20, 1].map((length, i) => ({
  prompt: [...source.slice(0, length), 7 * i + 1],
  params: { max_tokens: 64 + i, ignore_eos: true, logprobs: 2, temperature: i % 2, seed: 100 + i },
}));

interface Outcome {
  ids: number[];
  logprobs: number[];
}

async function withEngine<T>(options: LoadOptions, use: (fastgen: Fastgen) => Promise<T>): Promise<T> {
  const fastgen = await Fastgen.load(MODEL, { device: "cpu", max_num_seqs: 8, ...options });
  try {
    return await use(fastgen);
  } finally {
    await fastgen.close();
  }
}

/** Calls `watch` after every piece of output. */
async function run(fastgen: Fastgen, { prompt, params }: Request, watch = () => {}): Promise<Outcome> {
  const generation = await fastgen.start(prompt, params);
  for await (const _ of generation) watch();
  const { choices } = await generation.completion();
  const [choice] = choices;
  const logprobs = choice!.logprobs!.flatMap((p) => [p.logprob, ...p.top.map((t) => t.logprob)]);
  return { ids: choice!.token_ids, logprobs };
}

let known: Promise<Outcome[]> | undefined;

/** Each request by itself, in an engine that caches nothing. */
function alone(): Promise<Outcome[]> {
  known ??= withEngine({ enable_prefix_caching: false }, async (fastgen) => {
    const outcomes: Outcome[] = [];
    for (const request of requests) outcomes.push(await run(fastgen, request));
    return outcomes;
  });
  return known;
}

async function pageBytes(): Promise<number> {
  const { shape } = await openModel(MODEL);
  return shape.layers * 2 * shape.kvHeads * 64 * shape.headDim * 2;
}

describe.skipIf(!library)("the same bits through the engine", () => {
  test("greedy ids match transformers", async () => {
    await withEngine({ dtype: "float32" }, async (fastgen) => {
      const wanted = Array.from(golden!.ints("greedy"));
      const params = { temperature: 0, max_tokens: wanted.length, ignore_eos: true };
      expect((await fastgen.generate(source, params)).choices[0]!.token_ids).toEqual(wanted);
    });
  });

  test("together", async () => {
    await withEngine({ enable_prefix_caching: false }, async (fastgen) => {
      expect(await Promise.all(requests.map((request) => run(fastgen, request)))).toEqual(await alone());
    });
  });

  test("in small steps, more requests than slots", async () => {
    await withEngine({ max_num_seqs: 3, max_num_batched_tokens: 17, enable_prefix_caching: false }, async (fastgen) => {
      expect(await Promise.all(requests.map((request) => run(fastgen, request)))).toEqual(await alone());
    });
  });

  test("with cached prefixes", async () => {
    await withEngine({ enable_prefix_caching: true }, async (fastgen) => {
      const expected = await alone();
      for (const [i, request] of requests.entries()) expect(await run(fastgen, request)).toEqual(expected[i]!);
      expect(await Promise.all(requests.map((request) => run(fastgen, request)))).toEqual(expected);
      expect(fastgen.stats.prefix_hit_tokens).toBeGreaterThan(0);
    });
  });

  test.each([
    ["recomputed", 0],
    ["swapped to the host", 0.01],
  ])("preempted, and then %s", async (_, swap_space) => {
    const kv_cache_memory_bytes = Math.floor(5.5 * (await pageBytes()));
    await withEngine({ kv_cache_memory_bytes, swap_space }, async (fastgen) => {
      expect(fastgen.capacity.pages).toBe(5);
      // Admission looks ahead. Requests that end at once teach it to expect short outputs for such a max_tokens.
      const first = (await fastgen.generate(source, { max_tokens: 1, temperature: 0 })).choices[0]!.token_ids[0]!;
      const short = { max_tokens: 64, temperature: 0, stop_token_ids: [first] };
      for (let i = 0; i < 32; i++)
        expect((await fastgen.generate(source, short)).choices[0]!.finish_reason).toBe("stop");
      let swapped = 0;
      const watch = () => {
        swapped = Math.max(swapped, fastgen.stats.swapped);
      };
      expect(await Promise.all(requests.map((request) => run(fastgen, request, watch)))).toEqual(await alone());
      expect(fastgen.stats.preemptions).toBeGreaterThan(0);
      expect(swapped > 0).toBe(swap_space > 0);
    });
  });
});
