/** Compares logits with transformers' and greedy texts with a reference's. */
import { expect } from "bun:test";
import type { Expected } from "../golden/expected.ts";
import {
  argmax,
  type Generated,
  type Job,
  largest,
  median,
  type Runner,
  relativeErrors,
  rootMeanSquare,
} from "../numerics.ts";

/** What transformers computed for one sequence of ids; see test/golden/make_models.py. */
export interface Golden {
  ids: Int32Array;
  columns: Int32Array;
  logits: Float32Array;
  argmax: Int32Array;
  gap: Float32Array;
  bf16Error: Float32Array;
  bf16Max: Float32Array;
}

/** `prefix` comes before every name except columns, which a file has only once. */
export function readGolden(file: Expected, prefix = ""): Golden {
  return {
    ids: file.ints(`${prefix}ids`),
    columns: file.ints("columns"),
    logits: file.floats(`${prefix}logits`),
    argmax: file.ints(`${prefix}argmax`),
    gap: file.floats(`${prefix}gap`),
    bf16Error: file.floats(`${prefix}bf16_error`),
    bf16Max: file.floats(`${prefix}bf16_max`),
  };
}

/** How far rounding to bfloat16 can move two logits apart, if it moves each by at most `most`. */
export const doubtOf = (most: ArrayLike<number>): number => 2 * largest(most);

/**
 * Runs jobs side by side, and compares the logits of those that have a golden result with it: at most twice the error of
 * naive bfloat16, and the same choice wherever bfloat16 can tell. Returns how many choices were compared.
 */
export function compareRows(
  runner: Runner,
  jobs: (Job & { golden?: Golden })[],
  options: { swapAt?: number } = {},
): number {
  const seen = jobs.map(() => ({ errors: [] as number[], choices: [] as number[] }));
  const { vocabSize } = runner.shape;
  const see = (job: number, position: number, row: Float32Array) => {
    const { golden } = jobs[job]!;
    if (!golden) return;
    const { columns, logits } = golden;
    const want = logits.subarray(position * columns.length, (position + 1) * columns.length);
    seen[job]!.errors.push(relativeErrors(row, vocabSize, columns, want)[0]!);
    seen[job]!.choices.push(argmax(row));
  };
  runner.eachRow(jobs, see, options);
  let sure = 0;
  for (const [i, { golden }] of jobs.entries()) {
    if (!golden) continue;
    const { errors, choices } = seen[i]!;
    expect(errors.length).toBe(golden.ids.length);
    expect(rootMeanSquare(errors)).toBeLessThan(2 * rootMeanSquare(golden.bf16Error));
    expect(median(errors)).toBeLessThan(2 * median(golden.bf16Error));
    for (const [at, gap] of golden.gap.entries()) {
      if (gap <= doubtOf(golden.bf16Max)) continue;
      sure++;
      expect([at, choices[at]]).toEqual([at, golden.argmax[at]]);
    }
  }
  return sure;
}

/** Decode steps that return no logits replay CUDA graphs; they must choose the same tokens. */
export function compareGraphs(runner: Runner, prompts: ArrayLike<number>[], count: number): Generated[] {
  const launched = runner.generate(prompts, count);
  const replayed = runner.generate(prompts, count, false);
  for (const [i, one] of launched.entries()) expect(Array.from(replayed[i]!.ids)).toEqual(Array.from(one.ids));
  return launched;
}

/** How far the logit of each chosen token was above the second. */
export function leads({ ids, logits }: Generated): number[] {
  const vocab = logits.length / ids.length;
  return Array.from(ids, (id, at) => {
    const row = logits.subarray(at * vocab, (at + 1) * vocab);
    let second = Number.NEGATIVE_INFINITY;
    for (const [i, value] of row.entries()) if (i !== id && value > second) second = value;
    return row[id]! - second;
  });
}

/**
 * Follows a greedy text along the reference's. The two may differ only where the reference's choice led by at most `doubt`;
 * from there on they are different texts. Returns the number of tokens before that.
 */
export function follow(
  got: ArrayLike<number>,
  wanted: ArrayLike<number>,
  lead: ArrayLike<number>,
  doubt: number,
): number {
  for (let at = 0; at < wanted.length; at++) {
    if (got[at] === wanted[at]) continue;
    if (lead[at]! <= doubt) return at;
    throw new Error(`token ${at} is ${got[at]} and not ${wanted[at]}, which led by ${lead[at]}; in doubt is ${doubt}`);
  }
  return wanted.length;
}
