#!/usr/bin/env bun
/**
 * Runs loads through several schedulers with their page caches, each request in the engine that the router picks: what of the
 * prompts is found, and how long everything takes, with other weights of what is cached (routing.ts). Weight 0 looks at the
 * load alone. Needs no GPU (simulated-engine.ts).
 */
import { Command } from "commander";
import { PAGE_TOKENS } from "../src/engine/pages/page-cache.ts";
import { PrefixIndex, pageKeys } from "../src/engine/prefix-index.ts";
import { type EngineRequest, PLAIN } from "../src/engine/protocol.ts";
import { CACHED_TOKEN_WEIGHT, route } from "../src/engine/routing.ts";
import { GREEDY } from "../src/engine-config.ts";
import { count } from "./flags.ts";
import { SimulatedEngine } from "./simulated-engine.ts";
import { percentile, randomFrom } from "./stats.ts";

/** A request, and what its client sends once it has ended. */
export interface Turn {
  prompt: number[];
  answer: number;
  /** The next turn, so many seconds later; null = none. */
  next: (() => { turn: Turn; after: number }) | null;
}

const ANSWER_ID = 3;

/** Loads by name: requests that come at once, but for a reader's time where a client has several turns. */
export function loads(engines: number, perEngine: number, seed = 1): Record<string, () => Turn[]> {
  const random = randomFrom(seed);
  const ids = (length: number) => Array.from({ length }, () => 10 + Math.floor(random() * 31_000));
  const between = (low: number, high: number) => Math.floor(low + (high - low) * random());
  const many = (make: () => Turn, count = perEngine * engines) => Array.from({ length: count }, make);
  const withPrefix = (prefix: number[]): Turn => {
    return { prompt: [...prefix, ...ids(between(20, 200))], answer: between(20, 200), next: null };
  };
  /** Each turn repeats what came before. Readers take 10 seconds on average. */
  const conversation = (prompt: number[], turns: number): Turn => {
    const answer = between(50, 350);
    const next = () => ({
      turn: conversation([...prompt, ...new Array(answer).fill(ANSWER_ID), ...ids(between(50, 350))], turns - 1),
      after: -10 * Math.log(1 - random()),
    });
    return { prompt, answer, next: turns > 1 ? next : null };
  };
  return {
    conversations: () => many(() => conversation(ids(between(500, 3500)), 6), (perEngine * engines) / 4),
    "32 prefixes of 2,000 tokens": () => {
      const prefixes = Array.from({ length: 32 }, () => ids(2000));
      return many(() => withPrefix(prefixes[between(0, 32)]!));
    },
    "one prefix of 1,000 tokens": () => {
      const prefix = ids(1000);
      return many(() => withPrefix(prefix));
    },
    "nothing in common": () => many(() => ({ prompt: ids(between(100, 2000)), answer: between(20, 400), next: null })),
  };
}

interface Outcome {
  seconds: number;
  generated: number;
  found: number;
  asked: number;
  /** From a turn's arrival to its end. */
  latencies: number[];
}

/** An engine, with what the front knows of it. */
class Replica {
  readonly engine: SimulatedEngine;
  readonly index: PrefixIndex;
  readonly running = new Map<number, { turn: Turn; tokens: number; arrival: number }>();
  load = 0;

  constructor(pages: number) {
    this.engine = new SimulatedEngine({ pages, hostPages: 512, maxNumSeqs: 1024, maxNumBatchedTokens: 2048 }, 0);
    this.index = new PrefixIndex(pages + 512);
  }

  add(id: number, turn: Turn, keys: bigint[], arrival: number): void {
    const prompt = Int32Array.from(turn.prompt);
    const request: EngineRequest = {
      id,
      prompt,
      sampling: GREEDY,
      maxTokens: turn.answer,
      minTokens: 0,
      stopIds: new Int32Array(0),
      logprobs: -1,
      promptLogprobs: -1,
      ...PLAIN,
    };
    if (this.running.size === 0) this.engine.seconds = Math.max(this.engine.seconds, arrival);
    this.running.set(id, { turn, tokens: prompt.length, arrival });
    this.load += prompt.length;
    this.index.add(keys);
    this.engine.scheduler.add(request);
  }

