/** From LoadOptions to EngineConfig: which device and library, and how the memory is divided. */
import { existsSync } from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { libraryPath } from "./assets.ts";
import { PAGE_TOKENS } from "./engine/pages/page-cache.ts";
import type { DeviceKind, EngineCapacity, EngineConfig } from "./engine-config.ts";
import { asFastgenError, FastgenError } from "./errors.ts";
import { Library } from "./ffi/library.ts";
import { llguidancePath } from "./grammar/llguidance.ts";
import { kvEventsOf } from "./kv-events/config.ts";
import { MAX_ENGINES } from "./limits.ts";
import type { Model, ModelShape, StoredDtype } from "./model/shape.ts";
import type { LoadOptions } from "./types.ts";
import { formatSize } from "./units.ts";

const GIB = 2 ** 30;

/** Defaults of the engine's options, as --help shows them. */
export const DEFAULTS = {
  /** By kind of device. A decode step of many sequences costs a GPU little more than one of few; a CPU's cost grows. */
  max_num_seqs: { cuda: 1024, cpu: 256 },
  /**
   * By kind of device, and of a GPU with FP8 weights. GEMM throughput is flat from 2048 tokens per step on a GPU. In FP8
   * what a step costs beside products counts twice. Still more cost KV pages: 512 × 1024 → 128 runs 1.6 % faster with 8192,
   * 512 × 128 → 2048 10 % slower (libfastgen/cuda/NOTES.md). Far fewer saturate a CPU.
   */
  max_num_batched_tokens: { cuda: 2048, cudaFp8: 4096, cpu: 512 },
  gpu_memory_utilization: 0.92,
  /** On the CPU: this, or a quarter of the memory that is free, whichever is less. */
  kv_cache_memory_bytes: 4 * GIB,
  /** GiB for each GPU: this, or the GPU's share of a quarter of the host memory that is free, whichever is less. */
  swap_space: { cuda: 4, cpu: 0 },
  /** The same on the CPU with a kv_cache_dir: its pages go through the host's. */
  swap_space_of_dir: 1,
  /** GiB of pages in kv_cache_dir. */
  kv_cache_dir_size: 32,
} as const;

/** libfastgen's own bounds (config.c), checked before it does, so that the error names the option. */
export const MOST: Partial<Record<keyof LoadOptions, number>> = {
  max_num_seqs: 65_536,
  max_num_batched_tokens: 1_048_576,
  threads: 1024,
  data_parallel_size: MAX_ENGINES,
};

export interface DeviceChoice {
  kind: DeviceKind;
  libraryPath: string;
  /** GPUs of the machine; 1 on the CPU. */
  count: number;
  /** A GPU: all of its memory. The CPU: the memory that is free. */
  memoryBytes: number;
}

/** The shared library for `kind`; null if there is none. The folder that FASTGEN_LIBRARY names comes first. */
function libraryOf(kind: DeviceKind): string | null {
  const name = `libfastgen_${kind}.so`;
  const own = process.env.FASTGEN_LIBRARY ? path.join(process.env.FASTGEN_LIBRARY, name) : null;
  return own && existsSync(own) ? own : libraryPath(`build/${name}`);
}

/** There where NVIDIA's driver is loaded. */
const NVIDIA_DRIVER = "/proc/driver/nvidia/version";

const BUILD_CUDA = "build Fastgen where nvidia-smi finds a GPU (npm run build)";

/**
 * Picks the device. `auto` is CUDA if this build has the CUDA library and a GPU can be used, else the CPU. A GPU that is
 * present but cannot be used is told to `warn`.
 * @param driver a file that is there where there is a GPU, for tests
 * @throws FastgenError "device" if the device that was asked for cannot be used.
 */
