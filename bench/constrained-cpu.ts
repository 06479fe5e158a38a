#!/usr/bin/env bun
/**
 * What schemas cost on this CPU: the same load without schemas, with schemas that were compiled before, and with new ones, in turns.
 * All of it runs in this process, through the library. CPU time is that of all its threads, so other programs disturb it
 * less than they disturb tokens per second. Prints the medians, and appends them to results/constrained-cpu.jsonl.
 */
import { Command, Option } from "commander";
import { Fastgen } from "../src/fastgen.ts";
import type { BatchInput } from "../src/types.ts";
import { count, number } from "./flags.ts";
import { quantity } from "./format.ts";
import { endlessSchema, planLoad } from "./load.ts";
import { type Measurement, record } from "./record.ts";
import { COST, KINDS, type Kind, SPEED, shareOf } from "./report-schemas.ts";
import { median } from "./stats.ts";

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
  results: string;
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
  .addOption(new Option("--only <kind>", "for profiles: nothing is recorded").choices(KINDS))
  .option("--results <file>", "where to append: a path, or a name in bench/results; none = nowhere", "constrained-cpu")
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
  const sender = new Load(fastgen, flags);
  const kinds = flags.only ? [flags.only] : KINDS;
  // The first of each gives no figures: it compiles, touches memory, and has the code of this program made fast.
  for (const kind of kinds) await sender.run(kind);
  const runs = new Map<Kind, Run[]>(kinds.map((kind) => [kind, []]));
  for (let round = 0; round < flags.rounds; round++) {
    for (const kind of kinds) runs.get(kind)!.push(await sender.run(kind));
  }
  const measurements = measure(runs);
  for (const { metric, value, unit } of measurements) console.log(`${metric}: ${quantity(value, unit)}`);
  if (flags.results === "none" || flags.only) return;
  const { sequences, input, output, temperature, bursts, rounds } = flags;
  const { name, dtype } = fastgen.model;
  const load = { sequences, input, output, temperature, bursts, rounds };
  record(flags.results, { model: model ?? name, dtype, load }, measurements);
}

/** Medians of each kind, and of each run's share of its neighbour in time without schemas: a machine's speed drifts. */
function measure(runs: Map<Kind, Run[]>): Measurement[] {
  const free = runs.get(KINDS[0]);
  const speed = ({ tokens, wallSeconds }: Run) => tokens / wallSeconds;
  const cost = ({ tokens, cpuSeconds }: Run) => (1e6 * cpuSeconds) / tokens;
  const kinds = [
    { what: SPEED, of: speed, unit: "tokens/s" },
    { what: COST, of: cost, unit: "µs" },
  ];
  return [...runs].flatMap(([kind, own]) =>
    kinds.flatMap(({ what, of, unit }): Measurement[] => {
      const measured = { metric: `${kind}, ${what}`, value: median(own.map(of)), unit };
      if (!free || own === free) return [measured];
      const value = median(own.map((run, i) => of(run) / of(free[i]!)));
      return [measured, { metric: shareOf(measured.metric), value, unit: "share" }];
    }),
  );
}

await main(program.args[0], program.opts<Flags>());
