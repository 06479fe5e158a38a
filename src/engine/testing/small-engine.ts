/** For tests: what a real engine on the CPU is opened with, for a small model with random weights. */
import { test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { EngineConfig } from "../../engine-config.ts";

const libraryPath = join(import.meta.dir, "../../../build/libfastgen_cpu.so");
const noLibrary = !existsSync(libraryPath);
if (noLibrary) console.log(`skipped: ${libraryPath} is not built (make -C libfastgen)`);

/** A test that is skipped where the library is not built. */
export const engineTest = test.skipIf(noLibrary);

export const SMALL_VOCAB = 100;
/** Bytes of a page of its one layer and head, in float32. */
const SMALL_PAGE_BYTES = 2 * 32 * 64 * 4;

export const SMALL_ENGINE: EngineConfig = {
  device: "cpu",
  libraryPath,
  grammarLibrary: null,
  devices: [0],
  threads: 1,
  computeDtype: "float32",
  kvDtype: "float32",
  quantization: "none",
  maxSeqs: 4,
  maxStepTokens: 256,
  maxContext: 1024,
  kvBytes: 32 * SMALL_PAGE_BYTES,
  hostKvBytes: 0,
  kvCacheDir: null,
  memoryUtilization: 0.9,
  prefixCaching: true,
  schedulingPolicy: "fcfs",
  shape: {
    layers: 1,
    hiddenSize: 32,
    heads: 1,
    kvHeads: 1,
    headDim: 32,
    intermediateSize: 32,
    vocabSize: SMALL_VOCAB,
    qkvBias: false,
    qkNorm: false,
    tiedEmbeddings: true,
    rmsNormEps: 1e-5,
    ropeScale: 1,
    ropeInvFreq: Float32Array.from({ length: 16 }, (_, i) => 10000 ** (-i / 16)),
    layerWindow: new Int32Array(1),
  },
  tensors: null,
  seed: 7,
};
