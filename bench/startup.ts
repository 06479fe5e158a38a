#!/usr/bin/env bun
/**
 * How long fgserve takes from its launch until /health says ready, and until the first token of a stream, with weights
 * in the page cache; and how fast libfastgen loads the weights. The first start on a GPU also times matrix products and
 * stores which are the fastest: starts with and without these choices are reported apart. Prints medians; appends them to
 * results/startup.jsonl.
 */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command, Option } from "commander";
import { pageBytes } from "../src/device.ts";
import type { DeviceKind } from "../src/engine-config.ts";
import { FG } from "../src/ffi/layout.ts";
import { openModel } from "../src/model/load.ts";
import type { Model } from "../src/model/shape.ts";
import { freePort } from "../src/testing.ts";
import { writeCheckpoint } from "./checkpoint.ts";
import { count } from "./flags.ts";
import { openLibrary } from "./library.ts";
import { runLoad } from "./load.ts";
import { type Measurement, record } from "./record.ts";
import { SHAPES, writeShapes } from "./shapes.ts";
import { median } from "./stats.ts";

const ROOT = join(import.meta.dir, "..");
const DEADLINE_SECONDS = 300;
/** What a PCIe 5 link of 16 lanes carries in practice. */
const LINK_GB_PER_SECOND = 50;

const program = new Command("bun bench/startup.ts")
  .description("Times fgserve's start.")
  .argument("<model>", "a name in bench/shapes.ts, or a directory; random weights are written if it has no weights")
  .option("--folder <dir>", "where the models of bench/shapes.ts are written", join(tmpdir(), "fastgen-startup"))
  .addOption(new Option("--device <name>").choices(["cpu", "cuda"]).default("cuda"))
  .addOption(
    new Option("--quantization <kind>", "fp8 = weights are quantised while they load, and the KV cache is FP8")
      .choices(["none", "fp8"])
      .default("none"),
  )
  .option("--launches <n>", "launches that find the stored choices; one more launch has none", count, 3)
  .option("--results <file>", "where to append: a path, or a name in bench/results; none = nowhere", "startup");

const since = (start: number) => (performance.now() - start) / 1000;

async function makeModel(name: string, folder: string): Promise<string> {
  if (name in SHAPES) writeShapes(folder);
  const directory = name in SHAPES ? join(folder, name) : name;
  const { shape } = await openModel(directory, { loadFormat: "dummy" });
  if (!existsSync(join(directory, "model.safetensors"))) await writeCheckpoint(directory, shape);
  return directory;
}

/** Reads the model's files from beginning to end, so that they are in the page cache. */
async function readOnce(model: Model): Promise<void> {
  const paths = new Set(model.tensors.flatMap(({ where }) => ("path" in where ? [where.path] : [])));
  await Promise.all(
    Array.from(paths, async (path) => {
      const file = await open(path, "r");
      const buffer = new Uint8Array(16 << 20);
      while ((await file.read(buffer, 0, buffer.length, null)).bytesRead > 0);
      await file.close();
    }),
  );
}

interface Launch {
  ready: number;
  firstToken: number;
}

/** The compiled program if there is one, else this checkout's sources. */
const compiled = existsSync(join(ROOT, "fgserve"));
const fgserve = compiled ? [join(ROOT, "fgserve")] : [process.execPath, join(ROOT, "cli", "main.ts"), "serve"];

/**
 * Starts a server with `flags`, gets one token, and stops it. `cache` is the folder that stores the choices of matrix
 * products.
 */