export function chooseDevice(
  wanted: "auto" | DeviceKind,
  warn: (message: string) => void = (message) => process.emitWarning(message),
  driver = NVIDIA_DRIVER,
): DeviceChoice {
  if (wanted !== "cpu") {
    const library = libraryOf("cuda");
    let problem = `this build has no CUDA library; ${BUILD_CUDA}`;
    if (!library && wanted === "auto" && existsSync(driver)) {
      warn(`the GPU is not used: ${problem}, or choose device cpu`);
    }
    try {
      const count = library ? Library.open(library).deviceCount() : 0;
      if (library && count > 0) {
        // Throws if the GPU cannot be opened. Only the first: opening each takes time and some of its memory.
        const { memoryBytes } = Library.open(library).device(0);
        return { kind: "cuda", libraryPath: library, count, memoryBytes };
      }
      if (library) problem = "no CUDA GPU was found";
    } catch (error) {
      problem = asFastgenError(error).message;
      if (wanted === "auto") warn(`CUDA cannot be used, so the model runs on the CPU: ${problem}`);
    }
    if (wanted === "cuda") {
      throw new FastgenError("device", `device cuda: ${problem}, or choose cpu or auto`, { param: "device" });
    }
  }
  return { kind: "cpu", libraryPath: cpuLibrary(), count: 1, memoryBytes: freeMemory() };
}

/** Opens the CPU library: a package brings one that was built elsewhere, perhaps for another kind of machine. */
function cpuLibrary(): string {
  const library = libraryOf("cpu");
  try {
    if (library === null) throw new FastgenError("device", "libfastgen_cpu.so is missing");
    Library.open(library);
    return library;
  } catch (cause) {
    const machine = `${process.platform} ${process.arch}`;
    const cure =
      "run 'npm run build' in a checkout of Fastgen here, and set FASTGEN_LIBRARY to the checkout's build folder";
    const message = `no library for this machine (${machine}): ${asFastgenError(cause).message}; ${cure}`;
    throw new FastgenError("device", message, { cause });
  }
}

const DTYPE_BYTES: Record<StoredDtype, number> = { float32: 4, float16: 2, bfloat16: 2, float8_e4m3: 1 };
/** A float32 for each token and head. */
const SCALE_BYTES = 4;

/** Bytes of one KV page over all layers, keys and values. */
export function pageBytes(shape: ModelShape, dtype: StoredDtype): number {
  const ofHead = shape.headDim * DTYPE_BYTES[dtype] + (dtype === "float8_e4m3" ? SCALE_BYTES : 0);
  return shape.layers * 2 * shape.kvHeads * PAGE_TOKENS * ofHead;
}

/** A load option that makes no sense. `message` writes options as LoadOptions does; cli/flags.ts turns them into flags. */
function wrong(param: keyof LoadOptions, message: string): FastgenError {
  return new FastgenError("invalid_request", message, { param });
}

/** A whole number of at least `least`, within libfastgen's bound; throws naming the option. */
function whole(options: LoadOptions, name: keyof LoadOptions, fallback: number, least: number): number {
  const value = options[name] ?? fallback;
  const most = MOST[name];
  if (Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= (most ?? Infinity)) {
    return value as number;
  }
  const range = most === undefined ? `of at least ${least}` : `from ${least} to ${most}`;
  throw wrong(name, `${name} must be a whole number ${range}, not ${value}`);
}

/** Values of kv_cache_dtype; null = as the activations. */
const KV_DTYPES = { auto: null, bfloat16: "bfloat16", fp8_e4m3: "float8_e4m3", fp8: "float8_e4m3" } as const;
const QUANTIZATIONS = { none: "none", fp8: "fp8_large" } as const;

function oneOf<T extends object>(name: keyof LoadOptions, values: T, value: string): T[keyof T] {
  if (Object.hasOwn(values, value)) return values[value as keyof T];
  throw wrong(name, `${name} must be ${Object.keys(values).join(", ")}, not ${value}`);
}

/** Bytes of host memory for the evicted pages of each of `count` devices. */
function swapSpace(options: LoadOptions, kind: DeviceKind, count: number): number {
  const least = options.kv_cache_dir === undefined ? 0 : DEFAULTS.swap_space_of_dir;
  const fallback = Math.max(DEFAULTS.swap_space[kind], least);
  const value = options.swap_space ?? Math.min(fallback, freeMemory() / 4 / GIB / count);
  if (typeof value !== "number" || !Number.isFinite(value) || value < 0) {
    throw wrong("swap_space", `swap_space must be a number of GiB, 0 or more, not ${value}`);
  }
  const bytes = Math.floor(value * GIB);
  if (bytes * count <= os.totalmem()) return bytes;
  throw wrong(
    "swap_space",
    `swap_space is ${value} GiB${count > 1 ? ` for each of ${count} ${kind === "cuda" ? "GPUs" : "engines"}` : ""}, but this machine has ${formatSize(os.totalmem(), Math.floor)} ` +
      `of memory: lower swap_space to at most ${Math.floor(os.totalmem() / count / GIB)}`,
  );
}

