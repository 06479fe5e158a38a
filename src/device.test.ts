import { expect, test } from "bun:test";
import { engineConfig } from "./device.ts";
import { FastgenError } from "./errors.ts";
import type { Model } from "./model/shape.ts";
import type { LoadOptions } from "./types.ts";

/** One page of this model, 64 tokens over 2 layers of 2 heads of 64 in bfloat16, is 64 KiB: 16,384 pages a GiB. */
const model = {
  name: "tiny",
  maxContext: 4096,
  dtype: "bfloat16",
  tensors: [],
  shape: { layers: 2, kvHeads: 2, headDim: 64 },
} as unknown as Model;
const cpu = { kind: "cpu", libraryPath: "x.so" } as const;
const config = (options: LoadOptions, device: Parameters<typeof engineConfig>[1] = cpu) =>
  engineConfig(model, device, options);
const PAGE = 64 * 1024;

function refusal(options: LoadOptions) {
  try {
    config(options);
  } catch (error) {
    if (error instanceof FastgenError && error.kind === "invalid_request") return error;
    throw error;
  }
  throw new Error("was accepted");
}

test("the KV cache bounds the context when nothing was asked for", () => {
  expect(config({ kv_cache_gib: (10 * PAGE) / 2 ** 30 })).toMatchObject({ kvBytes: 10 * PAGE, maxContext: 640 });
  expect(config({ kv_cache_gib: 1, max_num_seqs: 2 })).toMatchObject({ kvBytes: 128 * PAGE, maxContext: 4096 });
});

test("a context that does not fit is refused with what would fit", () => {
  const error = refusal({ kv_cache_gib: (10 * PAGE) / 2 ** 30, max_model_len: 641 });
  expect(error.param).toBe("max_model_len");
  expect(error.message).toContain("at most 640");
  expect(refusal({ kv_cache_gib: 0 }).param).toBe("kv_cache_gib");
  expect(refusal({ max_model_len: 4097 }).message).toContain("4096");
});

test("options that make no sense are refused by name", () => {
  const bad: LoadOptions[] = [
    { max_num_seqs: 0 },
    { max_num_batched_tokens: 1.5 },
    { threads: -1 },
    { kv_cache_gib: Number.NaN },
    { swap_space_gib: -1 },
    { gpu_memory_utilization: 0 },
    { tensor_parallel_size: 2 },
    { max_model_len: Number.POSITIVE_INFINITY },
    { seed: -1 },
  ];
  for (const options of bad) expect(refusal(options).param).toBe(Object.keys(options)[0]!);
  expect(refusal({ max_num_seqs: 64, max_num_batched_tokens: 32 }).param).toBe("max_num_batched_tokens");
});

test("fewer tokens a step mean fewer sequences, and CUDA measures its own KV cache", () => {
  expect(config({ max_num_batched_tokens: 32 })).toMatchObject({ maxSeqs: 32, maxStepTokens: 32 });
  const cuda = config({ tensor_parallel_size: 2 }, { ...cpu, kind: "cuda" });
  expect(cuda).toMatchObject({ kvBytes: 0, maxContext: 4096, devices: [0, 1] });
  const limited = { kv_cache_gib: 1, max_num_seqs: 2 };
  // Of a page, half is on each.
  const halves = config({ ...limited, tensor_parallel_size: 2 }, { ...cpu, kind: "cuda" });
  expect(halves).toMatchObject({ kvBytes: 64 * PAGE, maxContext: 4096 });
  expect(config({ load_format: "dummy", dtype: "float32" })).toMatchObject({ tensors: null, computeDtype: "float32" });
});
