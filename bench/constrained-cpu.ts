#!/usr/bin/env bun
/**
 * What schemas cost on this CPU: the same load without schemas, with schemas that were compiled before, and with new ones, in turns.
 * All of it runs in this process, through the library. CPU time is that of all its threads, so other programs disturb it
 * less than they disturb tokens per second.
 */
import { Command, Option } from "commander";
import { Fastgen } from "../src/fastgen.ts";
import type { BatchInput } from "../src/types.ts";
import { count, number } from "./flags.ts";
import { endlessSchema, planLoad } from "./load.ts";
import { median } from "./stats.ts";

const KINDS = ["without schemas", "schemas compiled before", "new schemas"] as const;
type Kind = (typeof KINDS)[number];

interface Run {
  tokens: number;
  wallSeconds: number;
  cpuSeconds: number;
}

interface Flags {
  sequences: number;
  input: number;
  output: number;
  temperature: number;
  bursts: number;
  rounds: number;
  only?: Kind;
}

const program = new Command("bun bench/constrained-cpu.ts")
  .description("Times constrained answers beside free ones on the CPU, in turns.")
  .argument("[model]", "directory or org/name; the built-in model without it")
  .option("--sequences <n>", "that run at once", count, 16)
  .option("--input <tokens>", "prompt", count, 200)
  .option("--output <tokens>", "of each answer", count, 128)
  .option(
    "--temperature <t>",
    "of all",
    number((t) => t >= 0, "0 or more"),
    0,
  )
  .option("--bursts <n>", "sequences in each run, as a multiple of those that run at once", count, 5)
  .option("--rounds <n>", "how often each kind is run", count, 7)
  .addOption(new Option("--only <kind>", "for profiles").choices(KINDS))
  .parse();

/** Sends loads of one kind after the other. Prompts are new each time; so are schemas where they shall be. */
class Load {
  private sent = 0;

  constructor(
    private readonly fastgen: Fastgen,
    private readonly flags: Flags,
  ) {}

  async run(kind: Kind): Promise<Run> {
    const cpu = process.cpuUsage();
    const start = performance.now();
    const tokens = await this.send(kind);
    const { user, system } = process.cpuUsage(cpu);
    return { tokens, wallSeconds: (performance.now() - start) / 1000, cpuSeconds: (user + system) / 1e6 };
  }

  /** As many as it takes, of which so many run at once: one that ends makes room for the next. Returns their tokens. */
  private async send(kind: Kind): Promise<number> {
    const { sequences, bursts, input, output, temperature } = this.flags;
    const { vocab_size: vocab } = this.fastgen.model;
    const seed = ++this.sent;
    const prompts = sequences * bursts;
    const planned = planLoad({ prompts, input, output, spread: 0, rate: null, seed, vocab });
    const inputs = planned.map(({ promptIds }, i): BatchInput => {
      const schema = { structured_outputs: { json: endlessSchema(this.nameOf(kind, i)) as Record<string, unknown> } };
      return { prompt: Int32Array.from(promptIds), params: kind === "without schemas" ? {} : schema };
    });
    let tokens = 0;
    const params = { max_tokens: output, ignore_eos: true, temperature, seed };
    for await (const { completion, error } of this.fastgen.generateAll(inputs, params)) {
      if (error) throw error;
      tokens += completion.usage.completion_tokens;
    }
    if (tokens !== prompts * output)
      throw new Error(`a load of ${kind} brought ${tokens} tokens, not ${prompts * output}`);
    return tokens;
  }

  private nameOf(kind: Kind, i: number): string {
    return kind === "new schemas" ? `${this.sent}_${i}` : `known_${i % this.flags.sequences}`;
  }
}

async function main(model: string | undefined, flags: Flags): Promise<void> {
  await using fastgen = await Fastgen.load(model, { device: "cpu", max_num_seqs: flags.sequences });
  const load = new Load(fastgen, flags);
  const kinds = flags.only ? [flags.only] : KINDS;
  // The first of each gives no figures: it compiles, touches memory, and has the code of this program made fast.
  for (const kind of kinds) await load.run(kind);
  const runs = new Map<Kind, Run[]>(kinds.map((kind) => [kind, []]));
  for (let round = 0; round < flags.rounds; round++) {
    for (const kind of kinds) runs.get(kind)!.push(await load.run(kind));
  }
  const free = runs.get(KINDS[0]) ?? [];
  console.log("| answers | tokens/s | of those without | CPU µs per token | of those without |");
  console.log("| --- | --- | --- | --- | --- |");
  for (const [kind, own] of runs) {
    const speed = (run: Run) => run.tokens / run.wallSeconds;
    const cost = (run: Run) => (run.cpuSeconds / run.tokens) * 1e6;
    // Each against its neighbour in time: a machine's speed drifts.
    const share = (of: (run: Run) => number) =>
      free.length > 0 ? `${(100 * median(own.map((run, i) => of(run) / of(free[i]!)))).toFixed(1)} %` : "";
    const cells = [
      kind,
      median(own.map(speed)).toFixed(0),
      share(speed),
      median(own.map(cost)).toFixed(1),
      share(cost),
    ];
    console.log(`| ${cells.join(" | ")} |`);
  }
}

await main(program.args[0], program.opts<Flags>());
