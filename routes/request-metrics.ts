/** What is measured of requests: histograms by sequence and by prompt, in vLLM's names and buckets. */
import { Counter, Histogram, type Registry } from "prom-client";
import type { Generation, GenerationObserver } from "../src/types.ts";

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

export class RequestMetrics {
  readonly #success: Counter<"finished_reason">;
  readonly #firstToken: Histogram;
  readonly #interToken: Histogram;
  readonly #perOutputToken: Histogram;
  readonly #endToEnd: Histogram;
  readonly #queue: Histogram;
  readonly #prefill: Histogram;
  readonly #decode: Histogram;
  readonly #inference: Histogram;
  readonly #promptTokens: Histogram;
  readonly #computedTokens: Histogram;
  readonly #generationTokens: Histogram;
  readonly #mostGenerationTokens: Histogram;
  readonly #maxTokens: Histogram;
  readonly #choices: Histogram;

  /** `maxModelLen`: tokens in one sequence. */
  constructor(registry: Registry, maxModelLen: number) {
    const registers = [registry];
    const histogram = (name: string, help: string, buckets: number[]) =>
      new Histogram({ name: `vllm:${name}`, help, buckets, registers });
    const seconds = (name: string, help: string, buckets = REQUEST_TIMES) =>
      histogram(`${name}_seconds`, help, buckets);
    const tokens = (name: string, help: string) => histogram(name, help, tokenBuckets(maxModelLen));

    this.#success = new Counter({
      name: "vllm:request_success_total",
      help: "Sequences ended, by reason.",
      labelNames: ["finished_reason"],
      registers,
    });
    for (const finished_reason of ["stop", "length", "abort", "error"]) this.#success.inc({ finished_reason }, 0);
    this.#firstToken = seconds(
      "time_to_first_token",
      "From the request's arrival to its first token.",
      FIRST_TOKEN_TIMES,
    );
    this.#interToken = seconds("inter_token_latency", "Between two tokens of a sequence.", TOKEN_TIMES);
    this.#perOutputToken = seconds(
      "request_time_per_output_token",
      "Mean time per token after the first, by sequence.",
      TOKEN_TIMES,
    );
    this.#endToEnd = seconds("e2e_request_latency", "From the request's arrival to its last token.");
    this.#queue = seconds("request_queue_time", "From a sequence's arrival in the engine to its first slot.");
    this.#prefill = seconds("request_prefill_time", "From a sequence's first slot to its first token.");
    this.#decode = seconds("request_decode_time", "From a sequence's first token to its last.");
    this.#inference = seconds("request_inference_time", "From a sequence's first slot to its last token.");
    this.#promptTokens = tokens("request_prompt_tokens", "Prompt tokens, by prompt.");
    this.#computedTokens = tokens(
      "request_prefill_kv_computed_tokens",
      "Prompt tokens not found in the cache, by prompt.",
    );
    this.#generationTokens = tokens("request_generation_tokens", "Tokens generated, by prompt.");
    this.#mostGenerationTokens = tokens(
      "request_max_num_generation_tokens",
      "Tokens of the longest choice, by prompt.",
    );
    this.#maxTokens = tokens("request_params_max_tokens", "The parameter max_tokens, or what fits, by prompt.");
    this.#choices = histogram("request_params_n", "The parameter n, by prompt.", CHOICES);
  }

  firstToken(seconds: number): void {
    this.#firstToken.observe(seconds);
  }

  nextToken(seconds: number): void {
    this.#interToken.observe(seconds);
  }

  /** A sequence ended by itself; `endToEnd` in seconds. */
  sequenceDone(reason: "stop" | "length", times: SequenceTimes, endToEnd: number): void {
    const { queued, prefill, first, newest, tokens } = times;
    const decode = (newest - first) / 1000;
    this.#success.inc({ finished_reason: reason });
    this.#endToEnd.observe(endToEnd);
    this.#queue.observe(queued);
    this.#prefill.observe(prefill);
    this.#decode.observe(decode);
    this.#inference.observe(prefill + decode);
    if (tokens > 1) this.#perOutputToken.observe(decode / (tokens - 1));
  }

  /** `open` sequences ended without a finish reason. */
  cut(open: number, reason: "abort" | "error"): void {
    if (open > 0) this.#success.inc({ finished_reason: reason }, open);
  }

  /** All choices of a prompt have ended, one way or the other. */
  promptDone({ usage, params }: Generation, { times }: GenerationTimer): void {
    const longest = Math.max(0, ...[...times.values()].map(({ tokens }) => tokens));
    this.#promptTokens.observe(usage.prompt_tokens);
    this.#computedTokens.observe(usage.prompt_tokens - usage.cached_tokens);
    this.#generationTokens.observe(usage.completion_tokens);
    this.#mostGenerationTokens.observe(longest);
    if (params.max_tokens !== null) this.#maxTokens.observe(params.max_tokens);
    this.#choices.observe(params.n);
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

  /** `start` is performance.now() when the request came in. */
  constructor(metrics: RequestMetrics, start: number) {
    this.#metrics = metrics;
    this.#start = start;
  }

  started(choice: number, queued: number, prefill: number): void {
    this.times.set(choice, { queued, prefill, first: 0, newest: 0, tokens: 0 });
  }

  token(choice: number, time: number): void {
    const times = this.times.get(choice)!;
    if (times.tokens === 0) {
      times.first = time;
      this.#metrics.firstToken((time - this.#start) / 1000);
    } else {
      this.#metrics.nextToken((time - times.newest) / 1000);
    }
    times.newest = time;
    times.tokens++;
  }

  ended(choice: number, reason: "stop" | "length", time: number): void {
    this.done++;
    this.#metrics.sequenceDone(reason, this.times.get(choice)!, (time - this.#start) / 1000);
  }
}
