#!/usr/bin/env bun
/**
 * How much later first tokens come where schemas arrive: streams over HTTP that are sent together, without schemas, with schemas
 * that were compiled before, and with a new one for each, in turns. The server is a process of its own; it and this client share the
 * machine. Rounds that other programs disturbed are left out. Prints medians; appends them to results/first-tokens.jsonl.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { openDefaultModel } from "../src/model/embedded.ts";
import { openModel } from "../src/model/load.ts";
import { freePort } from "../src/testing.ts";
import { count } from "./flags.ts";
import { greedyStreams, runLoad } from "./load.ts";
import { undisturbed } from "./quiet.ts";
import { type Measurement, record } from "./record.ts";
import { KINDS, type Kind } from "./report-schemas.ts";
import { median, percentile } from "./stats.ts";

const ROOT = join(import.meta.dir, "..");

/** Rounds until the threads that compile JavaScript have come to rest. */
const WARM_UP = 20;

interface Flags {
  streams: number;
  input: number;
  output: number;
  rounds: number;
  sources: boolean;
  results: string;
}

const program = new Command("bun bench/first-tokens.ts")
  .description("Times the first tokens of constrained streams beside free ones on the CPU, in turns.")
  .argument("[model]", "directory or org/name; the built-in model without it")
  .option("--streams <n>", "that are sent together", count, 64)
  .option("--input <tokens>", "prompt", count, 500)
  .option("--output <tokens>", "of each answer", count, 64)
  .option("--rounds <n>", "how often each kind is sent", count, 11)
  .option("--sources", "this checkout's sources, also where ./fgserve is built", false)
  .option("--results <file>", "where to append: a path, or a name in bench/results; none = nowhere", "first-tokens");

/** Sends bursts to a server. Prompts are new each time; so are schemas where they shall be. */
class Bursts {
  private sent = 0;

  constructor(
    readonly url: string,
    private readonly vocab: number,
    private readonly flags: Flags,
  ) {}

  /** Seconds until the first token of half of the streams. */
  async send(kind: Kind): Promise<number> {
    const { streams, input, output } = this.flags;
    const load = greedyStreams({
      url: this.url,
      model: "any",
      prompts: streams,
      input,
      output,
      seed: ++this.sent,
      vocab: this.vocab,
      tokenIds: true,
      schemas: kind === "without schemas" ? undefined : "each",
      schemaNames: kind === "new schemas" ? `new_${this.sent}` : "known",
    });
    const { outcomes, errors } = await runLoad(load);
    if (errors[0] !== undefined) throw new Error(errors[0]);
    return percentile(
      outcomes.map(({ firstToken }) => firstToken),
      0.5,
    );
  }

  /** Each kind once. */
  async round(): Promise<Record<Kind, number>> {
    const times = {} as Record<Kind, number>;
    for (const kind of KINDS) times[kind] = await this.send(kind);
    return times;
  }
}

async function startServer(model: string | undefined, sources: boolean) {
  const port = freePort();
  const compiled = join(ROOT, "fgserve");
  const fgserve =
    existsSync(compiled) && !sources ? [compiled] : [process.execPath, join(ROOT, "cli", "main.ts"), "serve"];
  const args = [...(model ? [model] : []), "--device", "cpu", "--port", `${port}`, "--disable-log-requests"];
  const child = Bun.spawn([...fgserve, ...args], { stdout: "ignore", stderr: "inherit" });
  const url = `http://127.0.0.1:${port}`;
  while (!(await isHealthy(url))) {
    if (child.exitCode !== null) throw new Error("fgserve ended before it was ready");
    await Bun.sleep(50);
  }
  return { child, url };
}

/** What the server computes in. */
async function dtypeOf(url: string): Promise<string> {
  const response = await fetch(`${url}/server_info?config_format=json`);
  const info = (await response.json()) as { vllm_config: { model_config: { dtype: string } } };
  return info.vllm_config.model_config.dtype.replace("torch.", "");
}

async function isHealthy(url: string): Promise<boolean> {
  try {
    return (await fetch(`${url}/health`)).ok;
  } catch {
    return false;
  }
}

function measure(rounds: readonly Record<Kind, number>[]): Measurement[] {
  return KINDS.flatMap((kind, i): Measurement[] => {
    const metric = `${kind}, TTFT p50`;
    const measured = { metric, value: median(rounds.map((round) => round[kind])), unit: "s" };
    if (i === 0) return [measured];
    const later = median(rounds.map((round) => round[kind] - round[KINDS[0]]));
    return [measured, { metric: `${metric}: later than without`, value: later, unit: "s" }];
  });
}

async function main(name: string | undefined, flags: Flags): Promise<void> {
  const model = await (name === undefined ? openDefaultModel({}) : openModel(name, {}));
  const { child, url } = await startServer(name, flags.sources);
  try {
    const bursts = new Bursts(url, model.shape.vocabSize, flags);
    // The first ones give no figures: the code of server and client is made fast.
    for (let i = 0; i < WARM_UP; i++) await bursts.round();
    const rounds: Record<Kind, number>[] = [];
    while (rounds.length < flags.rounds) {
      const { result, disturbed } = await undisturbed([child.pid, process.pid], () => bursts.round());
      if (!disturbed) rounds.push(result);
    }
    const measurements = measure(rounds);
    for (const { metric, value } of measurements) console.log(`${metric.padEnd(60)} ${(1000 * value).toFixed(1)} ms`);
    if (flags.results === "none") return;
    const { streams, input, output, rounds: sent } = flags;
    const load = { streams, input, output, rounds: sent };
    record(flags.results, { model: name ?? model.name, dtype: await dtypeOf(url), load }, measurements);
  } finally {
    child.kill();
    await child.exited;
  }
}

program.parse();
await main(program.args[0], program.opts<Flags>());
