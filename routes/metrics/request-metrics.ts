/** What is measured of requests: histograms by sequence and by prompt, in vLLM's names and buckets. */
import { Counter, Histogram, type Registry } from "prom-client";
import type { Generation, GenerationObserver } from "../../src/types.ts";

/** Seconds between tokens: vLLM's buckets from 0.01 on, and finer ones. */
const TOKEN_TIMES = [
  0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.06, 0.075, 0.08, 0.1, 0.15, 0.2, 0.3, 0.4,
  0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
];
const FIRST_TOKEN_TIMES = [
  0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560,
];
const REQUEST_TIMES = [0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680];
const CHOICES = [1, 2, 5, 10, 20, 50, 100];

/** 1, 2, 5, 10, 20, ... up to `most`. */
export function tokenBuckets(most: number): number[] {
  const buckets: number[] = [];
  for (let power = 1; power <= most; power *= 10) buckets.push(power, 2 * power, 5 * power);
  return buckets.filter((bucket) => bucket <= most);
}

type Observed =
  | "firstToken"
  | "interToken"
  | "perOutputToken"
  | "endToEnd"
  | "queue"
  | "prefill"
  | "decode"
  | "inference"
  | "promptTokens"
  | "computedTokens"
  | "generationTokens"
  | "mostGenerationTokens"
  | "maxTokens"
  | "choices";

/** An engine's series, looked up once and not at every token. */
type EngineMetrics = Record<Observed, Histogram.Internal<"engine">>;

export class RequestMetrics {
  readonly #success: Counter<"finished_reason" | "engine">;
  readonly #engines: EngineMetrics[];

