#!/usr/bin/env bun
/**
 * Conversations over HTTP whose turns follow each other: all send their first turn, then all their second, and so on. Says how
 * long each turn takes, what of the prompts is found, and what was copied between the GPU and the host for it.
 */
import { Command } from "commander";
import { count } from "./flags.ts";
import { record } from "./record.ts";
import { knownTokens, type Turns } from "./simulate-turns.ts";
import { randomFrom } from "./stats.ts";

interface TurnMeasured {
  seconds: number;
  promptTokens: number;
  known: number;
  found: number;
  /** Of the copies to the GPU, and to the host. */
  readBytes: number;
  readSeconds: number;
  writtenBytes: number;
  writeSeconds: number;
}

const COPIES = {
  readBytes: "vllm:kv_host_read_bytes_total",
  readSeconds: "vllm:kv_host_read_seconds_total",
  writtenBytes: "vllm:kv_host_written_bytes_total",
  writeSeconds: "vllm:kv_host_write_seconds_total",
};

const GB = 1e9;

/** `forget`: no turn goes on from another: each has a prompt of its own, of the same length. */
export interface TurnsOptions extends Turns {
  url: string;
  model: string;
  seed: number;
  vocab: number;
  forget: boolean;
}

interface Answer {
  usage: { prompt_tokens: number; prompt_tokens_details: { cached_tokens: number } };
  choices: { token_ids: number[] }[];
}

export async function runTurns(options: TurnsOptions): Promise<TurnMeasured[]> {
  const { conversations, turns, first, message, answer } = options;
  const random = randomFrom(options.seed);
  const ids = (length: number) => Array.from({ length }, () => 1 + Math.floor(random() * (options.vocab - 1)));
  const prompts = Array.from({ length: conversations }, () => ids(first));
  const measured: TurnMeasured[] = [];
  for (let turn = 0; turn < turns; turn++) {
    const before = await readCopies(options.url);
    const start = performance.now();
    const answers = await Promise.all(prompts.map((prompt) => ask(options, prompt)));
    const seconds = (performance.now() - start) / 1000;
    const after = await readCopies(options.url);
    const sum = (of: (one: Answer) => number) => answers.reduce((total, one) => total + of(one), 0);
    measured.push({
      seconds,
      promptTokens: sum(({ usage }) => usage.prompt_tokens),
      known: options.forget ? 0 : conversations * knownTokens(options, turn),
      found: sum(({ usage }) => usage.prompt_tokens_details.cached_tokens),
      readBytes: after.readBytes - before.readBytes,
      readSeconds: after.readSeconds - before.readSeconds,
      writtenBytes: after.writtenBytes - before.writtenBytes,
      writeSeconds: after.writeSeconds - before.writeSeconds,
    });
    for (const [i, prompt] of prompts.entries()) {
      if (options.forget) prompts[i] = ids(prompt.length + answer + message);
      else prompt.push(...answers[i]!.choices[0]!.token_ids, ...ids(message));
    }
  }
  return measured;
}

async function ask({ url, model, answer }: TurnsOptions, prompt: number[]): Promise<Answer> {
  const body = { model, prompt, max_tokens: answer, ignore_eos: true, temperature: 0, return_token_ids: true };
  const response = await fetch(`${url}/v1/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`HTTP ${response.status}: ${(await response.text()).slice(0, 200)}`);
  return (await response.json()) as Answer;
}

async function readCopies(url: string): Promise<Record<keyof typeof COPIES, number>> {
  const lines = (await (await fetch(`${url}/metrics`)).text()).split("\n");
  const read = (name: string) =>
    Number(
      lines
        .find((line) => line.startsWith(`${name}{`))
        ?.split(" ")
        .at(-1) ?? 0,
    );
  return {
    readBytes: read(COPIES.readBytes),
    readSeconds: read(COPIES.readSeconds),
    writtenBytes: read(COPIES.writtenBytes),
    writeSeconds: read(COPIES.writeSeconds),
  };
}

const program = new Command("bun bench/turns.ts")
  .description("Sends conversations to fgserve, turn by turn, and reports what is found of them.")
  .option("--url <url>", "root of the server", "http://127.0.0.1:5678")
  .requiredOption("--model <name>", "for the record")
  .option("--conversations <n>", "all at once", count, 160)
  .option("--turns <n>", "of each", count, 4)
  .option("--first <tokens>", "of the first message", count, 2000)
  .option("--message <tokens>", "of each later message", count, 200)
  .option("--answer <tokens>", "of each answer", count, 200)
  .option("--forget", "no turn goes on from another", false)
  .option("--host-kv <GiB>", "what the server has for each GPU, for the record", Number, 0)
  .option("--gpus <n>", "how many the server uses, for the record", count, 1)
  .option("--seed <n>", "of the prompts", Number, 0)
  .option("--vocab <n>", "prompt ids are drawn from 1 to below this", count, 32000)
  .option("--results <file>", "where to append: a path, or a name in bench/results; none = nowhere", "turns");

export async function main(args: string[]): Promise<void> {
  const flags = program
    .parse(args, { from: "user" })
    .opts<TurnsOptions & { hostKv: number; gpus: number; results: string }>();
  const measured = await runTurns(flags);
  const { conversations, turns, first, message, answer, forget, hostKv, seed } = flags;
  const load = { conversations, turns, first, message, answer, forget, host_kv: hostKv, seed };
  const rate = (bytes: number, seconds: number) => (seconds > 0 ? bytes / seconds / GB : 0);
  const results = measured.flatMap((turn, i) => {
    const read = rate(turn.readBytes, turn.readSeconds);
    const written = rate(turn.writtenBytes, turn.writeSeconds);
    console.log(
      `turn ${i + 1}: ${turn.seconds.toFixed(2)} s; ${turn.found} of ${turn.known} known tokens found, ${turn.promptTokens} in all; ` +
        `${(turn.readBytes / GB).toFixed(1)} GB read at ${read.toFixed(1)} GB/s, ` +
        `${(turn.writtenBytes / GB).toFixed(1)} GB written at ${written.toFixed(1)} GB/s`,
    );
    return [
      { metric: `turn ${i + 1}`, value: turn.seconds, unit: "s" },
      { metric: `turn ${i + 1} found`, value: turn.found / turn.promptTokens, unit: "of prompt tokens" },
      { metric: `turn ${i + 1} read`, value: read, unit: "GB/s" },
      { metric: `turn ${i + 1} written`, value: written, unit: "GB/s" },
    ];
  });
  const total = (of: (turn: TurnMeasured) => number) => measured.reduce((sum, turn) => sum + of(turn), 0);
  const known = total((turn) => turn.known);
  if (known > 0) {
    const share = total((turn) => turn.found) / known;
    console.log(`${(100 * share).toFixed(1)} % of what was known was found`);
    results.push({ metric: "found", value: share, unit: "of known tokens" });
  }
  console.log(`later turns: ${(total((turn) => turn.seconds) - measured[0]!.seconds).toFixed(2)} s`);
  if (flags.results !== "none")
    record(flags.results, { model: flags.model, dtype: "bfloat16", load, gpus: flags.gpus }, results);
}

if (import.meta.main) await main(process.argv.slice(2));
