#!/usr/bin/env bun
/**
 * What HTTP adds: the same concurrent streams through the library in this process and through the server's own routes
 * over a socket, in turns, with one engine for both. The client of the HTTP runs is in this process too, and its work
 * counts as HTTP's. Prints medians; appends them to results/http.jsonl.
 */
import { Command } from "commander";
import { listen } from "../routes/server/listen.ts";
import { Service } from "../routes/service.ts";
import { Fastgen } from "../src/fastgen.ts";
import { count } from "./flags.ts";
import { greedyStreams, type LoadOptions, planLoad, runLoad } from "./load.ts";
import { record } from "./record.ts";
import { median } from "./stats.ts";

const program = new Command("bun bench/http-overhead.ts")
  .description("Compares concurrent streams through the library with the same through HTTP.")
  .argument("<model>", "directory or org/name")
  .option("--streams <n>", "streams at once", count, 32)
  .option("--input <tokens>", "prompt", count, 64)
  .option("--output <tokens>", "new tokens", count, 64)
  .option("--rounds <n>", "how often each is run", count, 5)
  .option("--device <name>", "auto, cpu or cuda", "auto")
  .option("--results <file>", "where to append: a path, or a name in bench/results; none = nowhere", "http");

/** Runs the load's requests as streams of the library. Returns the seconds until the last one has ended. */
async function inProcess(fastgen: Fastgen, load: LoadOptions): Promise<number> {
  const start = performance.now();
  await Promise.all(
    planLoad(load).map(async ({ promptIds, maxTokens }) => {
      const params = { max_tokens: maxTokens, temperature: load.temperature, ignore_eos: true };
      let tokens = 0;
      for await (const chunk of await fastgen.start(promptIds, params)) tokens += chunk.token_ids.length;
      if (tokens !== maxTokens) throw new Error(`${tokens} tokens came instead of ${maxTokens}`);
    }),
  );
  return (performance.now() - start) / 1000;
}

async function overHttp(load: LoadOptions): Promise<number> {
  const { errors, seconds } = await runLoad(load);
  if (errors[0]) throw new Error(errors[0]);
  return seconds;
}

export async function main(args: string[]): Promise<void> {
  const command = program.parse(args, { from: "user" });
  const { streams, input, output, rounds, device, results } = command.opts();
  const name = command.args[0]!;
  const options = { device, enable_prefix_caching: false, max_num_seqs: streams, max_model_len: input + output };
  await using fastgen = await Fastgen.load(name, options);
  const service = new Service();
  service.ready(fastgen);
  const server = await listen(service, "127.0.0.1", 0);
  try {
    const load = greedyStreams({
      url: server.url.href,
      model: name,
      prompts: streams,
      input,
      output,
      seed: 0,
      vocab: fastgen.model.vocab_size,
    });
    const direct: number[] = [];
    const http: number[] = [];
    // The first round warms up and is not counted.
    for (let round = -1; round < rounds; round++) {
      const [a, b] = [await inProcess(fastgen, load), await overHttp(load)];
      if (round < 0) continue;
      direct.push(a);
      http.push(b);
    }
    const share = median(direct.map((seconds, i) => http[i]! / seconds - 1));
    const tokens = streams * output;
    console.log(`${streams} streams of ${input} tokens in, ${output} out`);
    console.log(`library ${(tokens / median(direct)).toFixed(1)} tokens/s, HTTP ${(tokens / median(http)).toFixed(1)}`);
    console.log(`HTTP adds ${(100 * share).toFixed(1)} %`);
    if (results !== "none") {
      const subject = {
        model: name,
        dtype: fastgen.model.dtype,
        load: { streams, input, output, rounds },
      };
      record(results, subject, [
        { metric: "streams through the library", value: tokens / median(direct), unit: "tokens/s" },
        { metric: "streams through HTTP", value: tokens / median(http), unit: "tokens/s" },
        { metric: "HTTP's share of the time", value: share, unit: "share" },
      ]);
    }
  } finally {
    await server.stop();
  }
}

if (import.meta.main) await main(process.argv.slice(2));
