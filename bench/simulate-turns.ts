#!/usr/bin/env bun
/**
 * Runs conversations through the scheduler alone, with its page cache: all send their first turn, then all their second, and so
 * on. Tells, without a GPU, what of each turn's prompt is still found, and how long the turns take (simulated-engine.ts).
 */
import { Command } from "commander";
import { PAGE_TOKENS } from "../src/engine/pages/page-cache.ts";
import { PLAIN } from "../src/engine/protocol.ts";
import { GREEDY } from "../src/engine-config.ts";
import { count } from "./flags.ts";
import { LINK_RATE, type Machine, PAGE_SIZE, SimulatedEngine } from "./simulated-engine.ts";
import { randomFrom } from "./stats.ts";

export interface Turns {
  conversations: number;
  turns: number;
  /** Tokens of the first message, of each later one, and of each answer. */
  first: number;
  message: number;
  answer: number;
}

export interface TurnResult {
  seconds: number;
  promptTokens: number;
  /** Prompt tokens that an endless cache would have, and that this one had. */
  known: number;
  found: number;
  /** GB/s from the first copy of a step to the last, to the device and to the host; NaN where nothing was copied. */
  readRate: number;
  writeRate: number;
}

/** The tokens of a prompt that an endless cache would have, in turn 0, 1, ... */
export function knownTokens({ first, message, answer }: Turns, turn: number): number {
  // Whole pages. The last token of an answer has no KV.
  const before = first + turn * answer + (turn - 1) * message - 1;
  return turn === 0 ? 0 : Math.floor(before / PAGE_TOKENS) * PAGE_TOKENS;
}

const ANSWER_ID = 3;

/** One result for each turn. */
export function simulateTurns(setting: Turns & Machine): TurnResult[] {
  const { conversations, turns, first, message, answer } = setting;
  const engine = new SimulatedEngine(setting, 0);
  const random = randomFrom(0);
  const ids = (length: number) => Array.from({ length }, () => Math.floor(random() * 32_000));
  const prompts = Array.from({ length: conversations }, () => ids(first));
  const results: TurnResult[] = [];
  for (let turn = 0; turn < turns; turn++) {
    const before = { ...engine.scheduler.stats(), seconds: engine.seconds };
    for (const [i, prompt] of prompts.entries()) {
      engine.scheduler.add({
        id: turn * conversations + i,
        prompt: Int32Array.from(prompt),
        sampling: GREEDY,
        maxTokens: answer,
        minTokens: 0,
        stopIds: new Int32Array(0),
        logprobs: -1,
        promptLogprobs: -1,
        ...PLAIN,
      });
    }
    engine.run();
    const after = engine.scheduler.stats();
    const copied = (of: "saved" | "restored") => (after.host[of] - before.host[of]) * PAGE_SIZE;
    results.push({
      seconds: engine.seconds - before.seconds,
      promptTokens: after.promptTokens - before.promptTokens,
      known: knownTokens(setting, turn) * conversations,
      found: after.prefixHitTokens - before.prefixHitTokens,
      readRate: copied("restored") / (after.host.readSeconds - before.host.readSeconds),
      writeRate: copied("saved") / (after.host.writeSeconds - before.host.writeSeconds),
    });
    for (const prompt of prompts) {
      for (let i = 0; i < answer; i++) prompt.push(ANSWER_ID);
      prompt.push(...ids(message));
    }
  }
  return results;
}

/** Of what an endless cache would have had, the share that was found. */
export function shareFound(results: readonly TurnResult[]): number {
  const sum = (of: (result: TurnResult) => number) => results.reduce((total, result) => total + of(result), 0);
  return sum(({ found }) => found) / sum(({ known }) => known);
}

const program = new Command("bun bench/simulate-turns.ts")
  .description("Simulates conversations with Mistral 7B on an H100 whose turns follow each other.")
  .option("--conversations <n>", "all at once", count, 160)
  .option("--turns <n>", "of each", count, 4)
  .option("--first <tokens>", "of the first message", count, 2000)
  .option("--message <tokens>", "of each later message", count, 200)
  .option("--answer <tokens>", "of each answer", count, 200)
  .option("--pages <n>", "pages of the KV cache", count, 2048)
  .option("--host-pages <n>", "pages of the KV cache in host memory", Number, 2048)
  .option("--max-num-seqs <n>", "sequences that run at once", count, 1024)
  .option("--max-num-batched-tokens <n>", "tokens in one step", count, 2048)
  .option("--link-rate <GB/s>", "of the link to the host, in each direction", Number, LINK_RATE);

if (import.meta.main) {
  const results = simulateTurns(program.parse().opts<Turns & Machine>());
  for (const [i, { seconds, promptTokens, known, found, readRate, writeRate }] of results.entries()) {
    console.log(
      `turn ${i + 1}: ${seconds.toFixed(2)} s, ${found} of ${known} known tokens found (${promptTokens} in all); ` +
        `read at ${readRate.toFixed(1)} GB/s, written at ${writeRate.toFixed(1)} GB/s`,
    );
  }
  console.log(`${(100 * shareFound(results)).toFixed(1)} % of what was known was found`);
}