/** Where the first engine keeps pages on disk; null = nowhere. engineConfigs() tells the others apart. */
function kvCacheDir(options: LoadOptions): EngineConfig["kvCacheDir"] {
  const { kv_cache_dir: dir, kv_cache_dir_size: size } = options;
  if (dir === undefined) {
    if (size === undefined) return null;
    throw wrong(
      "kv_cache_dir_size",
      "kv_cache_dir_size is the size of kv_cache_dir: name a folder there, or leave it out",
    );
  }
  if (dir === "") throw wrong("kv_cache_dir", "kv_cache_dir is empty: name a folder, or leave it out");
  if (options.enable_prefix_caching === false) {
    throw wrong(
      "kv_cache_dir",
      "kv_cache_dir needs the prefix cache: set enable_prefix_caching, or leave out kv_cache_dir",
    );
  }
  if (options.swap_space === 0) {
    throw wrong("kv_cache_dir", "pages reach kv_cache_dir through host memory, and swap_space is 0: raise swap_space");
  }
  const gib = size ?? DEFAULTS.kv_cache_dir_size;
  if (typeof gib !== "number" || !Number.isFinite(gib) || gib <= 0) {
    throw wrong("kv_cache_dir_size", `kv_cache_dir_size must be a number of GiB above 0, not ${gib}`);
  }
  return { path: path.resolve(dir), bytes: Math.floor(gib * GIB), engine: 0, engines: 1 };
}

interface Device extends DeviceChoice {
  /** Devices that the model is split over. */
  ranks: number;
  /** Engines, each on so many devices. */
  engines: number;
}

/** Bytes of host memory that can still be used. */
function freeMemory(): number {
  return Math.min(os.freemem(), process.availableMemory());
}

/**
 * Divides the memory: bytes of KV cache on each device (0 = measured by the library on the GPU), and the context that fits
 * into them. Each of several devices has its share of every page.
 */
function kvCache(model: Model, device: Device, dtype: StoredDtype, maxSeqs: number, options: LoadOptions) {
  const maxContext = whole(options, "max_model_len", model.maxContext, 1);
  if (maxContext > model.maxContext) {
    throw wrong(
      "max_model_len",
      `max_model_len is ${maxContext}, but ${model.name} was made for ${model.maxContext} tokens: lower max_model_len ` +
        `to at most ${model.maxContext}`,
    );
  }
  if (device.kind === "cuda" && options.kv_cache_memory_bytes === undefined) return { kvBytes: 0, maxContext };
  const page = pageBytes(model.shape, dtype) / device.ranks;
  const fallback = Math.floor(Math.min(DEFAULTS.kv_cache_memory_bytes, freeMemory() / 4) / device.engines);
  const budget = whole(options, "kv_cache_memory_bytes", fallback, 1);
  // More pages than every slot at full length could fill would lie idle.
  const pages = Math.min(Math.floor(budget / page), maxSeqs * Math.ceil(maxContext / PAGE_TOKENS));
  const fits = pages * PAGE_TOKENS;
  if (fits < (options.max_model_len ?? 1)) throw cacheTooSmall(maxContext, { budget, page, fits }, device, options);
  if (device.kind === "cpu" && pages * page * device.engines > os.totalmem()) {
    const each = device.engines > 1 ? ` for each of ${device.engines} engines` : "";
    throw wrong(
      "kv_cache_memory_bytes",
      `kv_cache_memory_bytes is ${formatSize(budget, Math.ceil)}${each}, but this machine has ` +
        `${formatSize(os.totalmem(), Math.floor)} of memory: lower kv_cache_memory_bytes to at most ` +
        `${Math.floor(os.totalmem() / device.engines)}`,
    );
  }
  return { kvBytes: pages * page, maxContext: Math.min(maxContext, fits) };
}

