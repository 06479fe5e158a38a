/** From LoadOptions to EngineConfig: which device and library, and how the memory is divided. */
import { existsSync } from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { assetPath } from "./assets.ts";
import { PAGE_TOKENS } from "./engine/page-cache.ts";
import type { DeviceKind, EngineConfig } from "./engine-config.ts";
import { FastgenError } from "./errors.ts";
import { Library } from "./ffi/library.ts";
import type { Dtype, Model, ModelShape } from "./model/shape.ts";
import type { LoadOptions } from "./types.ts";

const GIB = 2 ** 30;

/** Defaults of the engine's options, as --help shows them. */
export const DEFAULTS = {
  /** Per device. A GPU's decode step costs little more for many sequences than for few; a CPU's grows with them. */
  max_num_seqs: { cuda: 1024, cpu: 256 },
  /** Per device. GEMM throughput is flat from 2048 tokens a step on a GPU; a CPU is saturated by far fewer. */
  max_num_batched_tokens: { cuda: 2048, cpu: 512 },
  gpu_memory_utilization: 0.92,
  /** GiB on the CPU: this, or a quarter of the memory that is free, whichever is less. */
  kv_cache_gib: 4,
  /** On a GPU: this, or a quarter of the memory that is free, whichever is less. */
  swap_space_gib: { cuda: 4, cpu: 0 },
} as const;

export interface DeviceChoice {
  kind: DeviceKind;
  libraryPath: string;
}

/** The shared library for `kind`, null where there is none. The folder FASTGEN_LIBRARY is looked into first. */
function libraryPath(kind: DeviceKind): string | null {
  const name = `libfastgen_${kind}.so`;
  const own = process.env.FASTGEN_LIBRARY ? path.join(process.env.FASTGEN_LIBRARY, name) : null;
  return own && existsSync(own) ? own : assetPath(`build/${name}`);
}

/**
 * Picks the device: `auto` is CUDA where this build carries it and a GPU can be used, else the CPU. A GPU that is there
 * and cannot be used is worth a warning.
 */
export function chooseDevice(wanted: "auto" | DeviceKind): DeviceChoice {
  if (wanted !== "cpu") {
    const library = libraryPath("cuda");
    let problem = "this build has no CUDA library";
    try {
      if (library && Library.open(library).deviceCount() > 0) {
        // Throws where it cannot be opened. Only the one that is used: each takes a while and some of its memory.
        Library.open(library).device(0);
        return { kind: "cuda", libraryPath: library };
      }
      if (library) problem = "no CUDA GPU was found";
    } catch (error) {
      problem = error instanceof Error ? error.message : String(error);
      if (wanted === "auto") process.emitWarning(`running on the CPU, for CUDA cannot be used: ${problem}`);
    }
    if (wanted === "cuda") throw new FastgenError("device", `device cuda: ${problem}; use device cpu`);
  }
  const library = libraryPath("cpu");
  if (library) return { kind: "cpu", libraryPath: library };
  throw new FastgenError("device", "libfastgen_cpu.so is not built: run make -C libfastgen");
}

const DTYPE_BYTES: Record<Dtype, number> = { float32: 4, float16: 2, bfloat16: 2 };

/** Bytes of one KV page over all layers, keys and values. */
export function pageBytes(shape: ModelShape, dtype: Dtype): number {
  return shape.layers * 2 * shape.kvHeads * shape.headDim * PAGE_TOKENS * DTYPE_BYTES[dtype];
}

/** A whole number of at least `least`; throws naming the option. */
function whole(options: LoadOptions, name: keyof LoadOptions, fallback: number, least: number): number {
  const value = options[name] ?? fallback;
  if (Number.isSafeInteger(value) && (value as number) >= least) return value as number;
  throw new FastgenError("invalid_request", `${name} must be a whole number of at least ${least}, not ${value}`, {
    param: name,
  });
}

function gib(options: LoadOptions, name: keyof LoadOptions, fallback: number): number {
  const value = options[name] ?? fallback;
  if (typeof value === "number" && Number.isFinite(value) && value >= 0) return Math.floor(value * GIB);
  throw new FastgenError("invalid_request", `${name} must be a number of GiB, not ${value}`, { param: name });
}

interface Device {
  kind: DeviceKind;
  /** Devices that the model is split over. */
  ranks: number;
}

/** In GiB, of the host. */
function quarterOfFreeMemory(): number {
  return Math.min(os.freemem(), process.availableMemory()) / 4 / GIB;
}