  /** Runs a step. Returns the turns that ended in it. */
  step(): { turn: Turn; arrival: number }[] {
    const { requestIds, finish } = this.engine.step();
    const ended: { turn: Turn; arrival: number }[] = [];
    for (const [i, id] of requestIds.entries()) {
      const one = this.running.get(id)!;
      if (finish[i] === 0) {
        one.tokens++;
        this.load++;
        continue;
      }
      this.load -= one.tokens;
      this.running.delete(id);
      ended.push(one);
    }
    return ended;
  }
}

/** Runs a load to its end. */
export function simulateRouting(turns: Turn[], engines: number, pages: number, weight: number): Outcome {
  const replicas = Array.from({ length: engines }, () => new Replica(pages));
  const arrivals = turns.map((turn) => ({ time: 0, turn }));
  const latencies: number[] = [];
  let [next, last] = [0, engines - 1];
  for (;;) {
    const busy = replicas.filter(({ running }) => running.size > 0);
    const earliest = busy.toSorted((a, b) => a.engine.seconds - b.engine.seconds)[0];
    const [arrival] = arrivals;
    if (!earliest && !arrival) break;
    if (arrival && (!earliest || arrival.time <= earliest.engine.seconds)) {
      arrivals.shift();
      const keys = pageKeys(Int32Array.from(arrival.turn.prompt), "");
      const candidates = replicas.map(({ load, index }) => ({ load, cachedTokens: PAGE_TOKENS * index.match(keys) }));
      last = route(candidates, last, weight);
      replicas[last]!.add(next++, arrival.turn, keys, arrival.time);
      continue;
    }
    for (const { turn, arrival: since } of earliest!.step()) {
      const now = earliest!.engine.seconds;
      latencies.push(now - since);
      const following = turn.next?.();
      if (!following) continue;
      const time = now + following.after;
      const place = arrivals.findIndex((other) => other.time > time);
      arrivals.splice(place < 0 ? arrivals.length : place, 0, { time, turn: following.turn });
    }
  }
  const stats = replicas.map(({ engine }) => engine.scheduler.stats());
  const sum = (of: "generatedTokens" | "prefixHitTokens" | "promptTokens") =>
    stats.reduce((total, one) => total + one[of], 0);
  return {
    seconds: Math.max(...replicas.map(({ engine }) => engine.seconds)),
    generated: sum("generatedTokens"),
    found: sum("prefixHitTokens"),
    asked: sum("promptTokens"),
    latencies,
  };
}

/** Requests, or four times the conversations. */
const PER_ENGINE = 512;

const program = new Command("bun bench/simulate-routing.ts")
  .description("Simulates several engines of Mistral 7B on H100s, and where requests go.")
  .option("--engines <n>", "how many", count, 4)
  .option("--pages <n>", "pages of each engine's KV cache", count, 7432)
  .option("--weights <n,n>", "of a token that is cached", (text) => text.split(",").map(Number), [
    0,
    8,
    CACHED_TOKEN_WEIGHT,
    128,
    1e6,
  ]);

if (import.meta.main) {
  const { engines, pages, weights } = program.parse().opts();
  for (const name of Object.keys(loads(engines, PER_ENGINE))) {
    console.log(`${name}:`);
    for (const weight of weights as number[]) {
      // The same load for every weight.
      const turns = loads(engines, PER_ENGINE)[name]!();
      const { seconds, generated, found, asked, latencies } = simulateRouting(turns, engines, pages, weight);
      console.log(
        `  weight ${weight}: ${seconds.toFixed(1)} s, ${(generated / seconds).toFixed(0)} tokens/s, ` +
          `${((100 * found) / asked).toFixed(1)} % of prompts found, a turn ${percentile(latencies, 0.5).toFixed(2)} s (p99 ${percentile(latencies, 0.99).toFixed(2)} s)`,
      );
    }
  }
}
