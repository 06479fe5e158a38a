/**
 * Trained models on a GPU: the CUDA library's greedy answers match the CPU library's, token for token, wherever bfloat16
 * can tell two tokens apart.
 */
import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { cases } from "../../models/grading.ts";
import { openModel } from "../../src/model/load.ts";
import { ChatTemplate } from "../../src/text/chat-template.ts";
import { readGenerationConfig } from "../../src/text/generation-config.ts";
import { Tokenizer } from "../../src/text/tokenizer.ts";
import { Expected } from "../golden/expected.ts";
import { LIBRARY_PATH, REAL_MODEL, Runner } from "../numerics.ts";
import { doubtOf, follow, leads } from "./compare.ts";
import { skipped } from "./device.ts";

const EMBEDDED_MODEL = join(import.meta.dir, "..", "..", "models", "fastgen-tiny");
const AT_ONCE = 8;
const TIMEOUT_MS = 300_000;
const SIZES = { maxContext: 640, maxStepTokens: 2048 };

const ready = skipped === null && existsSync(LIBRARY_PATH);
const real = existsSync(join(REAL_MODEL, "config.json"));
if (ready && !real) console.log(`skipped: greedy answers of SmolLM2-135M-Instruct: it is not in ${REAL_MODEL}`);

/** The first message of every n-th held-out conversation as a prompt for the model, and the ids that end its answers. */
async function askModel(directory: string, every: number): Promise<{ prompts: Int32Array[]; stopIds: number[] }> {
  const { files } = await openModel(directory);
  const tokenizer = await Tokenizer.load(files);
  const template = ChatTemplate.load(files);
  const chosen = cases.filter((_, i) => i % every === 0);
  const prompts = chosen.map(async ({ system, turns }) => {
    const messages = [{ role: "user" as const, content: turns[0]!.user }];
    const all = system === undefined ? messages : [{ role: "system" as const, content: system }, ...messages];
    return tokenizer.encode(await template.render(all, {}), false);
  });
  return { prompts: await Promise.all(prompts), stopIds: readGenerationConfig(files, tokenizer).stopIds };
}

/** The CUDA library's answers, by replayed graphs, `AT_ONCE` sequences together. */
async function answersOnGpu(directory: string, prompts: ArrayLike<number>[], count: number): Promise<Int32Array[]> {
  const gpu = await Runner.open(directory, { dtype: "bfloat16", device: "cuda", ...SIZES });
  try {
    return batches(prompts).flatMap((some) => gpu.generate(some, count, false).map(({ ids }) => ids));
  } finally {
    gpu.close();
  }
}

/** The CPU library's answers, each cut after its end; how far each token led; and how far rounding moves such a lead. */
async function answersOnCpu(directory: string, prompts: ArrayLike<number>[], count: number, stopIds: number[]) {
  const cpu = await Runner.open(directory, { dtype: "bfloat16", ...SIZES });
  const exact = await Runner.open(directory, { dtype: "float32", ...SIZES });
  try {
    const texts: { ids: Int32Array; lead: number[] }[] = [];
    const errors: number[] = [];
    for (const some of batches(prompts)) {
      for (const [i, generated] of cpu.generate(some, count).entries()) {
        const end = generated.ids.findIndex((id) => stopIds.includes(id));
        const ids = generated.ids.slice(0, end < 0 ? count : end + 1);
        texts.push({ ids, lead: leads(generated) });
        const prompt = Array.from(some[i]!);
        const vocab = cpu.shape.vocabSize;
        exact.eachRow([{ ids: [...prompt, ...ids.subarray(0, -1)] }], (_, position, row) => {
          const at = position - (prompt.length - 1);
          if (at >= 0) errors.push(largestDifference(row, generated.logits.subarray(at * vocab, (at + 1) * vocab)));
        });
      }
    }
    return { texts, doubt: doubtOf(errors) };
  } finally {
    cpu.close();
    exact.close();
  }
}

function largestDifference(a: Float32Array, b: Float32Array): number {
  let most = 0;
  for (const [i, value] of a.entries()) most = Math.max(most, Math.abs(value - b[i]!));
  return most;
}

function batches<T>(list: T[]): T[][] {
  return Array.from({ length: Math.ceil(list.length / AT_ONCE) }, (_, i) => list.slice(i * AT_ONCE, (i + 1) * AT_ONCE));
}

/**
 * Compares all texts as far as bfloat16 decides them. More than `share` of them must agree to their ends, or the comparison
 * would show little.
 */
async function compareAnswers(
  directory: string,
  prompts: Int32Array[],
  count: number,
  stopIds: number[],
  share: number,
) {
  const { texts, doubt } = await answersOnCpu(directory, prompts, count, stopIds);
  const answers = await answersOnGpu(directory, prompts, count);
  const agreed = texts.map(({ ids, lead }, i) => follow(answers[i]!, ids, lead, doubt));
  const whole = agreed.filter((tokens, i) => tokens === texts[i]!.ids.length).length;
  const tokens = agreed.reduce((a, b) => a + b, 0);
  console.log(
    `${whole} of ${texts.length} texts agree to their ends, ${tokens} tokens; leads up to ${doubt.toFixed(3)} are in doubt`,
  );
  expect(whole).toBeGreaterThan(share * texts.length);
  expect(tokens).toBeGreaterThan(5 * texts.length);
  return answers;
}

describe.skipIf(!ready)("greedy answers on a GPU match the CPU library's", () => {
  test(
    "fastgen-tiny",
    async () => {
      const { prompts, stopIds } = await askModel(EMBEDDED_MODEL, 20);
      expect(prompts.length).toBeGreaterThan(50);
      // It was trained to answer in one way: bfloat16 decides every token of nearly all texts.
      await compareAnswers(EMBEDDED_MODEL, prompts, 48, stopIds, 0.9);
    },
    TIMEOUT_MS,
  );

  test.skipIf(!real)(
    "SmolLM2-135M-Instruct, which also match transformers'",
    async () => {
      const golden = Expected.read(join(import.meta.dir, "..", "golden", "smollm2.safetensors"));
      const conversations = Array.from({ length: 5 }, (_, i) => golden.ints(`${i}.prompt`));
      const { prompts, stopIds } = await askModel(REAL_MODEL, 150);
      // Its texts are free: in each, some choice is too close for bfloat16, and yet most go the same way.
      const answers = await compareAnswers(REAL_MODEL, [...conversations, ...prompts], 64, stopIds, 0.5);
      for (const i of conversations.keys()) {
        const doubt = doubtOf(golden.floats(`${i}.bf16_max`));
        follow(answers[i]!, golden.ints(`${i}.greedy`), golden.floats(`${i}.gap`), doubt);
      }
    },
    TIMEOUT_MS,
  );
});
