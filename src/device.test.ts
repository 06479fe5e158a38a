import { expect, spyOn, test } from "bun:test";
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { libraryPath } from "./assets.ts";
import {
  chooseDevice,
  contextThatFits,
  type DeviceChoice,
  engineConfig,
  engineConfigs,
  MOST,
  pageBytes,
} from "./device.ts";
import type { EngineCapacity } from "./engine-config.ts";
import type { Model } from "./model/shape.ts";
import { failure } from "./testing.ts";
import type { LoadOptions } from "./types.ts";

/** One page of this model, 64 tokens over 2 layers of 2 heads of 64 in bfloat16, is 64 KiB: 16,384 pages per GiB. */
const model = {
  name: "tiny",
  maxContext: 4096,
  dtype: "bfloat16",
  tensors: [],
  shape: { layers: 2, kvHeads: 2, headDim: 64 },
} as unknown as Model;
const cpu = { kind: "cpu", libraryPath: "x.so", count: 4, memoryBytes: 2 ** 30 } as const;
const config = (options: LoadOptions, device: DeviceChoice = cpu) => engineConfig(model, device, options);
const PAGE = 64 * 1024;

function refusal(options: LoadOptions, device?: DeviceChoice) {
  const error = failure(() => config(options, device));
  expect(error.kind).toBe("invalid_request");
  return error;
}

test("the KV cache bounds the context when nothing was asked for", () => {
  expect(config({ kv_cache_memory_bytes: 10 * PAGE })).toMatchObject({ kvBytes: 10 * PAGE, maxContext: 640 });
  expect(config({ kv_cache_memory_bytes: 2 ** 30, max_num_seqs: 2 })).toMatchObject({
    kvBytes: 128 * PAGE,
    maxContext: 4096,
  });
});

test("a context that does not fit is refused with what would fit", () => {
  const error = refusal({ kv_cache_memory_bytes: 10 * PAGE, max_model_len: 641 });
  expect(error.param).toBe("max_model_len");
  expect(error.message).toContain("at most 640");
  expect(refusal({ kv_cache_memory_bytes: 0 }).param).toBe("kv_cache_memory_bytes");
  expect(refusal({ max_model_len: 4097 }).message).toContain("4096");
});

/** Each way out that a message offers, as the options it tells to use. Cures are separated by ", or ". */
function cures(message: string): LoadOptions[] {
  const advice = message.slice(message.lastIndexOf(": ") + 2).split(", or ");
  return advice.map((cure) => {
    const settings = [...cure.matchAll(/(?:raise|lower) (\w+) to at (?:least|most) ([\d.]+)/g)];
    expect(settings.length).toBeGreaterThan(0);
    return Object.fromEntries(settings.map(([, name, value]) => [name, Number(value)]));
  });
}

const small = { ...cpu, memoryBytes: 16 * PAGE };
test.each<[string, LoadOptions, typeof cpu | typeof small]>([
  ["a tiny cache", { kv_cache_memory_bytes: 1 }, cpu],
  ["a tiny cache and little memory", { kv_cache_memory_bytes: 1 }, small],
  ["a tiny cache for a given context", { kv_cache_memory_bytes: PAGE - 1, max_model_len: 4000 }, cpu],
  ["a tiny cache for a given context and little memory", { kv_cache_memory_bytes: 1, max_model_len: 4000 }, small],
  ["a cache that is a little too small", { kv_cache_memory_bytes: 10 * PAGE, max_model_len: 641 }, cpu],
  ["a cache that cannot grow to what is needed", { kv_cache_memory_bytes: 10 * PAGE, max_model_len: 4096 }, small],
  ["a context beyond the model's", { max_model_len: 1_000_000, kv_cache_memory_bytes: 2 ** 30 }, cpu],
  ["more sequences than tokens in a step", { max_num_seqs: 1000 }, cpu],
  ["more swap space than memory", { swap_space: 1e6 }, cpu],
  ["fewer tokens in a step than sequences", { max_num_seqs: 64, max_num_batched_tokens: 32 }, cpu],
])("%s: each cure that the message names works", (_, options, device) => {
  const { message } = refusal(options, device);
  expect(message).not.toMatch(/(?<![\d.])0 ([KMGT]i)?B|at (most|least) 0/);
  for (const cure of cures(message)) {
    expect(() => config({ ...options, ...cure }, device)).not.toThrow();
  }
});

test("a cache larger than the machine's memory: the cure that the message names works", () => {
  const memory = spyOn(os, "totalmem").mockReturnValue(100 * PAGE);
  try {
    const options = { kv_cache_memory_bytes: 101 * PAGE };
    const [smaller] = cures(refusal(options).message);
    expect(config({ ...options, ...smaller }).kvBytes).toBe(100 * PAGE);
  } finally {
    memory.mockRestore();
  }
});

