/**
 * GET /metrics, for Prometheus: vLLM's names, labels, units and meanings, so that its dashboards work unchanged. Gauges and
 * totals are read from the engine's counters when scraped. docs/operations.md lists them.
 */
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { FastgenApi } from "../src/types.ts";
import { addDiskMetrics } from "./disk-metrics.ts";
import { RequestMetrics } from "./request-metrics.ts";

/** Tokens in a step. */
const STEP_TOKENS = [1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384];

export class Metrics {
  readonly #registry = new Registry();
  #requests: RequestMetrics | null = null;

  /** `source` gives the model, or null while it loads. */
  constructor(source: () => FastgenApi | null) {
    const registers = [this.#registry];
    this.#registry.setDefaultLabels({ engine: "0" });
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

    gauge("vllm:num_requests_running", "Sequences in the running batch.", ({ stats }) => stats.running);
    gauge(
      "vllm:num_requests_waiting",
      "Sequences waiting for a slot, or for a client to read what they have.",
      ({ stats }) => stats.waiting + stats.swapped + stats.paused,
    );
    gauge("vllm:num_requests_swapped", "Of these, with KV pages on the host.", ({ stats }) => stats.swapped);
    total("vllm:prompt_tokens_total", "Prompt tokens processed.", ({ stats }) => stats.prompt_tokens);
    total("vllm:prompt_tokens_cached_total", "Of these, found in the cache.", ({ stats }) => stats.prefix_hit_tokens);
    total("vllm:generation_tokens_total", "Tokens generated.", ({ stats }) => stats.generated_tokens);
    total("vllm:num_preemptions_total", "Preemptions since start.", ({ stats }) => stats.preemptions);
    // vLLM's older names have "gpu_" before them; its own router still reads those.
    for (const usage of ["kv_cache_usage_perc", "gpu_cache_usage_perc"]) {
      gauge(`vllm:${usage}`, "KV cache that running sequences use; 1 = all of it.", ({ stats }) =>
        stats.pages > 0 ? stats.pages_used / stats.pages : 0,
      );
    }
    for (const old of ["", "gpu_"]) {
      total(
        `vllm:${old}prefix_cache_queries_total`,
        "Tokens looked up in the prefix cache.",
        ({ stats }) => stats.prefix_queried_tokens,
      );
      total(
        `vllm:${old}prefix_cache_hits_total`,
        "Tokens found in the prefix cache.",
        ({ stats }) => stats.prefix_hit_tokens,
      );
    }
    addDiskMetrics(registers, source);
    new Gauge({
      name: "vllm:weight_version_info",
      help: "The weights in use; the value is always 1.",
      labelNames: ["weight_version"],
      registers,
      collect() {
        this.reset();
        const fastgen = source();
        if (fastgen) this.set({ weight_version: fastgen.weight_version }, 1);
      },
    });
    new Counter({
      name: "vllm:prompt_tokens_by_source_total",
      help: "Prompt tokens, by where their KV came from.",
      labelNames: ["source"],
      registers,
      collect() {
        const { prompt_tokens, prefix_hit_tokens } = source()?.stats ?? { prompt_tokens: 0, prefix_hit_tokens: 0 };
        this.reset();
        this.inc({ source: "local_compute" }, prompt_tokens - prefix_hit_tokens);
        this.inc({ source: "local_cache_hit" }, prefix_hit_tokens);
      },
    });
  }

  /** Call once the model is loaded: labels every series with its name, describes its cache, and begins to count requests. */
  setModel(name: string, fastgen: FastgenApi): void {
    const { capacity, model } = fastgen;
    const registers = [this.#registry];
    this.#registry.setDefaultLabels({ engine: "0", model_name: name });
    // Labels that vLLM has too are written as there.
    const labels = {
      block_size: capacity.page_tokens,
      num_gpu_blocks: capacity.pages,
      num_cpu_blocks: capacity.host_pages,
      cache_dtype: model.dtype,
      enable_prefix_caching: capacity.prefix_caching ? "True" : "False",
      block_bytes: capacity.page_bytes,
    };
    const info = new Gauge({
      name: "vllm:cache_config_info",
      help: "The KV cache; the value is always 1.",
      labelNames: Object.keys(labels),
      registers,
    });
    info.set(labels, 1);
    const steps = new Histogram({
      name: "vllm:iteration_tokens_total",
      help: "Tokens computed in a step of the engine.",
      buckets: STEP_TOKENS,
      registers,
    });
    fastgen.onStep((tokens) => steps.observe(tokens));
    this.#requests = new RequestMetrics(this.#registry, model.max_model_len);
  }

  /** Only once the model is loaded. */
  get requests(): RequestMetrics {
    return this.#requests!;
  }

  async reply(): Promise<Response> {
    let text = await this.#registry.metrics();
    if (this.#requests)
      text += `${await this.#older("inter_token_latency_seconds", "time_per_output_token_seconds")}\n`;
    return new Response(text, { headers: { "content-type": this.#registry.contentType } });
  }

  /** A metric once more, under vLLM's older name for it, which older dashboards and autoscalers read. */
  async #older(name: string, older: string): Promise<string> {
    return (await this.#registry.getSingleMetricAsString(`vllm:${name}`)).replaceAll(`vllm:${name}`, `vllm:${older}`);
  }
}
