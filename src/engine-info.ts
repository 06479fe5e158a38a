/** What a loaded model is, what its engines hold, and what they are doing. */
import type { DeviceKind } from "./engine-config.ts";
import type { Dtype } from "./model/shape.ts";

export interface ModelInfo {
  /** As the caller named it. */
  name: string;
  architecture: string;
  max_model_len: number;
  vocab_size: number;
  dtype: Dtype;
  device: DeviceKind;
}

/** What the loaded engine holds; of several, the one with the fewest pages. */
export interface Capacity {
  /** KV pages on each device, and in host memory. */
  pages: number;
  host_pages: number;
  /** Tokens in a page. */
  page_tokens: number;
  /** Are the pages of prompts that begin alike shared? */
  prefix_caching: boolean;
  /** Most sequences that run at once, and most tokens in one step. */
  max_num_seqs: number;
  max_num_batched_tokens: number;
  /** GPUs that the model is split over; 1 on the CPU. */
  tensor_parallel_size: number;
  /** Engines with all of the model. */
  data_parallel_size: number;
  /** Bytes of a page on each device. */
  page_bytes: number;
  /** Bytes of the weights on each device. */
  weight_bytes: number;
  /** CUDA graphs captured. */
  graphs: number;
  /** CPU threads in use. */
  threads: number;
  /** The device's name, and which of its features the library uses. */
  device_name: string;
}

/** What the engine is doing, and what it has done since it was loaded; of several engines, the sums. */
export interface Stats {
  /** Sequences that run now. */
  running: number;
  /** Sequences that wait for a slot now. */
  waiting: number;
  /** Sequences whose pages are on the host now. */
  swapped: number;
  /** Sequences that pause now because their output is not read. */
  paused: number;
  /** Of `pages`, those that running sequences refer to now. Cached pages that none refers to count as free. */
  pages_used: number;
  pages: number;
  preemptions: number;
  prefix_queried_tokens: number;
  prefix_hit_tokens: number;
  prompt_tokens: number;
  generated_tokens: number;
  steps: number;
  /** Tokens of the newest step. */
  step_tokens: number;
  /** Of `pages`, those that hold something now: what sequences refer to, and what is cached. */
  pages_held: number;
  /** Pages in host memory. All but the first two count since the start. */
  host: {
    /** Pages that can be used now, and of these, those that hold something. */
    pages: number;
    pages_held: number;
    /** Pages of prompts that were found there, and those that were neither there nor on the device. */
    hits: number;
    misses: number;
    /** Pages copied from the device, and back. */
    saved: number;
    restored: number;
    /** Pages that can no longer be found, because others needed their room. */
    forgotten: number;
    /** In which pages were copied to the device, and from it. */
    read_seconds: number;
    write_seconds: number;
  };
  /** Pages in kv_cache_dir now, and how many may be there; 0 where there is no such folder. */
  disk_pages: number;
  disk_capacity: number;
  /** Pages of prompts that neither device nor host had: those that were read from there, and those that were computed. */
  disk_hits: number;
  disk_misses: number;
  /** Pages written there, and pages that were not, because the disk did not keep up. */
  disk_saved: number;
  disk_skipped: number;
  /** Pages that were damaged or gone when they were to be read. */
  disk_lost: number;
  /** In which pages were read, and written. */
  disk_read_seconds: number;
  disk_write_seconds: number;
}

/** One of several engines, or the only one. */
export interface EngineInfo {
  /** It takes requests. */
  readonly alive: boolean;
  /** Why it takes none; null while it does. */
  readonly failure: string | null;
  readonly stats: Stats;
}
