#!/usr/bin/env bun
/**
 * The least time that a load can take on a GPU, from the ceilings that bench/ops.ts measured there: products run at
 * cuBLASLt's best, every byte is read once at full bandwidth, and nothing else costs time. No schedule beats this floor,
 * as long as the kernels of a step run one after the other. It is the sum of:
 *
 * - Prompts: the products of all their tokens, and attention, whose arithmetic is no faster than that of a bf16 product.
 * - New tokens: the longer of their products and the reads of all weights, one read per step; and their KV reads. The
 *   longest answer, the bound on requests in flight, and the KV cache that fits in memory each demand a number of steps.
 *
 * The two add up, because the prompt that is computed last still has its whole answer to come.
 *
 *   bun bench/roofline.ts [--gpu H100]      compares each load in bench/results/serve.jsonl with its floor
 */
import { Command } from "commander";
import { parseConfig } from "../src/model/config.ts";
import type { ModelShape } from "../src/model/shape.ts";
import { describeLoad } from "./format.ts";
import { type LoadOptions, planLoad } from "./load.ts";
import { type Result, readResultsFile } from "./record.ts";

import { SHAPES } from "./shapes.ts";

/** Of one GPU, in FLOP/s, bytes/s and bytes. */
export interface Ceilings {
  /** Products of a layer, sustained: the best over the measured sizes. */
  gemm: number;
  /** A large product on a rested device: for loads that end before the clock drops. */
  burst: number;
  /** The same two of FP8 products; null where they were not measured. */
  fp8: { gemm: number; burst: number } | null;
  read: number;
  memory: number;
}

/** What the requests of a load follow from. */
export type Load = Pick<LoadOptions, "prompts" | "input" | "output" | "spread" | "rate" | "concurrency" | "seed">;

export interface Floor {
  /** Seconds, and the parts that they are the sum of. */
  seconds: number;
  prompts: number;
  newTokens: number;
  kvReads: number;
  attention: number;
  /** Floors of the metrics that summarize() (load.ts) reports, in the same units. */
  metrics: Record<string, number>;
}

/** What a server computes in: of the weights of its layers and of its KV cache. The LM head is bf16 in both. */
export type Precision = "bfloat16" | "fp8";

const BF16_BYTES = 2;

/** Bytes of a weight, and of a head's key or value of one token: FP8 has a float32 scale for each. */
function bytesOf(precision: Precision, headDim: number): { weight: number; head: number } {
  return precision === "fp8" ? { weight: 1, head: headDim + 4 } : { weight: BF16_BYTES, head: headDim * BF16_BYTES };
}

/** The newest ceilings measured on this GPU; null where there are none. */
export function readCeilings(results: readonly Result[], gpu: string): Ceilings | null {
  const measured = results.filter((r) => r.model === "ops" && r.gpu === gpu);
  const date = measured.at(-1)?.date;
  const best = (metric: string) => {
    const values = measured.filter((r) => r.date === date && r.metric.split(":")[0] === metric).map((r) => r.value);
    return Math.max(...values);
  };
  const ceilings = {
    gemm: best("ceiling layer products") * 1e12,
    burst: best("ceiling square product, burst") * 1e12,
    read: best("ceiling read") * 1e9,
    memory: best("ceiling memory") * 1e9,
  };
  if (!Object.values(ceilings).every((value) => value > 0)) return null;
  const gemm = best("ceiling FP8 layer products") * 1e12;
  const burst = best("ceiling FP8 square product, burst") * 1e12;
  return { ...ceilings, fp8: gemm > 0 && burst > 0 ? { gemm, burst } : null };
}

