/**
 * GET /metrics, for Prometheus: vLLM's names, labels, units and meanings, so that its dashboards work unchanged. Gauges and
 * totals are read from the engine's counters when scraped. docs/operations.md lists them.
 */
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { EngineInfo, FastgenApi, Stats } from "../../src/types.ts";
import { addKvMetrics } from "./kv-metrics.ts";
import { RequestMetrics } from "./request-metrics.ts";

/** Tokens in a step. */
const STEP_TOKENS = [1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384];

/** What is read before there is an engine. */
const NOTHING: Pick<EngineInfo, "alive"> & { stats: Partial<Stats> } = { alive: false, stats: {} };

export class Metrics {
  readonly #registry = new Registry();
  #requests: RequestMetrics | null = null;

  /** `source` gives the model, or null while it loads. */
  constructor(source: () => FastgenApi | null) {
    const registers = [this.#registry];
    const labelNames = ["engine"];
    const engines = () => source()?.engines ?? [NOTHING];
    type Read = (stats: Partial<Stats>, alive: boolean) => number | undefined;
    const gauge = (name: string, help: string, read: Read) =>
      new Gauge({
        name,
        help,
        labelNames,
        registers,
        collect() {
          for (const [i, { stats, alive }] of engines().entries())
            this.set({ engine: `${i}` }, read(stats, alive) ?? 0);
        },
      });
    const total = (name: string, help: string, read: Read) =>
      new Counter({
        name,
        help,
        labelNames,
        registers,
        collect() {
          this.reset();
          for (const [i, { stats, alive }] of engines().entries())
            this.inc({ engine: `${i}` }, read(stats, alive) ?? 0);
        },
      });

    gauge("vllm:engine_up", "1 while the engine takes requests, 0 while it loads and once it has failed.", (_, alive) =>
      Number(alive),
    );
    gauge("vllm:num_requests_running", "Sequences in the running batch.", ({ running }) => running);
    gauge(
      "vllm:num_requests_waiting",
      "Sequences waiting for a slot, or for a client to read what they have.",
      ({ waiting = 0, swapped = 0, paused = 0 }) => waiting + swapped + paused,
    );
    gauge("vllm:num_requests_swapped", "Of these, with KV pages on the host.", ({ swapped }) => swapped);
    total("vllm:prompt_tokens_total", "Prompt tokens processed.", ({ prompt_tokens }) => prompt_tokens);
    total(
      "vllm:prompt_tokens_cached_total",
      "Of these, found in the cache.",
      ({ prefix_hit_tokens }) => prefix_hit_tokens,
    );
    total("vllm:generation_tokens_total", "Tokens generated.", ({ generated_tokens }) => generated_tokens);
    total("vllm:num_preemptions_total", "Preemptions since start.", ({ preemptions }) => preemptions);
    // vLLM's older names have "gpu_" before them; its own router still reads those.
    for (const usage of ["kv_cache_usage_perc", "gpu_cache_usage_perc"]) {
      gauge(`vllm:${usage}`, "KV cache that running sequences use; 1 = all of it.", ({ pages_used = 0, pages = 0 }) =>
        pages > 0 ? pages_used / pages : 0,
      );
    }
    for (const old of ["", "gpu_"]) {
      total(
        `vllm:${old}prefix_cache_queries_total`,
        "Tokens looked up in the prefix cache.",
        ({ prefix_queried_tokens }) => prefix_queried_tokens,
      );
      total(
        `vllm:${old}prefix_cache_hits_total`,
        "Tokens found in the prefix cache.",
        ({ prefix_hit_tokens }) => prefix_hit_tokens,
      );
    }
    addKvMetrics(registers, source);
    new Gauge({
      name: "vllm:weight_version_info",
      help: "The weights in use; the value is always 1.",
      labelNames: ["weight_version", ...labelNames],
      registers,
      collect() {
        this.reset();
        const fastgen = source();
        if (!fastgen) return;
        const { weight_version } = fastgen;
        for (const i of fastgen.engines.keys()) this.set({ weight_version, engine: `${i}` }, 1);
      },
    });
    new Counter({
      name: "vllm:prompt_tokens_by_source_total",
      help: "Prompt tokens, by where their KV came from.",
      labelNames: ["source", ...labelNames],
      registers,
      collect() {
        this.reset();
        for (const [i, { stats }] of engines().entries()) {
          const { prompt_tokens = 0, prefix_hit_tokens = 0 } = stats;
          this.inc({ source: "local_compute", engine: `${i}` }, prompt_tokens - prefix_hit_tokens);
          this.inc({ source: "local_cache_hit", engine: `${i}` }, prefix_hit_tokens);
        }
      },
    });
  }

  /** Call once the model is loaded: labels every series with its name, describes its cache, and begins to count requests. */
  setModel(name: string, fastgen: FastgenApi): void {
    const { capacity, model } = fastgen;
    const registers = [this.#registry];
    this.#registry.setDefaultLabels({ model_name: name });
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
      labelNames: [...Object.keys(labels), "engine"],
      registers,
    });
    const steps = new Histogram({
      name: "vllm:iteration_tokens_total",
      help: "Tokens computed in a step of the engine.",
      buckets: STEP_TOKENS,
      labelNames: ["engine"],
      registers,
    });
    const engines = fastgen.engines.map((_, i) => `${i}`);
    for (const engine of engines) info.set({ ...labels, engine }, 1);
    const stepsOf = engines.map((engine) => {
      steps.zero({ engine });
      return steps.labels({ engine });
    });
    fastgen.onStep((tokens, engine) => stepsOf[engine]!.observe(tokens));
    this.#requests = new RequestMetrics(this.#registry, model.max_model_len, engines.length);
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
