#!/usr/bin/env bun
/**
 * What FP8 costs in quality: the perplexity of a model on a fixed text (pages of this repository), and the built-in model's
 * scores on its held-out conversations, each in its own precision, with weights quantised while they load, and with an FP8
 * KV cache too.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { cases, grade } from "../models/grading.ts";
import { Fastgen } from "../src/fastgen.ts";
import type { LoadOptions } from "../src/types.ts";
import { count } from "./flags.ts";

const ROOT = join(import.meta.dir, "..");
const SMOLLM2 = process.env.FASTGEN_TEST_MODEL ?? join(ROOT, ".cache/models/SmolLM2-135M-Instruct");
const PAGES = ["ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"];

const VARIANTS: [name: string, options: LoadOptions][] = [
  ["as it is", {}],
  ["--quantization fp8", { quantization: "fp8" }],
  ["... --kv-cache-dtype fp8_e4m3", { quantization: "fp8", kv_cache_dtype: "fp8_e4m3" }],
];

const program = new Command("bun bench/fp8-quality.ts")
  .description("Prints what FP8 costs in perplexity and in the built-in model's scores.")
  .argument("[model]", "directory or org/name, for the perplexity", SMOLLM2)
  .option("--tokens <n>", "of the text", count, 4096)
  .option("--window <n>", "tokens that are scored together", count, 512)
  .option("--device <name>", "auto, cpu or cuda", "auto");

/** exp of the mean negative log probability of the text's tokens. */
async function perplexity(model: string, options: LoadOptions, tokens: number, window: number): Promise<number> {
  await using fastgen = await Fastgen.load(model, { ...options, max_model_len: window + 1 });
  const text = PAGES.map((page) => readFileSync(join(ROOT, page), "utf8")).join("\n");
  const ids = (await fastgen.tokenize(text)).slice(0, tokens);
  const windows = Array.from({ length: Math.ceil(ids.length / window) }, (_, i) =>
    ids.slice(i * window, (i + 1) * window),
  );
  let sum = 0;
  let n = 0;
  for await (const { completion, error } of fastgen.generateAll(windows, { max_tokens: 1, prompt_logprobs: 0 })) {
    if (error) throw error;
    for (const position of completion.prompt_logprobs!) {
      if (position === null) continue;
      sum -= position.logprob;
      n++;
    }
  }
  return Math.exp(sum / n);
}

/** The share of the held-out conversations that the built-in model gets right, in percent. */
async function score(options: LoadOptions): Promise<number> {
  await using fastgen = await Fastgen.load(undefined, options);
  const { scores } = await grade(
    async (messages) => (await fastgen.generate({ messages }, { temperature: 0, max_tokens: 96 })).choices[0]!.text,
    cases,
    32,
  );
  const all = [...scores.values()];
  const total = (of: "right" | "all") => all.reduce((sum, each) => sum + each[of], 0);
  return (100 * total("right")) / total("all");
}

program.parse();
const { tokens, window, device } = program.opts<{ tokens: number; window: number; device: LoadOptions["device"] }>();
const [model] = program.processedArgs as [string];

/** Prints a measure for each variant, beside the first. */
async function compare(title: string, unit: string, measure: (options: LoadOptions) => Promise<number>) {
  console.log(title);
  let first: number | null = null;
  for (const [name, options] of VARIANTS) {
    const value = await measure({ ...options, device });
    first ??= value;
    const change = unit === "%" ? (100 * (value - first)) / first : value - first;
    console.log(
      `  ${name.padEnd(32)} ${value.toFixed(3).padStart(9)}  ${change >= 0 ? "+" : ""}${change.toFixed(2)} ${unit}`,
    );
  }
}

if (existsSync(model) || model !== SMOLLM2) {
  await compare(`${model}: perplexity on ${tokens} tokens`, "%", (options) =>
    perplexity(model, options, tokens, window),
  );
} else {
  console.log(`skipped: no model in ${model} (FASTGEN_TEST_MODEL)`);
}
await compare("built-in model: conversations answered right, %", "points", score);