/** Names only cures that work: a cache that the memory has room for, a context of at least one page. */
function cacheTooSmall(
  maxContext: number,
  cache: { budget: number; page: number; fits: number },
  device: Device,
  options: LoadOptions,
): FastgenError {
  const { budget, page, fits } = cache;
  const needed = Math.ceil(Math.ceil(maxContext / PAGE_TOKENS) * page);
  const cures: string[] = [];
  if (needed <= device.memoryBytes) cures.push(`raise kv_cache_memory_bytes to at least ${needed}`);
  if (fits > 0) cures.push(`lower max_model_len to at most ${fits}`);
  if (cures.length === 0) {
    const shorter = options.max_model_len === undefined ? "" : ` and lower max_model_len to at most ${PAGE_TOKENS}`;
    cures.push(`raise kv_cache_memory_bytes to at least ${Math.ceil(page)}${shorter}`);
  }
  return wrong(
    options.max_model_len === undefined ? "kv_cache_memory_bytes" : "max_model_len",
    `a context of ${maxContext} tokens needs ${formatSize(needed, Math.ceil)} of KV cache, but the cache has ` +
      `${formatSize(budget, Math.floor)}: ${cures.join(", or ")}`,
  );
}

/**
 * The context for a KV cache whose size the library measured: only the loaded engine knows how many pages fit.
 * @throws FastgenError "out_of_memory" if that is less than the max_model_len that was asked for.
 */
export function contextThatFits(
  wanted: number,
  capacity: EngineCapacity,
  device: DeviceChoice,
  options: LoadOptions,
): number {
  const fits = capacity.pages * PAGE_TOKENS;
  if (wanted <= fits) return wanted;
  if (options.max_model_len === undefined && fits > 0) return fits;
  const missing = (Math.ceil(wanted / PAGE_TOKENS) - capacity.pages) * capacity.pageBytes;
  const share = (options.gpu_memory_utilization ?? DEFAULTS.gpu_memory_utilization) + missing / device.memoryBytes;
  const cures = [`lower max_model_len to at most ${fits}`];
  if (share <= 1) cures.push(`raise gpu_memory_utilization to at least ${Math.ceil(share * 1000) / 1000}`);
  throw new FastgenError(
    "out_of_memory",
    `a context of ${wanted} tokens needs ${formatSize(missing, Math.ceil)} more KV cache than the GPU has room for: ` +
      cures.join(", or "),
    { param: "max_model_len" },
  );
}

/** Engines, and the devices of each, checked against what there is. */
function parallelism(device: DeviceChoice, options: LoadOptions): { engines: number; ranks: number } {
  const ranks = whole(options, "tensor_parallel_size", 1, 1);
  const engines = whole(options, "data_parallel_size", 1, 1);
  const { kind, count } = device;
  if (kind === "cpu" && ranks > 1) {
    throw wrong(
      "tensor_parallel_size",
      `tensor_parallel_size ${ranks} needs ${ranks} GPUs, and the model runs on the CPU: leave tensor_parallel_size out`,
    );
  }
  if (kind === "cuda" && engines > 1 && engines * ranks > count) {
    const each = ranks > 1 ? ` times tensor_parallel_size ${ranks}` : "";
    const fits = Math.floor(count / ranks);
    const cure = fits > 0 ? `lower data_parallel_size to at most ${fits}` : "lower tensor_parallel_size";
    const message = `data_parallel_size ${engines}${each} needs ${engines * ranks} GPUs, and this machine has ${count}: ${cure}`;
    throw wrong("data_parallel_size", message);
  }
  return { engines, ranks };
}

/**
 * One for each of data_parallel_size engines: engine i has the GPUs from i × tensor_parallel_size on, or its share of the CPU's threads.
 * @throws FastgenError "invalid_request" naming the option and what would fit.
 */