test("a GPU that has no room for the context: each cure that the message names works", () => {
  const capacity = { pages: 10, pageBytes: PAGE } as EngineCapacity;
  const fits = (wanted: number, { pages }: { pages: number }, device: DeviceChoice, options: LoadOptions) =>
    contextThatFits(wanted, { ...capacity, pages }, device, options);
  const gpu = { kind: "cuda", libraryPath: "x.so", count: 1, memoryBytes: 1000 * PAGE } as const;
  expect(fits(4096, capacity, gpu, {})).toBe(640);
  expect(fits(640, capacity, gpu, { max_model_len: 640 })).toBe(640);
  const options = { max_model_len: 4096, gpu_memory_utilization: 0.9 };
  const error = failure(() => fits(4096, capacity, gpu, options));
  expect(error).toMatchObject({ kind: "out_of_memory", param: "max_model_len" });
  const [shorter, larger] = cures(error.message);
  expect(fits(shorter!.max_model_len!, capacity, gpu, { ...options, ...shorter })).toBe(640);
  // What the library then measures: a larger share of the memory, in whole pages.
  const pages = capacity.pages + Math.floor((larger!.gpu_memory_utilization! - 0.9) * 1000);
  expect(fits(4096, { pages }, gpu, { ...options, ...larger })).toBe(4096);
  // Where all of its memory would not be enough, only the context can give way.
  const full = failure(() => fits(4096, capacity, { ...gpu, memoryBytes: 100 * PAGE }, options));
  expect(cures(full.message)).toEqual([{ max_model_len: 640 }]);
});

test("options that make no sense are refused by name", () => {
  const bad: LoadOptions[] = [
    { max_num_seqs: 0 },
    { max_num_batched_tokens: 1.5 },
    { threads: -1 },
    { kv_cache_memory_bytes: Number.NaN },
    { swap_space: -1 },
    { gpu_memory_utilization: 0 },
    { tensor_parallel_size: 2 },
    { data_parallel_size: 0 },
    { max_model_len: Number.POSITIVE_INFINITY },
    { seed: -1 },
  ];
  for (const options of bad) expect(refusal(options).param).toBe(Object.keys(options)[0]!);
  expect(refusal({ max_num_seqs: 64, max_num_batched_tokens: 32 }).param).toBe("max_num_batched_tokens");
});

test("pages on disk: the options that go with the folder, and those that do not", () => {
  expect(config({}).kvCacheDir).toBeNull();
  const given = config({ kv_cache_dir: "/x/../cache", kv_cache_dir_size: 0.5 });
  expect(given.kvCacheDir).toEqual({ path: "/cache", bytes: 2 ** 29, engine: 0, engines: 1 });
  // They go through host pages, which the CPU has none of otherwise.
  expect(config({}).hostKvBytes).toBe(0);
  expect(given.hostKvBytes).toBeGreaterThan(0);
  expect(config({ kv_cache_dir: "cache" }).kvCacheDir).toEqual({
    path: path.resolve("cache"),
    bytes: 32 * 2 ** 30,
    engine: 0,
    engines: 1,
  });
  const bad: LoadOptions[] = [
    { kv_cache_dir: "" },
    { kv_cache_dir: "x", swap_space: 0 },
    { kv_cache_dir: "x", enable_prefix_caching: false },
    { kv_cache_dir_size: 4 },
    { kv_cache_dir_size: 0, kv_cache_dir: "x" },
    { kv_cache_dir_size: Number.NaN, kv_cache_dir: "x" },
  ];
  for (const options of bad) expect(refusal(options).param).toBe(Object.keys(options)[0]!);
});