  /** `maxModelLen`: tokens in one sequence. */
  constructor(registry: Registry, maxModelLen: number, engines: number) {
    const registers = [registry];
    const labelNames = ["engine"];
    const histogram = (name: string, help: string, buckets: number[]) =>
      new Histogram({ name: `vllm:${name}`, help, buckets, labelNames, registers });
    const seconds = (name: string, help: string, buckets = REQUEST_TIMES) =>
      histogram(`${name}_seconds`, help, buckets);
    const tokens = (name: string, help: string) => histogram(name, help, tokenBuckets(maxModelLen));

    this.#success = new Counter({
      name: "vllm:request_success_total",
      help: "Sequences ended, by reason.",
      labelNames: ["finished_reason", "engine"],
      registers,
    });
    const histograms: Record<Observed, Histogram<"engine">> = {
      firstToken: seconds("time_to_first_token", "From the request's arrival to its first token.", FIRST_TOKEN_TIMES),
      interToken: seconds("inter_token_latency", "Between two tokens of a sequence.", TOKEN_TIMES),
      perOutputToken: seconds(
        "request_time_per_output_token",
        "Mean time per token after the first, by sequence.",
        TOKEN_TIMES,
      ),
      endToEnd: seconds("e2e_request_latency", "From the request's arrival to its last token."),
      queue: seconds("request_queue_time", "From a sequence's arrival in the engine to its first slot."),
      prefill: seconds("request_prefill_time", "From a sequence's first slot to its first token."),
      decode: seconds("request_decode_time", "From a sequence's first token to its last."),
      inference: seconds("request_inference_time", "From a sequence's first slot to its last token."),
      promptTokens: tokens("request_prompt_tokens", "Prompt tokens, by prompt."),
      computedTokens: tokens("request_prefill_kv_computed_tokens", "Prompt tokens not found in the cache, by prompt."),
      generationTokens: tokens("request_generation_tokens", "Tokens generated, by prompt."),
      mostGenerationTokens: tokens("request_max_num_generation_tokens", "Tokens of the longest choice, by prompt."),
      maxTokens: tokens("request_params_max_tokens", "The parameter max_tokens, or what fits, by prompt."),
      choices: histogram("request_params_n", "The parameter n, by prompt.", CHOICES),
    };
    this.#engines = Array.from({ length: engines }, (_, i) => {
      const engine = `${i}`;
      for (const finished_reason of ["stop", "length", "abort", "error"])
        this.#success.inc({ finished_reason, engine }, 0);
      const series = Object.entries(histograms).map(([name, one]) => {
        one.zero({ engine });
        return [name, one.labels({ engine })];
      });
      return Object.fromEntries(series) as EngineMetrics;
    });
  }

  firstToken(engine: number, seconds: number): void {
    this.#engines[engine]!.firstToken.observe(seconds);
  }

  nextToken(engine: number, seconds: number): void {
    this.#engines[engine]!.interToken.observe(seconds);
  }

  /** A sequence ended by itself; `endToEnd` in seconds. */
  sequenceDone(engine: number, reason: "stop" | "length", times: SequenceTimes, endToEnd: number): void {
    const { queued, prefill, first, newest, tokens } = times;
    const decode = (newest - first) / 1000;
    const of = this.#engines[engine]!;
    this.#success.inc({ finished_reason: reason, engine: `${engine}` });
    of.endToEnd.observe(endToEnd);
    of.queue.observe(queued);
    of.prefill.observe(prefill);
    of.decode.observe(decode);
    of.inference.observe(prefill + decode);
    if (tokens > 1) of.perOutputToken.observe(decode / (tokens - 1));
  }

  /** `open` sequences ended without a finish reason. */
  cut(engine: number, open: number, reason: "abort" | "error"): void {
    if (open > 0) this.#success.inc({ finished_reason: reason, engine: `${engine}` }, open);
  }

  /** All choices of a prompt have ended, one way or the other. */
  promptDone({ usage, params, engine }: Generation, { times }: GenerationTimer): void {
    const longest = Math.max(0, ...[...times.values()].map(({ tokens }) => tokens));
    const of = this.#engines[engine]!;
    of.promptTokens.observe(usage.prompt_tokens);
    of.computedTokens.observe(usage.prompt_tokens - usage.cached_tokens);
    of.generationTokens.observe(usage.completion_tokens);
    of.mostGenerationTokens.observe(longest);
    if (params.max_tokens !== null) of.maxTokens.observe(params.max_tokens);
    of.choices.observe(params.n);
  }
}

export interface SequenceTimes {
  /** Seconds. */
  queued: number;
  prefill: number;
  /** performance.now() of its first and newest tokens; 0 before. */
  first: number;
  newest: number;
  /** How many there are. */
  tokens: number;
}

/** Times the tokens of one prompt's choices, as the engine brings them. */
export class GenerationTimer implements GenerationObserver {
  /** By choice; those that have begun. */
  readonly times = new Map<number, SequenceTimes>();
  /** Choices that ended by themselves. */
  done = 0;
  readonly #metrics: RequestMetrics;
  readonly #start: number;
  /** Known once a choice has begun. */
  #engine = 0;

  /** `start` is performance.now() when the request came in. */
  constructor(metrics: RequestMetrics, start: number) {
    this.#metrics = metrics;
    this.#start = start;
  }

  started(choice: number, queued: number, prefill: number, engine: number): void {
    this.#engine = engine;
    this.times.set(choice, { queued, prefill, first: 0, newest: 0, tokens: 0 });
  }

  token(choice: number, time: number): void {
    const times = this.times.get(choice)!;
    if (times.tokens === 0) {
      times.first = time;
      this.#metrics.firstToken(this.#engine, (time - this.#start) / 1000);
    } else {
      this.#metrics.nextToken(this.#engine, (time - times.newest) / 1000);
    }
    times.newest = time;
    times.tokens++;
  }

  ended(choice: number, reason: "stop" | "length", time: number): void {
    this.done++;
    this.#metrics.sequenceDone(this.#engine, reason, this.times.get(choice)!, (time - this.#start) / 1000);
  }
}
