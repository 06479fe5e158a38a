/** What Fastgen.load() takes: fgserve's flags with underscores, and who hears how loading goes. */
import type { DeviceKind, SchedulingPolicy } from "./engine-config.ts";
import type { Dtype } from "./model/shape.ts";
import type { ResolvedParams } from "./params.ts";

export interface LoadOptions {
  /** Branch, tag or commit of a hub model. */
  revision?: string;
  /** auto = CUDA if a GPU and its driver can be used, else the CPU. */
  device?: "auto" | DeviceKind;
  /** Precision of activations and KV cache; auto = the checkpoint's, on a GPU bfloat16. */
  dtype?: "auto" | Dtype;
  /**
   * fp8 = quantise linear layers while they load: weights by output channel, activations by token. Those of less than 2^20
   * weights (q, k and v together, gate and up too) stay as they are: FP8 would make them no faster.
   */
  quantization?: "none" | "fp8";
  /** auto = as dtype. fp8_e4m3 (also fp8) holds twice the tokens, with a scale for each token and head. */
  kv_cache_dtype?: "auto" | "bfloat16" | "fp8_e4m3" | "fp8";
  /** auto = read the checkpoint; dummy = random weights of its shape. */
  load_format?: "auto" | "dummy";
  /** Most tokens in one sequence; default: the model's context, or what the KV cache holds if that is less. */
  max_model_len?: number;
  /** Most sequences that run at once. */
  max_num_seqs?: number;
  /** Most tokens in one step. */
  max_num_batched_tokens?: number;
  /** Reuse the KV cache of prompts that begin alike; default true. */
  enable_prefix_caching?: boolean;
  /** Publish what becomes of cached KV pages over ZeroMQ, as vLLM does: vLLM's fields and defaults. Needs prefix caching. */
  kv_events_config?: KvEventsConfig;
  /** Bytes of KV cache: of each engine on the CPU, or on each GPU in place of what gpu_memory_utilization leaves. */
  kv_cache_memory_bytes?: number;
  /** GiB of host memory per GPU for KV pages evicted from it. */
  swap_space?: number;
  /** A folder where KV pages are kept for the next start: a level below the host's pages, and not without these. */
  kv_cache_dir?: string;
  /** GiB of pages in it; default 32. */
  kv_cache_dir_size?: number;
  /** Share of each GPU's memory to use, above 0 and at most 1. */
  gpu_memory_utilization?: number;
  /** GPUs to split the model over. */
  tensor_parallel_size?: number;
  /** Engines with all of the model, each on tensor_parallel_size GPUs of its own, or with its share of the CPU's threads. */
  data_parallel_size?: number;
  /** CPU threads of all engines together; 0 = one per core. */
  threads?: number;
  /** The text of a Jinja chat template to use instead of the model's. */
  chat_template?: string;
  /** How the contents of messages are given to the template; default "auto". */
  chat_template_content_format?: ChatContentFormat;
  /** auto = requests have the sampling defaults of the model's generation_config.json; vllm = they have the API's own. */
  generation_config?: "auto" | "vllm";
  /** Sampling defaults in place of those, by that file's keys: temperature, top_p, top_k, min_p, repetition_penalty, max_new_tokens. */
  override_generation_config?: Record<string, unknown>;
  /** logprobs_mode of requests that have none. */
  logprobs_mode?: ResolvedParams["logprobs_mode"];
  /** fcfs = sequences run in the order they arrive; priority = those of lower priority numbers first. */
  scheduling_policy?: SchedulingPolicy;
  /** Seed of dummy weights. */
  seed?: number;
  onProgress?: (progress: LoadProgress) => void;
  /** Takes a sentence about what the user should know of a model that loads: a chat template that fails, say. */
  onWarning?: (message: string) => void;
  /** Aborting rejects with FastgenError "aborted". */
  signal?: AbortSignal;
}

/** Where KV events go. None are published unless enable_kv_cache_events is true. */
export interface KvEventsConfig {
  enable_kv_cache_events?: boolean;
  publisher?: "zmq" | "null";
  /** tcp://*:PORT (also with an IPv6 address) listens, tcp://HOST:PORT connects; default tcp://*:5557. */
  endpoint?: string;
  /** Listened on for requests to repeat batches; default: none. */
  replay_endpoint?: string | null;
  /** Batches that can be repeated; default 10,000. */
  buffer_steps?: number;
  /** Messages that may wait for a subscriber, which misses those beyond; 0 = no bound of its own; default 100,000. */
  hwm?: number;
  /** Taken for vLLM's sake: nothing waits to be published. */
  max_queue_size?: number;
  topic?: string;
}

export interface LoadProgress {
  stage: "download" | "load";
  /** Bytes. */
  done: number;
  total: number;
}

/**
 * string: as text, parts joined by line ends. openai: as parts. auto: text stays text and parts stay parts where the
 * template takes them; else in the shape that it takes, which is found by trying.
 */
export type ChatContentFormat = "auto" | "string" | "openai";
