#!/usr/bin/env bun
/** Sends a load to any OpenAI server. Prints what the requests saw, and appends it to results/serve.jsonl. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Command, Option } from "commander";
import { parseConfig } from "../src/model/config.ts";
import { count, number, share } from "./flags.ts";
import { type LoadOptions, runLoad, summarize } from "./load.ts";
import { NAMED_LOADS } from "./named-loads.ts";
import { machineFacts, readResultsFile, record } from "./record.ts";
import { loadFloor, type Precision, readCeilings } from "./roofline.ts";

const positive = number((n) => n > 0 && Number.isFinite(n), "a number above 0");

const program = new Command("bun bench/serve.ts")
  .description("Sends random prompts to an OpenAI server and reports throughput and latency.")
  .option("--url <url>", "root of the server", "http://127.0.0.1:5678")
  .option("--model <name>", "default: the first that the server lists")
  .addOption(
    new Option("--load <name>", "a load of bench/named-loads.ts, in place of the flags that describe one").choices(
      Object.keys(NAMED_LOADS),
    ),
  )
  .option("--prompts <n>", "requests", count, 512)
  .option("--input <tokens>", "mean length of a prompt", count, 1024)
  .option("--output <tokens>", "mean length of an answer", count, 128)
  .option("--spread <share>", "lengths vary by up to this share around their mean", share, 0)
  .option("--rate <r>", "requests per second, as a Poisson process; default: all at once", positive)
  .option("--concurrency <n>", "most requests in flight at a time", count)
  .option("--stream", "stream the answers, and report TTFT, TPOT and ITL", false)
  .option("--token-ids", "ask for return_token_ids, so that tokens that yield no text are timed too", false)
  .addOption(
    new Option("--schemas <which>", "requests that bring a JSON schema of their own").choices(["each", "half"]),
  )
  .addOption(new Option("--endpoint <name>").choices(["completions", "chat"]).default("completions"))
  .option(
    "--temperature <t>",
    "",
    number((n) => n >= 0, "a number of 0 or more"),
    0,
  )
  .option("--seed <n>", "of the prompts, lengths and arrivals", number(Number.isInteger, "a whole number"), 0)
  .option("--vocab <n>", "prompt ids are drawn from 1 to below this", count, 32000)
  .option("--api-key <key>")
  .option("--gpus <n>", "how many the server uses, for the record", count, 1)
  .option("--engines <n>", "how many the server has (--data-parallel-size), for the record", count, 1)
  .option(
    "--dtype <name>",
    "what the server computes in, for the record and the floor: fp8 = weights, activations and KV",
    "auto",
  )
  .option("--results <file>", "where to append: a path, or a name in bench/results; none = nowhere", "serve")
  .option(
    "--floor-model <dir>",
    "the served model's folder: its shape says what one GPU of this machine allows at best",
  )
  .option("--ceilings <file>", "what bench/ops.ts measured of the GPU: a path, or a name in bench/results", "ops");

async function firstModel(url: string, apiKey?: string): Promise<string> {
  const headers: Record<string, string> = apiKey ? { authorization: `Bearer ${apiKey}` } : {};
  const response = await fetch(`${url.replace(/\/+$/, "")}/v1/models`, { headers });
  if (!response.ok) throw new Error(`${url}/v1/models: HTTP ${response.status}`);
  const { data } = (await response.json()) as { data: { id: string }[] };
  if (!data[0]) throw new Error(`${url} serves no model`);
  return data[0].id;
}

/** Its streams ask for token ids, so that every token is timed. */
function namedLoad(name: string): Partial<LoadOptions> {
  const { title: _, ...load } = NAMED_LOADS[name]!;
  return load.stream ? { ...load, tokenIds: true } : load;
}

/** What a GPU of this machine allows; empty where that is not known. */
function floors(options: LoadOptions, directory: string, file: string, precision: Precision): Record<string, number> {
  const ceilings = readCeilings(readResultsFile(file), machineFacts().gpu);
  if (!ceilings) return {};
  const { shape } = parseConfig(readFileSync(join(directory, "config.json"), "utf8"));
  return loadFloor(options, shape, ceilings, precision)?.metrics ?? {};
}

export async function main(args: string[]): Promise<number> {
  const flags = program.parse(args, { from: "user" }).opts();
  const model: string = flags.model ?? (await firstModel(flags.url, flags.apiKey));
  const named = flags.load ? namedLoad(flags.load) : {};
  const options = { rate: null, concurrency: null, ...flags, ...named, model } as unknown as LoadOptions;
  const summary = await runLoad(options);
  const precision = flags.dtype === "fp8" ? "fp8" : "bfloat16";
  const bounds =
    flags.floorModel && flags.gpus === 1 ? floors(options, flags.floorModel, flags.ceilings, precision) : {};
  const measured = summarize(summary, options.stream).map((m) => ({ ...m, floor: bounds[m.metric] ?? null }));
  for (const { metric, value, unit, floor } of measured) {
    const bound = floor === null ? "" : `, floor ${floor.toPrecision(5)}`;
    console.log(`${metric.padEnd(12)} ${value.toPrecision(5).padStart(10)} ${unit}${bound}`);
  }
  for (const message of new Set(summary.errors)) {
    console.error(`${summary.errors.filter((m) => m === message).length} requests failed: ${message}`);
  }
  if (flags.results !== "none" && summary.errors.length === 0) {
    const { prompts, input, output, spread, rate, concurrency, stream, endpoint, temperature, seed, schemas } = options;
    const load = { prompts, input, output, spread, rate, concurrency, stream, endpoint, temperature, seed, schemas };
    const { dtype, gpus, engines } = flags;
    record(flags.results, { model, dtype, load, gpus, engines }, measured);
  }
  return summary.errors.length > 0 ? 1 : 0;
}

/** Bun's fetch sends at most 256 requests at a time, unless this is set when the process starts. */
const FETCH_LIMIT = "BUN_CONFIG_MAX_HTTP_REQUESTS";

if (import.meta.main) {
  if (process.env[FETCH_LIMIT]) process.exit(await main(process.argv.slice(2)));
  const again = Bun.spawn([process.execPath, ...process.argv.slice(1)], {
    env: { ...process.env, [FETCH_LIMIT]: "65336" },
    stdio: ["inherit", "inherit", "inherit"],
  });
  process.exit(await again.exited);
}
