#!/usr/bin/env bun
/** Runs a named load through fgbatch, and appends its throughput to results/batch.jsonl. bench/serve.ts sends the same over HTTP. */
import { once } from "node:events";
import { createWriteStream, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { Command } from "commander";
import { count } from "./flags.ts";
import { type LoadPlan, planLoad } from "./load.ts";
import { NAMED_LOADS } from "./named-loads.ts";
import { record } from "./record.ts";

const root = path.dirname(import.meta.dir);

/** Writes a load's requests as the lines of a batch: those that bench/serve.ts sends. */
export async function writeBatch(file: string, load: LoadPlan): Promise<void> {
  const out = createWriteStream(file);
  for (const [i, { promptIds, maxTokens, schema }] of planLoad(load).entries()) {
    const structured = schema ? { structured_outputs: { json: schema } } : {};
    const body = { prompt: promptIds, max_tokens: maxTokens, ignore_eos: true, temperature: 0, ...structured };
    const line = { custom_id: `request-${i}`, method: "POST", url: "/v1/completions", body };
    if (!out.write(`${JSON.stringify(line)}\n`)) await once(out, "drain");
  }
  out.end();
  await once(out, "finish");
}

const program = new Command("bun bench/batch.ts")
  .description("Runs a load through fgbatch. What follows -- are its flags.")
  .requiredOption("--model <name>", "what fgbatch loads")
  .option("--load <name>", "one of bench/named-loads.ts", "batch-20000")
  .option("--prompts <n>", "requests (default: as many as the load has)", count)
  .option("--vocab <n>", "prompt ids are drawn from 1 to below this", count, 32000)
  .option("--gpus <n>", "how many are used, for the record", count, 1)
  .option("--dtype <name>", "what it computes in, for the record", "auto")
  .option("--results <file>", "where to append: a path, or a name in bench/results; none = nowhere", "batch")
  .argument("[flags...]");

async function main(): Promise<void> {
  const flags = program.parse().opts();
  const { title: _, ...named } = NAMED_LOADS[flags.load]!;
  const load = { ...named, prompts: flags.prompts ?? named.prompts, seed: 0 };
  const folder = mkdtempSync(path.join(tmpdir(), "fastgen-bench-"));
  try {
    const [input, output] = ["in.jsonl", "out.jsonl"].map((name) => path.join(folder, name)) as [string, string];
    await writeBatch(input, { ...load, vocab: flags.vocab });
    const main = path.join(root, "cli/main.ts");
    const command = [process.execPath, main, "batch", input, output, flags.model, ...program.args];
    const child = Bun.spawn(command, { stderr: "pipe", stdout: "inherit" });
    const said = await new Response(child.stderr).text();
    process.stderr.write(said);
    if ((await child.exited) !== 0) throw new Error("not every request was answered");
    const [, ...numbers] = /([\d,]+) \+ ([\d,]+) tokens in ([\d.]+) s/.exec(said)!;
    const [prompted, answered, seconds] = numbers.map((text) => Number(text.replaceAll(",", ""))) as [
      number,
      number,
      number,
    ];
    const measured = [
      { metric: "output", value: answered / seconds, unit: "tokens/s" },
      { metric: "total", value: (answered + prompted) / seconds, unit: "tokens/s" },
      { metric: "requests", value: load.prompts / seconds, unit: "requests/s" },
    ];
    for (const { metric, value, unit } of measured) console.log(`${metric.padEnd(12)} ${value.toPrecision(5)} ${unit}`);
    const { model, dtype, gpus, results } = flags;
    if (results !== "none") record(results, { model, dtype, load, gpus }, measured);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

if (import.meta.main) await main();