/** The floor of a load on one GPU; null where the ceilings of the precision were not measured. */
export function loadFloor(
  load: Load,
  shape: ModelShape,
  ceilings: Ceilings,
  precision: Precision = "bfloat16",
): Floor | null {
  const products = precision === "fp8" ? ceilings.fp8 : ceilings;
  if (!products) return null;
  const { layers, hiddenSize, heads, kvHeads, headDim, intermediateSize, vocabSize } = shape;
  const layer = ((2 * heads + 2 * kvHeads) * headDim + 3 * intermediateSize) * hiddenSize;
  const head = vocabSize * hiddenSize;
  const bytes = bytesOf(precision, headDim);
  const weights = layers * layer * bytes.weight + head * BF16_BYTES;
  const kvOfLayer = 2 * kvHeads * bytes.head;
  /** Keys that a token sees with this many tokens up to and including itself, summed over the layers. */
  const windows = [...shape.layerWindow];
  const seen = windows.some((window) => window > 0)
    ? (context: number) => windows.reduce((sum, window) => sum + Math.min(context, window || context), 0)
    : (context: number) => layers * context;

  const sum = { input: 0, output: 0, longest: 0, scores: 0, keys: 0, contexts: 0 };
  const plan = planLoad({ ...load, vocab: 2 });
  for (const { promptIds, maxTokens } of plan) {
    const input = promptIds.length;
    sum.input += input;
    sum.output += maxTokens;
    sum.longest = Math.max(sum.longest, maxTokens);
    for (let context = 1; context <= input; context++) sum.scores += seen(context);
    for (let context = input + 1; context < input + maxTokens; context++) {
      sum.keys += seen(context);
      sum.contexts += context;
    }
  }
  const atOnce = Math.min(load.prompts, load.concurrency ?? load.prompts);
  const [ofLayers, ofHead] = atOnce === 1 ? [products.burst, ceilings.burst] : [products.gemm, ceilings.gemm];
  const readWeights = weights / ceilings.read;
  const fits = (ceilings.memory - weights) / (layers * kvOfLayer);

  const decoded = sum.output - load.prompts;
  const steps = Math.max(sum.longest - 1, decoded / atOnce, sum.contexts / fits);
  /** Seconds of the layers' products for `tokens` and of the head's for `rows`. */
  const compute = (tokens: number, rows: number) =>
    (2 * tokens * layers * layer) / ofLayers + (2 * rows * head) / ofHead;
  const prompts = Math.max(compute(sum.input, load.prompts), (load.prompts / atOnce) * readWeights);
  const newTokens = Math.max(compute(decoded, decoded), steps * readWeights);
  const kvReads = (sum.keys * kvOfLayer) / ceilings.read;
  const attention = (4 * sum.scores * heads * headDim) / ofHead;
  const seconds = prompts + newTokens + kvReads + attention;
  const metrics: Record<string, number> = {};
  // Where requests come at a given rate, that rate bounds the output.
  if (load.rate === null) metrics.output = sum.output / seconds;
  if (load.rate === null && atOnce === 1 && load.spread === 0) {
    metrics["TTFT p50"] = (prompts + attention) / load.prompts;
  }
  return { seconds, prompts, newTokens, kvReads, attention, metrics };
}

if (import.meta.main) {
  const { gpu, ceilings: file } = new Command("bun bench/roofline.ts")
    .description("Compares each load of bench/results/serve.jsonl with the least time that the GPU allows.")
    .option("--gpu <name>", "or a part of it; default: the one that bench/ops.ts measured last")
    .option("--ceilings <file>", "what bench/ops.ts appended to: a path, or a name in bench/results", "ops")
    .parse()
    .opts();
  const ops = readResultsFile(file);
  const name = ops.findLast((r) => gpu === undefined || r.gpu.includes(gpu))?.gpu;
  const ceilings = name === undefined ? null : readCeilings(ops, name);
  if (!ceilings) throw new Error(`no ceilings of ${gpu ?? "any GPU"} in ${file}: bun bench/ops.ts`);
  console.log(`${name}: ${JSON.stringify(ceilings)}`);
  const newest = new Map<string, Result>();
  for (const result of readResultsFile("serve")) {
    const key = `${result.model} in ${result.dtype}, ${describeLoad(result.load)}`;
    if (result.gpu === name && result.gpus === 1 && result.model in SHAPES)
      newest.set(`${key}: ${result.metric}`, result);
  }
  for (const [key, { model, dtype, load, metric, value, unit }] of newest) {
    const { shape } = parseConfig(JSON.stringify(SHAPES[model]));
    const floor = loadFloor(load as unknown as Load, shape, ceilings, dtype === "fp8" ? "fp8" : "bfloat16");
    const bound = floor?.metrics[metric];
    if (!floor || bound === undefined) continue;
    const share = unit === "s" ? bound / value : value / bound;
    const { seconds, prompts, newTokens, kvReads, attention } = floor;
    const parts = Object.entries({ prompts, "new tokens": newTokens, "KV reads": kvReads, attention });
    console.log(
      `${key} ${value.toPrecision(4)} of ${bound.toPrecision(4)} ${unit}, ${(100 * share).toFixed(1)} %; ` +
        `${seconds.toPrecision(4)} s: ${parts.map(([part, s]) => `${part} ${s.toPrecision(3)}`).join(", ")}`,
    );
  }
}
