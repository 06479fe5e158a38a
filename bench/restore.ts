#!/usr/bin/env bun
/**
 * Restoring against recomputing: the time to the first token of a prompt whose pages are on the host, and of another prompt of the same
 * length that has to be computed. Nothing else runs meanwhile.
 */
import { Command, Option } from "commander";
import { Fastgen } from "../src/fastgen.ts";
import { count } from "./flags.ts";
import { median } from "./stats.ts";

const GIB = 2 ** 30;
const counts = (text: string) => text.split(",").map(count);

const program = new Command("bun bench/restore.ts")
  .description("Times the first token of prompts that come back from the host, and of such that are computed.")
  .argument("<model>", "directory or org/name; its weights are not read")
  .addOption(new Option("--device <name>").choices(["cpu", "cuda"]).default("cuda"))
  .option("--tokens <n,...>", "lengths of the prompts", counts, [512, 2048, 8192, 24_000])
  .option("--kv-cache <GiB>", "on the device: little more than the longest prompt takes", Number, 4)
  .option("--swap-space <GiB>", "on the host", Number, 16)
  .option("--rounds <n>", "of each length", count, 5);

program.parse();
const flags = program.opts<{
  device: "cpu" | "cuda";
  tokens: number[];
  kvCache: number;
  swapSpace: number;
  rounds: number;
}>();
await using fastgen = await Fastgen.load(program.args[0]!, {
  device: flags.device,
  load_format: "dummy",
  max_num_seqs: 16,
  max_model_len: Math.max(...flags.tokens) + 64,
  kv_cache_memory_bytes: Math.round(flags.kvCache * GIB),
  swap_space: flags.swapSpace,
});
const { vocab_size } = fastgen.model;
let seed = 0;

/** No two of them begin alike. */
function newPrompt(tokens: number): number[] {
  const first = 1 + seed++;
  return Array.from({ length: tokens }, (_, i) => 1 + ((first * 7919 + i * 104_729) % (vocab_size - 1)));
}

async function firstToken(ids: number[]): Promise<{ seconds: number; cached: number }> {
  const started = performance.now();
  const { usage } = await (await fastgen.start(ids, { max_tokens: 1, ignore_eos: true })).completion();
  return { seconds: (performance.now() - started) / 1000, cached: usage.cached_tokens ?? 0 };
}

/** Its pages leave the device when others need their room. */
async function pushOut(): Promise<void> {
  const longest = Math.max(...flags.tokens);
  for (let pages = 0; pages < 2 * fastgen.stats.pages; pages += longest / 64) await firstToken(newPrompt(longest));
}

for (const tokens of flags.tokens) {
  const [computed, restored, found]: [number[], number[], number[]] = [[], [], []];
  await firstToken(newPrompt(tokens));
  for (let round = 0; round < flags.rounds; round++) {
    const prompt = newPrompt(tokens);
    computed.push((await firstToken(prompt)).seconds);
    await pushOut();
    const again = await firstToken(prompt);
    restored.push(again.seconds);
    found.push(again.cached);
  }
  const [computing, restoring] = [median(computed), median(restored)];
  console.log(
    `${tokens} tokens: computed ${(1000 * computing).toFixed(1)} ms, restored ${(1000 * restoring).toFixed(1)} ms ` +
      `(${(computing / restoring).toFixed(1)} times as fast; tokens found: ${found.join(", ")})`,
  );
}
const { restored, read_seconds, saved, write_seconds } = fastgen.stats.host;
console.log(
  `a page: read in ${((1000 * read_seconds) / restored).toFixed(3)} ms, written in ${((1000 * write_seconds) / saved).toFixed(3)} ms`,
);
