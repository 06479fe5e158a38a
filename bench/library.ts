/** Times libfastgen without the engine: prompts, then greedy tokens, submitted one step ahead as the engine does. */
import { join } from "node:path";
import { DEFAULTS, pageBytes } from "../src/device.ts";
import type { DeviceKind, EngineCapacity } from "../src/engine-config.ts";
import { type LibraryConfig, LibraryEngine } from "../src/ffi/engine.ts";
import { FG } from "../src/ffi/layout.ts";
import { greedyFill, StepPlan } from "../src/ffi/step-plan.ts";
import type { Dtype, Model, ModelShape } from "../src/model/shape.ts";

export const LIBRARY_PATH = join(import.meta.dir, "..", "build", "libfastgen_cpu.so");

/** Opens this checkout's library, without weights yet; KV cache and activations have the same dtype. */
export function openLibrary(
  shape: ModelShape,
  device: DeviceKind,
  dtype: Dtype,
  sizes: Pick<LibraryConfig, "maxSeqs" | "maxStepTokens" | "maxContext" | "kvBytes"> & Partial<LibraryConfig>,
): LibraryEngine {
  return LibraryEngine.open({
    device,
    libraryPath: join(import.meta.dir, "..", "build", `libfastgen_${device}.so`),
    devices: [0],
    threads: 0,
    computeDtype: dtype,
    kvDtype: dtype,
    quantization: "none",
    hostKvBytes: 0,
    memoryUtilization: DEFAULTS.gpu_memory_utilization,
    shape,
    ...sizes,
  });
}

export interface Timing {
  /** For the prompts, excluding their last tokens. */
  prefillSeconds: number;
  /** From the prompts' last tokens to the last new token. */
  decodeSeconds: number;
  ids: number[][];
}

export interface LibraryOptions {
  /** Most sequences, and most tokens in each. */
  sequences: number;
  context: number;
  /** 0 = all cores. */
  threads: number;
  dtype: Dtype;
  /** Tokens in one step of prefill. */
  stepTokens: number;
}

export class TimedLibrary {
  private readonly plan: StepPlan;

  private constructor(
    private readonly engine: LibraryEngine,
    private readonly options: LibraryOptions,
    readonly capacity: EngineCapacity,
  ) {
    this.plan = new StepPlan(options.sequences, options.stepTokens);
  }

  static open(model: Model, options: LibraryOptions): TimedLibrary {
    const { shape } = model;
    const pages = options.sequences * Math.ceil(options.context / FG.PAGE_TOKENS);
    const engine = openLibrary(shape, "cpu", options.dtype, {
      threads: options.threads,
      maxSeqs: options.sequences,
      maxStepTokens: options.stepTokens,
      maxContext: options.context,
      kvBytes: pages * pageBytes(shape, options.dtype),
    });
    engine.load(model.tensors);
    return new TimedLibrary(engine, options, engine.ready());
  }

  close(): void {
    this.engine.close();
  }

  /** Prompts of at least two tokens, each continued by `count` greedy ones. */
  run(prompts: number[][], count: number): Timing {
    const { plan } = this;
    const pagesEach = Math.ceil(this.options.context / FG.PAGE_TOKENS);
    const start = performance.now();
    plan.clear();
    for (const slot of prompts.keys()) {
      plan.fills.push(greedyFill(slot));
      for (let i = 0; i < pagesEach; i++) plan.setPage(slot, i, slot * pagesEach + i);
    }
    for (const [slot, prompt] of prompts.entries()) {
      for (let from = 0; from < prompt.length - 1; ) {
        const to = Math.min(prompt.length - 1, from + this.options.stepTokens - plan.tokenCount);
        plan.add({ slot, context: to, flags: 0 }, prompt, from, to);
        from = to;
        if (plan.tokenCount === this.options.stepTokens) this.step();
      }
    }
    if (plan.tokenCount > 0) this.step();
    const middle = performance.now();

    const ids: number[][] = prompts.map(() => []);
    const collect = () => {
      const result = this.engine.wait();
      for (const [slot, list] of ids.entries()) list.push(result.ids[slot]!);
    };
    for (let at = 0; at < count; at++) {
      for (const [slot, prompt] of prompts.entries()) {
        const token = at === 0 ? prompt.at(-1)! : FG.LAST_SAMPLED;
        plan.add({ slot, context: prompt.length + at, flags: FG.SAMPLE }, [token], 0, 1);
      }
      this.engine.submit(plan);
      plan.clear();
      if (at > 0) collect();
    }
    collect();
    const end = performance.now();
    return { prefillSeconds: (middle - start) / 1000, decodeSeconds: (end - middle) / 1000, ids };
  }

  private step(): void {
    this.engine.submit(this.plan);
    this.engine.wait();
    this.plan.clear();
  }
}