async function launch(directory: string, model: Model, flags: string[], cache: string): Promise<Launch> {
  const port = freePort();
  const url = `http://127.0.0.1:${port}`;
  const start = performance.now();
  const server = Bun.spawn([...fgserve, directory, "--port", `${port}`, "--disable-log-requests", ...flags], {
    env: { ...process.env, XDG_CACHE_HOME: cache },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const output = Promise.all([server.stdout.text(), server.stderr.text()]);
  try {
    while (!(await isHealthy(url))) {
      if (server.exitCode !== null) throw new Error(`fgserve ended: ${(await output).join("")}`);
      if (since(start) > DEADLINE_SECONDS) throw new Error(`fgserve was not ready within ${DEADLINE_SECONDS} seconds`);
      await Bun.sleep(5);
    }
    const ready = since(start);
    const load = { url, model: directory, prompts: 1, input: 16, output: 2, spread: 0, rate: null, concurrency: null };
    const kind = { stream: true, tokenIds: true, endpoint: "completions", temperature: 0, seed: 0 } as const;
    const { outcomes, errors } = await runLoad({ ...load, ...kind, vocab: model.shape.vocabSize });
    if (errors[0]) throw new Error(errors[0]);
    return { ready, firstToken: ready + outcomes[0]!.firstToken };
  } finally {
    server.kill("SIGTERM");
    await server.exited;
  }
}

async function isHealthy(url: string): Promise<boolean> {
  try {
    return (await fetch(`${url}/health`)).ok;
  } catch {
    return false; // not listening yet
  }
}

/** Seconds from fg_load until all weights are in place, in this process. */
async function loadSeconds(model: Model, device: DeviceKind): Promise<number> {
  const { shape } = model;
  const engine = openLibrary(shape, device, "bfloat16", {
    maxSeqs: 1,
    maxStepTokens: FG.PAGE_TOKENS,
    maxContext: FG.PAGE_TOKENS,
    kvBytes: pageBytes(shape, "bfloat16"),
  });
  try {
    const start = performance.now();
    engine.load(model.tensors);
    let state = engine.progress();
    for (; !state.finished; state = engine.progress()) await Bun.sleep(1);
    const seconds = since(start);
    if (state.done < state.total) engine.ready(); // throws the reason
    return seconds;
  } finally {
    engine.close();
  }
}

/** Loading alone is timed where the weights are taken as they are. */
async function measure(directory: string, device: DeviceKind, isQuantised: boolean, launches: number) {
  const model = await openModel(directory);
  const bytes = model.tensors.reduce((sum, { where }) => sum + ("bytes" in where ? where.bytes : 0), 0);
  const started = performance.now();
  await readOnce(model);
  console.log(`read ${(bytes / 1e9).toFixed(2)} GB once, ${(bytes / 1e9 / since(started)).toFixed(2)} GB/s`);

  const flags = ["--device", device, ...(isQuantised ? ["--quantization", "fp8", "--kv-cache-dtype", "fp8"] : [])];
  const caches = mkdtempSync(join(tmpdir(), "fastgen-cache-"));
  const warm = mkdtempSync(join(caches, "warm-"));
  try {
    // The first brings programs and libraries into the page cache, and fills its folder of choices.
    await launch(directory, model, flags, warm);
    const cold = await launch(directory, model, flags, mkdtempSync(join(caches, "cold-")));
    const runs: Launch[] = [];
    for (let i = 0; i < launches; i++) runs.push(await launch(directory, model, flags, warm));
    const loads: number[] = [];
    for (let i = 0; i < launches && !isQuantised; i++) loads.push(await loadSeconds(model, device));
    const measured: Measurement[] = [
      { metric: "launch to ready", value: median(runs.map((r) => r.ready)), unit: "s" },
      { metric: "launch to first token", value: median(runs.map((r) => r.firstToken)), unit: "s" },
      { metric: "launch to ready, products not timed before", value: cold.ready, unit: "s" },
      { metric: "launch to first token, products not timed before", value: cold.firstToken, unit: "s" },
    ];
    if (loads.length > 0) {
      const floor = device === "cuda" ? LINK_GB_PER_SECOND : null;
      measured.push({ metric: "loading", value: bytes / 1e9 / median(loads), unit: "GB/s", floor });
    }
    return { bytes, measured };
  } finally {
    rmSync(caches, { recursive: true });
  }
}

export async function main(args: string[]): Promise<void> {
  const command = program.parse(args, { from: "user" });
  const { folder, device, quantization, launches, results } = command.opts();
  const isQuantised = quantization === "fp8";
  const directory = await makeModel(command.args[0]!, folder);
  const { bytes, measured } = await measure(directory, device, isQuantised, launches);
  for (const { metric, value, unit } of measured) {
    console.log(`${metric.padEnd(48)} ${value.toPrecision(4).padStart(8)} ${unit}`);
  }
  const load = { weights: `${(bytes / 1e9).toPrecision(3)} GB`, program: compiled ? "fgserve" : "bun", launches };
  if (results !== "none")
    record(results, { model: directory, dtype: isQuantised ? "fp8" : "bfloat16", load }, measured);
}

if (import.meta.main) await main(process.argv.slice(2));
