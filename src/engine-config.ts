/**
 * How an engine is set up, what it then holds, and how one sequence is sampled: the types that src/ffi and src/engine share.
 * Plain data only; it crosses from the main thread to the engine worker.
 */
import type { Dtype, ModelShape, StoredDtype, TensorSource } from "./model/shape.ts";

export type DeviceKind = "cpu" | "cuda";

/** Which waiting sequence starts first: the oldest; or, of those with the lowest priority number, the oldest. */
export type SchedulingPolicy = "fcfs" | "priority";

/** How the engine is set up. All resolved: no "auto" beyond this point, except kvBytes 0 on CUDA. */
/** Where an engine keeps KV pages on disk. */
export interface KvCacheDirConfig {
  path: string;
  /** The most bytes of pages there. */
  bytes: number;
  /** The number of this engine in its server, and how many there are. */
  engine: number;
  engines: number;
}

export interface EngineConfig {
  device: DeviceKind;
  /** Path of the shared library for `device`. */
  libraryPath: string;
  /** Path of llguidance; null = this build has no grammars, and no request brings one. */
  grammarLibrary: string | null;
  devices: number[];
  /** CPU threads; 0 = one a core. */
  threads: number;
  computeDtype: Dtype;
  kvDtype: StoredDtype;
  /** Linear layers are quantised while they load: fp8 = all that are not FP8 yet, fp8_large = those that gain from it. */
  quantization: "none" | "fp8" | "fp8_large";
  maxSeqs: number;
  maxStepTokens: number;
  /** Most tokens in one sequence, prompt and output together. */
  maxContext: number;
  /** Bytes of KV cache on the device; 0 = what memoryUtilization leaves (CUDA only). */
  kvBytes: number;
  hostKvBytes: number;
  /** Null = no pages are kept on disk. */
  kvCacheDir: KvCacheDirConfig | null;
  memoryUtilization: number;
  prefixCaching: boolean;
  /** The rank that KV events bear: the number of this engine among several. Absent = none are told. */
  kvEventsRank?: number;
  schedulingPolicy: SchedulingPolicy;
  shape: ModelShape;
  /** The checkpoint's tensors, or null for random weights from `seed` (--load-format dummy). */
  tensors: TensorSource[] | null;
  seed: number;
}

export interface EngineCapacity {
  pages: number;
  hostPages: number;
  pageBytes: number;
  weightBytes: number;
  graphs: number;
  threads: number;
  /** Whether the sampler takes grammars along: fg_follow. */
  follows: boolean;
  /** Name of the device, with what the library uses of it. */
  deviceName: string;
}

/** Sampling parameters of one sequence, resolved against the model. Numbers are float32. */
export interface EngineSampling {
  seed: bigint;
  temperature: number;
  topP: number;
  /** 0 = off. */
  topK: number;
  minP: number;
  repetitionPenalty: number;
  presencePenalty: number;
  frequencyPenalty: number;
  biasIds: Int32Array;
  bias: Float32Array;
  /** Log probabilities of what is sampled are those of the distribution that it is drawn from, and not the model's own. */
  processedLogprobs: boolean;
}

/** Whether what was generated so far changes the draw. */
export function usesPenalty({ repetitionPenalty, presencePenalty, frequencyPenalty }: EngineSampling): boolean {
  return repetitionPenalty !== 1 || presencePenalty !== 0 || frequencyPenalty !== 0;
}

/** Greedy, everything else off: what benches and tests start from. */
export const GREEDY: EngineSampling = {
  seed: 0n,
  temperature: 0,
  topP: 1,
  topK: 0,
  minP: 0,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  biasIds: new Int32Array(0),
  bias: new Float32Array(0),
  processedLogprobs: false,
};