/**
 * Divides the memory: bytes of KV cache on each device (0 = measured by the library on the GPU), and the context that fits
 * into them. Each of several devices has its share of every page.
 */
function kvCache(model: Model, device: Device, dtype: Dtype, maxSeqs: number, options: LoadOptions) {
  const maxContext = whole(options, "max_model_len", model.maxContext, 1);
  if (maxContext > model.maxContext) {
    throw new FastgenError(
      "invalid_request",
      `max_model_len is ${maxContext} and ${model.name} was made for ${model.maxContext} tokens: use at most that`,
      { param: "max_model_len" },
    );
  }
  if (device.kind === "cuda" && options.kv_cache_gib === undefined) return { kvBytes: 0, maxContext };
  const page = pageBytes(model.shape, dtype) / device.ranks;
  const budget = gib(options, "kv_cache_gib", Math.min(DEFAULTS.kv_cache_gib, quarterOfFreeMemory()));
  // More pages than every slot at full length could fill would lie idle.
  const pages = Math.min(Math.floor(budget / page), maxSeqs * Math.ceil(maxContext / PAGE_TOKENS));
  const fits = pages * PAGE_TOKENS;
  if (fits < (options.max_model_len ?? 1)) {
    const needed = ((Math.ceil(maxContext / PAGE_TOKENS) * page) / GIB).toFixed(2);
    throw new FastgenError(
      "invalid_request",
      `a context of ${maxContext} tokens needs ${needed} GiB of KV cache and there are ${(budget / GIB).toFixed(2)}: ` +
        `raise kv_cache_gib, or lower max_model_len to at most ${fits}`,
      { param: options.max_model_len === undefined ? "kv_cache_gib" : "max_model_len" },
    );
  }
  return { kvBytes: pages * page, maxContext: Math.min(maxContext, fits) };
}

/** Everything resolved: no "auto" is left. Throws FastgenError naming the option and what would fit. */
export function engineConfig(model: Model, device: DeviceChoice, options: LoadOptions): EngineConfig {
  const { kind } = device;
  const ranks = whole(options, "tensor_parallel_size", 1, 1);
  if (kind === "cpu" && ranks > 1) {
    throw new FastgenError("invalid_request", "tensor_parallel_size above 1 needs CUDA: the CPU is one device", {
      param: "tensor_parallel_size",
    });
  }
  // The CUDA library computes in bfloat16 alone.
  const auto = kind === "cuda" ? "bfloat16" : model.dtype;
  const dtype = options.dtype === undefined || options.dtype === "auto" ? auto : options.dtype;
  const maxStepTokens = whole(options, "max_num_batched_tokens", DEFAULTS.max_num_batched_tokens[kind], 1);
  const maxSeqs = whole(options, "max_num_seqs", Math.min(DEFAULTS.max_num_seqs[kind], maxStepTokens), 1);
  if (maxSeqs > maxStepTokens) {
    throw new FastgenError(
      "invalid_request",
      `max_num_batched_tokens (${maxStepTokens}) must be at least max_num_seqs (${maxSeqs}): a step holds a token of each`,
      { param: "max_num_batched_tokens" },
    );
  }
  const { kvBytes, maxContext } = kvCache(model, { kind, ranks }, dtype, maxSeqs, options);
  const memoryUtilization = options.gpu_memory_utilization ?? DEFAULTS.gpu_memory_utilization;
  if (!(memoryUtilization > 0 && memoryUtilization <= 1)) {
    throw new FastgenError("invalid_request", "gpu_memory_utilization must be above 0 and at most 1", {
      param: "gpu_memory_utilization",
    });
  }
  const dummy = options.load_format === "dummy";
  return {
    device: kind,
    libraryPath: device.libraryPath,
    devices: Array.from({ length: ranks }, (_, rank) => rank),
    threads: whole(options, "threads", 0, 0),
    computeDtype: dtype,
    kvDtype: dtype,
    maxSeqs,
    maxStepTokens,
    maxContext,
    kvBytes,
    hostKvBytes: gib(options, "swap_space_gib", Math.min(DEFAULTS.swap_space_gib[kind], quarterOfFreeMemory() / ranks)),
    memoryUtilization,
    prefixCaching: options.enable_prefix_caching ?? true,
    shape: model.shape,
    tensors: dummy ? null : model.tensors,
    seed: whole(options, "seed", 0, 0),
  };
}