test("several engines: their devices, and their shares of threads and memory", () => {
  const gpu = { ...cpu, kind: "cuda" } as const;
  const devices = (options: LoadOptions) => engineConfigs(model, gpu, options).map((one) => one.devices);
  expect(devices({})).toEqual([[0]]);
  expect(devices({ data_parallel_size: 4 })).toEqual([[0], [1], [2], [3]]);
  expect(devices({ data_parallel_size: 2, tensor_parallel_size: 2 })).toEqual([
    [0, 1],
    [2, 3],
  ]);
  const events = { data_parallel_size: 2, kv_events_config: { enable_kv_cache_events: true } };
  expect(engineConfigs(model, cpu, events).map((one) => one.kvEventsRank)).toEqual([0, 1]);
  expect(engineConfigs(model, cpu, { data_parallel_size: 2 })[1]).not.toHaveProperty("kvEventsRank");
  const stored = engineConfigs(model, cpu, { data_parallel_size: 2, kv_cache_dir: "x" }).map((one) => one.kvCacheDir);
  expect(stored.map((one) => [one!.engine, one!.engines])).toEqual([
    [0, 2],
    [1, 2],
  ]);
  const threads = (options: LoadOptions) => engineConfigs(model, cpu, options).map((one) => one.threads);
  expect(threads({ threads: 0 })).toEqual([0]);
  expect(threads({ threads: 7, data_parallel_size: 3 })).toEqual([2, 2, 2]);
  expect(threads({ threads: 1, data_parallel_size: 2 })).toEqual([1, 1]);
  const cores = Math.max(1, Math.floor(os.availableParallelism() / 2));
  expect(threads({ data_parallel_size: 2 })).toEqual([cores, cores]);
  const memory = spyOn(process, "availableMemory").mockReturnValue(800 * PAGE);
  try {
    expect(config({}).kvBytes).toBe(200 * PAGE);
    expect(config({ data_parallel_size: 2 }).kvBytes).toBe(100 * PAGE);
    const swap = (options: LoadOptions) => config({ max_model_len: 64, ...options }, gpu).hostKvBytes;
    expect([swap({}), swap({ tensor_parallel_size: 2, data_parallel_size: 2 })]).toEqual([200 * PAGE, 50 * PAGE]);
  } finally {
    memory.mockRestore();
  }
});

test("more engines than GPUs, or than the memory holds, are refused with what would fit", () => {
  const gpu = { ...cpu, kind: "cuda" } as const;
  expect(refusal({ data_parallel_size: 5 }, gpu)).toMatchObject({
    param: "data_parallel_size",
    message: "data_parallel_size 5 needs 5 GPUs, and this machine has 4: lower data_parallel_size to at most 4",
  });
  expect(refusal({ data_parallel_size: 2, tensor_parallel_size: 3 }, gpu).message).toBe(
    "data_parallel_size 2 times tensor_parallel_size 3 needs 6 GPUs, and this machine has 4: lower data_parallel_size to at most 1",
  );
  expect(refusal({ data_parallel_size: 2, tensor_parallel_size: 5 }, gpu).message).toEndWith(
    "lower tensor_parallel_size",
  );
  const memory = spyOn(os, "totalmem").mockReturnValue(100 * PAGE);
  try {
    const options = { kv_cache_memory_bytes: 60 * PAGE, data_parallel_size: 2 };
    const [smaller] = cures(refusal(options).message);
    expect(config({ ...options, ...smaller }).kvBytes).toBe(50 * PAGE);
    const swap = { swap_space: (60 * PAGE) / 2 ** 30, data_parallel_size: 2 };
    expect(refusal(swap, gpu).message).toContain("for each of 2 GPUs");
  } finally {
    memory.mockRestore();
  }
});

test("a library that cannot be opened here: one line says what to do", () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), "fastgen-library-"));
  writeFileSync(path.join(folder, "libfastgen_cpu.so"), "of another kind of machine");
  const code = 'import { chooseDevice } from "./device.ts"; chooseDevice("cpu")';
  const env = { ...process.env, FASTGEN_LIBRARY: folder };
  const child = Bun.spawnSync([process.execPath, "-e", code], { cwd: import.meta.dir, env });
  rmSync(folder, { recursive: true });
  expect(child.stderr.toString()).toMatch(
    /no library for this machine \(linux \w+\): .*npm run build.*FASTGEN_LIBRARY/,
  );
});

test.skipIf(libraryPath("build/libfastgen_cuda.so") !== null)(
  "a GPU that this build cannot use is told of (needs a build without the CUDA library)",
  () => {
    const warnings: string[] = [];
    const warn = (message: string) => warnings.push(message);
    expect(chooseDevice("auto", warn, "/proc/version").kind).toBe("cpu");
    expect(warnings).toEqual([
      expect.stringMatching(/^the GPU is not used: this build has no CUDA library; build .* or choose device cpu$/),
    ]);
    chooseDevice("cpu", warn, "/proc/version");
    chooseDevice("auto", warn, "/nonexistent");
    expect(warnings).toHaveLength(1);
    expect(() => chooseDevice("cuda", warn)).toThrow(/^device cuda: .*npm run build\), or choose cpu or auto$/);
  },
);

