#!/usr/bin/env bun
/** Runs build/ops_bench, which times every op and what the GPU can do; appends its figures to results/ops.jsonl. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { type Measurement, record } from "./record.ts";

/** A line of ops_bench. A line that measures a ceiling has no ceiling itself. */
export interface OpLine {
  op: string;
  shape: Record<string, number>;
  us: number;
  value: number;
  unit: string;
  ceiling: number | null;
  share: number | null;
}

/** "decode attention: batch 64, context 1024" */
export function measurement({ op, shape, value, unit, ceiling }: OpLine): Measurement {
  const sizes = Object.entries(shape).map(([name, size]) => `${name} ${size}`);
  return { metric: sizes.length > 0 ? `${op}: ${sizes.join(", ")}` : op, value, unit, floor: ceiling };
}

if (import.meta.main) {
  const { results } = new Command("bun bench/ops.ts")
    .description("Times every op on the GPU, and what the GPU can do.")
    .option("--results <file>", "where to append: a path, or a name in bench/results; none = nowhere", "ops")
    .parse()
    .opts();
  const program = join(import.meta.dir, "..", "build", "ops_bench");
  if (!existsSync(program)) throw new Error(`no ${program}: make -C libfastgen cuda-tests`);
  const { stdout, exitCode } = Bun.spawnSync([program], { stderr: "inherit" });
  const lines = stdout.toString().split("\n");
  const measured = lines.filter((line) => line !== "").map((line) => measurement(JSON.parse(line)));
  // Without a GPU nothing is measured.
  if (exitCode === 0 && measured.length > 0 && results !== "none") {
    record(results, { model: "ops", dtype: "bfloat16", load: {} }, measured);
  }
  process.exit(exitCode);
}