export function engineConfigs(model: Model, device: DeviceChoice, options: LoadOptions): EngineConfig[] {
  const { engines, ranks } = parallelism(device, options);
  const config = engineConfig(model, device, options);
  return Array.from({ length: engines }, (_, i) => ({
    ...config,
    devices: config.devices.map((rank) => (device.kind === "cuda" ? i * ranks + rank : 0)),
    kvCacheDir: config.kvCacheDir && { ...config.kvCacheDir, engine: i, engines },
    ...(config.kvEventsRank !== undefined && { kvEventsRank: i }),
  }));
}

/** CPU threads of each engine; 0 = one a core. */
function threadsOf(options: LoadOptions, engines: number): number {
  const threads = whole(options, "threads", 0, 0);
  return engines === 1 ? threads : Math.max(1, Math.floor((threads || os.availableParallelism()) / engines));
}

/**
 * Of the first engine, where there are several. Everything resolved: no "auto" is left.
 * @throws FastgenError "invalid_request" naming the option and what would fit.
 */
export function engineConfig(model: Model, device: DeviceChoice, options: LoadOptions): EngineConfig {
  const { kind } = device;
  const { engines, ranks } = parallelism(device, options);
  // The CUDA library computes only in bfloat16.
  const auto = kind === "cuda" ? "bfloat16" : model.dtype;
  const dtype = options.dtype === undefined || options.dtype === "auto" ? auto : options.dtype;
  const kvDtype = oneOf("kv_cache_dtype", KV_DTYPES, options.kv_cache_dtype ?? "auto") ?? dtype;
  const dummy = options.load_format === "dummy";
  const wanted = oneOf("quantization", QUANTIZATIONS, options.quantization ?? "none");
  const fp8 = wanted !== "none" || Boolean(model.quantization);
  const stepTokens = DEFAULTS.max_num_batched_tokens[kind === "cuda" && fp8 ? "cudaFp8" : kind];
  const maxStepTokens = whole(options, "max_num_batched_tokens", stepTokens, 1);
  const maxSeqs = whole(options, "max_num_seqs", Math.min(DEFAULTS.max_num_seqs[kind], maxStepTokens), 1);
  if (maxSeqs > maxStepTokens) {
    throw wrong(
      "max_num_batched_tokens",
      `a step holds one token of each running sequence, so max_num_batched_tokens (${maxStepTokens}) must not be less than ` +
        `max_num_seqs (${maxSeqs}): raise max_num_batched_tokens to at least ${maxSeqs}, or lower max_num_seqs to at ` +
        `most ${maxStepTokens}`,
    );
  }
  const { kvBytes, maxContext } = kvCache(model, { ...device, ranks, engines }, kvDtype, maxSeqs, options);
  const memoryUtilization = options.gpu_memory_utilization ?? DEFAULTS.gpu_memory_utilization;
  if (!(memoryUtilization > 0 && memoryUtilization <= 1)) {
    throw wrong(
      "gpu_memory_utilization",
      `gpu_memory_utilization must be above 0 and at most 1, not ${memoryUtilization}`,
    );
  }
  const prefixCaching = options.enable_prefix_caching ?? true;
  const kvEvents = kvEventsOf(options.kv_events_config);
  if (kvEvents && !prefixCaching) {
    throw wrong(
      "kv_events_config",
      "kv_events_config publishes what becomes of the prefix cache, which is off: set enable_prefix_caching, or leave out kv_events_config",
    );
  }
  return {
    device: kind,
    libraryPath: device.libraryPath,
    grammarLibrary: llguidancePath(),
    devices: Array.from({ length: ranks }, (_, rank) => rank),
    threads: threadsOf(options, engines),
    computeDtype: dtype,
    kvDtype,
    // A checkpoint that is quantised stays as it is; its dummy weights are quantised too.
    quantization: model.quantization ? (dummy ? "fp8" : "none") : wanted,
    maxSeqs,
    maxStepTokens,
    maxContext,
    kvBytes,
    kvCacheDir: kvCacheDir(options),
    hostKvBytes: swapSpace(options, kind, ranks * engines),
    memoryUtilization,
    prefixCaching,
    ...(kvEvents && { kvEventsRank: 0 }),
    schedulingPolicy: options.scheduling_policy ?? "fcfs",
    shape: model.shape,
    tensors: dummy ? null : model.tensors,
    seed: whole(options, "seed", 0, 0),
  };
}