test("a GPU's library that cannot be opened is a warning, and the CPU is used", () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), "fastgen-library-"));
  writeFileSync(path.join(folder, "libfastgen_cuda.so"), "of another kind of machine");
  const before = process.env.FASTGEN_LIBRARY;
  process.env.FASTGEN_LIBRARY = folder;
  try {
    const warnings: string[] = [];
    expect(chooseDevice("auto", (message) => warnings.push(message)).kind).toBe("cpu");
    expect(warnings).toEqual([
      expect.stringMatching(/^CUDA cannot be used, so the model runs on the CPU: cannot open/),
    ]);
    // A library that is whole, but another one.
    copyFileSync(libraryPath("build/libllguidance.so")!, path.join(folder, "libfastgen_cuda.so"));
    chooseDevice("auto", (message) => warnings.push(message));
    expect(warnings[1]).toMatch(/: it has no fg_\w+, so it is of another version of Fastgen: build it again/);
  } finally {
    if (before === undefined) delete process.env.FASTGEN_LIBRARY;
    else process.env.FASTGEN_LIBRARY = before;
    rmSync(folder, { recursive: true });
  }
});

test("libfastgen's bounds are those of config.c, and errors name them", async () => {
  const source = await Bun.file(path.join(import.meta.dir, "../libfastgen/config.c")).text();
  expect(source).toContain("MAX_SEQS = 1 << 16 }");
  expect(source).toMatch(/"max_step_tokens", o->max_step_tokens, o->max_seqs, 1 << 20\}/);
  expect(source).toMatch(/"n_threads", o->n_threads, 0, 1024\}/);
  expect(MOST).toEqual({
    max_num_seqs: 1 << 16,
    max_num_batched_tokens: 1 << 20,
    threads: 1024,
    data_parallel_size: 64,
  });
  for (const [name, most] of Object.entries(MOST)) {
    expect(refusal({ [name]: most + 1 }).message).toMatch(
      new RegExp(`^${name} must be .* to ${most}, not ${most + 1}$`),
    );
  }
});

test("fewer tokens per step mean fewer sequences, and CUDA measures its own KV cache", () => {
  expect(config({ max_num_batched_tokens: 32 })).toMatchObject({ maxSeqs: 32, maxStepTokens: 32 });
  const gpu = { ...cpu, kind: "cuda" } as const;
  expect(config({}, gpu).maxStepTokens).toBe(2048);
  expect(config({ quantization: "fp8" }, gpu).maxStepTokens).toBe(4096);
  expect(config({ quantization: "fp8" }).maxStepTokens).toBe(512);
  const cuda = config({ tensor_parallel_size: 2 }, gpu);
  expect(cuda).toMatchObject({ kvBytes: 0, maxContext: 4096, devices: [0, 1] });
  const limited = { kv_cache_memory_bytes: 2 ** 30, max_num_seqs: 2 };
  // Each GPU holds half of each page.
  const halves = config({ ...limited, tensor_parallel_size: 2 }, { ...cpu, kind: "cuda" });
  expect(halves).toMatchObject({ kvBytes: 64 * PAGE, maxContext: 4096 });
  expect(config({ load_format: "dummy", dtype: "float32" })).toMatchObject({ tensors: null, computeDtype: "float32" });
});

test("FP8: weights and KV cache by option, and a checkpoint that is quantised already", () => {
  expect(config({})).toMatchObject({ quantization: "none", kvDtype: config({}).computeDtype });
  expect(config({ quantization: "fp8" })).toMatchObject({ quantization: "fp8_large" });
  for (const kv_cache_dtype of ["fp8", "fp8_e4m3"] as const) {
    const limited = { kv_cache_memory_bytes: 2 ** 30, max_num_seqs: 2 };
    const fp8 = config({ ...limited, kv_cache_dtype });
    expect(fp8.kvDtype).toBe("float8_e4m3");
    // A page has one byte for each value, and a float32 for each token, head, and K or V.
    expect(pageBytes(fp8.shape, "float8_e4m3")).toBe(
      pageBytes(fp8.shape, "bfloat16") / 2 + fp8.shape.layers * 2 * fp8.shape.kvHeads * 64 * 4,
    );
    expect(fp8.kvBytes % pageBytes(fp8.shape, "float8_e4m3")).toBe(0);
  }
  expect(config({ kv_cache_dtype: "bfloat16", dtype: "float32" })).toMatchObject({ kvDtype: "bfloat16" });
  const quantised = { ...model, quantization: "fbgemm_fp8" };
  expect(engineConfig(quantised, cpu, { quantization: "fp8" }).quantization).toBe("none");
  expect(engineConfig(quantised, cpu, { load_format: "dummy" }).quantization).toBe("fp8");
  expect(refusal({ kv_cache_dtype: "fp8_e5m2" as "fp8" }).message).toMatch(/^kv_cache_dtype must be .*, not fp8_e5m2$/);
  expect(refusal({ quantization: "awq" as "fp8" }).message).toMatch(/^quantization must be none, fp8, not awq$/);
});
