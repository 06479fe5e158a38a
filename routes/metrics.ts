/**
 * GET /metrics, for Prometheus: vLLM's names, units and meanings, so that its dashboards work unchanged. Gauges and
 * totals are read from the engine's counters when scraped; the histograms are fed per request and per token.
 */
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { Chunk, FastgenApi, Usage } from "../src/types.ts";

const LATENCY = [
  0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5, 5,
];
const FIRST_TOKEN = [
  0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640,
];
const REQUEST = [0.1, 0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920];
const TOKENS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000];
const COUNTS = [1, 2, 5, 10, 20, 50, 100];

export class Metrics {
  readonly #registry = new Registry();
  readonly success: Counter<"finished_reason">;
  readonly firstToken: Histogram;
  readonly interToken: Histogram;
  readonly perOutputToken: Histogram;
  readonly endToEnd: Histogram;
  readonly #promptTokens: Histogram;
  readonly #generationTokens: Histogram;
  readonly #choices: Histogram;

  /** `source` gives the model, or null while it loads. */
  constructor(source: () => FastgenApi | null) {
    const registers = [this.#registry];
    const gauge = (name: string, help: string, read: (fastgen: FastgenApi) => number) =>
      new Gauge({
        name,
        help,
        registers,
        collect() {
          const fastgen = source();
          this.set(fastgen ? read(fastgen) : 0);
        },
      });
    const total = (name: string, help: string, read: (fastgen: FastgenApi) => number) =>
      new Counter({
        name,
        help,
        registers,
        collect() {
          const fastgen = source();
          this.reset();
          this.inc(fastgen ? read(fastgen) : 0);
        },
      });
    const histogram = (name: string, help: string, buckets: number[]) =>
      new Histogram({ name, help, buckets, registers });

    gauge("vllm:num_requests_running", "Sequences in the running batch.", ({ stats }) => stats.running);
    gauge(
      "vllm:num_requests_waiting",
      "Sequences waiting for a slot, or for a client to read what they have.",
      ({ stats }) => stats.waiting + stats.paused,
    );
    gauge("vllm:num_requests_swapped", "Sequences whose KV pages are on the host.", ({ stats }) => stats.swapped);
    gauge("vllm:kv_cache_usage_perc", "KV cache that running sequences use; 1 = all of it.", ({ stats }) =>
      stats.pages > 0 ? stats.pages_used / stats.pages : 0,
    );
    total("vllm:prompt_tokens_total", "Prefill tokens processed.", ({ stats }) => stats.prompt_tokens);
    total("vllm:generation_tokens_total", "Tokens generated.", ({ stats }) => stats.generated_tokens);
    total("vllm:num_preemptions_total", "Preemptions since start.", ({ stats }) => stats.preemptions);
    total(
      "vllm:prefix_cache_queries_total",
      "Tokens looked up in the prefix cache.",
      ({ stats }) => stats.prefix_queried_tokens,
    );
    total("vllm:prefix_cache_hits_total", "Tokens found in the prefix cache.", ({ stats }) => stats.prefix_hit_tokens);

    this.success = new Counter({
      name: "vllm:request_success_total",
      help: "Sequences ended, by reason.",
      labelNames: ["finished_reason"],
      registers,
    });
    for (const finished_reason of ["stop", "length", "abort", "error"]) this.success.inc({ finished_reason }, 0);
    this.firstToken = histogram(
      "vllm:time_to_first_token_seconds",
      "From the request's arrival to its first token.",
      FIRST_TOKEN,
    );
    this.interToken = histogram("vllm:inter_token_latency_seconds", "Between two tokens of a sequence.", LATENCY);
    this.perOutputToken = histogram(
      "vllm:request_time_per_output_token_seconds",
      "Mean time per token after the first, by sequence.",
      LATENCY,
    );
    this.endToEnd = histogram(
      "vllm:e2e_request_latency_seconds",
      "From the request's arrival to its last token.",
      REQUEST,
    );
    this.#promptTokens = histogram("vllm:request_prompt_tokens", "Prompt tokens, by request.", TOKENS);
    this.#generationTokens = histogram("vllm:request_generation_tokens", "Tokens generated, by request.", TOKENS);
    this.#choices = histogram("vllm:request_params_n", "The request parameter n.", COUNTS);
  }

  /** Call once the model is loaded: labels every series with its name, and describes its cache. */
  setModel(name: string, { capacity, model }: FastgenApi): void {
    this.#registry.setDefaultLabels({ model_name: name });
    const info = new Gauge({
      name: "vllm:cache_config_info",
      help: "The KV cache; the value is always 1.",
      labelNames: ["num_gpu_blocks", "num_cpu_blocks", "block_bytes", "cache_dtype"],
      registers: [this.#registry],
    });
    const labels = {
      num_gpu_blocks: capacity.pages,
      num_cpu_blocks: capacity.host_pages,
      block_bytes: capacity.page_bytes,
    };
    info.set({ ...labels, cache_dtype: model.dtype }, 1);
  }

  requestDone(usage: Usage, choices: number): void {
    this.#promptTokens.observe(usage.prompt_tokens);
    this.#generationTokens.observe(usage.completion_tokens);
    this.#choices.observe(choices);
  }

  async reply(): Promise<Response> {
    return new Response(await this.#registry.metrics(), { headers: { "content-type": this.#registry.contentType } });
  }
}

/** Times the tokens of one request. */
export class TokenTimer {
  readonly #metrics: Metrics;
  readonly #start: number;
  /** By choice: when its first and newest tokens came, and how many tokens there are. */
  readonly #choices: ({ first: number; newest: number; tokens: number } | undefined)[] = [];

  /** `start` is performance.now() when the request came in. */
  constructor(metrics: Metrics, start: number) {
    this.#metrics = metrics;
    this.#start = start;
  }

  chunk(chunk: Chunk): void {
    const now = performance.now();
    let choice = this.#choices[chunk.index];
    if (chunk.token_ids.length > 0) {
      if (choice) {
        this.#metrics.interToken.observe((now - choice.newest) / 1000);
        choice.newest = now;
        choice.tokens += chunk.token_ids.length;
      } else {
        this.#metrics.firstToken.observe((now - this.#start) / 1000);
        choice = { first: now, newest: now, tokens: chunk.token_ids.length };
        this.#choices[chunk.index] = choice;
      }
    }
    if (chunk.finish_reason === null) return;
    this.#metrics.success.inc({ finished_reason: chunk.finish_reason });
    this.#metrics.endToEnd.observe((now - this.#start) / 1000);
    if (choice && choice.tokens > 1) {
      this.#metrics.perOutputToken.observe((choice.newest - choice.first) / 1000 / (choice.tokens - 1));
    }
  }

  /** `open` sequences ended without a finish reason. */
  cut(open: number, reason: "abort" | "error"): void {
    if (open > 0) this.#metrics.success.inc({ finished_reason: reason }, open);
  }
}
