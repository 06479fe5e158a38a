/** One engine of libfastgen: fg_open to fg_close. Not for several threads at once. */
import { type Pointer, ptr } from "bun:ffi";
import type { EngineCapacity, EngineConfig } from "../engine-config.ts";
import { FastgenError } from "../errors.ts";
import type { ModelShape, TensorSource } from "../model/shape.ts";
import { DTYPES, FG, roleNumber, STRUCTS, StructArray } from "./layout.ts";
import { address, cstring, Library } from "./library.ts";
import { ResultReader, StepPacker, type StepResult } from "./step.ts";
import type { StepPlan } from "./step-plan.ts";

export interface LoadState {
  /** Bytes. */
  done: number;
  total: number;
  finished: boolean;
  /** Host pages that copies may name by now: grows after ready() while the library makes the memory. */
  hostPages: number;
}

/** The part of EngineConfig that the library itself needs. */
export type LibraryConfig = Omit<
  EngineConfig,
  "grammarLibrary" | "prefixCaching" | "schedulingPolicy" | "kvCacheDir" | "tensors" | "seed"
>;

const COPY_INTS = STRUCTS.fg_page_copy.size / 4;

export class LibraryEngine {
  private readonly packer = new StepPacker();
  private readonly reader: ResultReader;
  private readonly progressStruct = new StructArray(STRUCTS.fg_load_progress);
  /** For each step in flight, oldest first, its number of rows with logits: fg_wait needs room for them. */
  private readonly logitsRows: number[] = [];
  /** Tensors and scales whose bytes the library reads until ready() returns. */
  private pinned: (Uint8Array | Float32Array)[] = [];
  private handle: Pointer | null;
  /** Steps submitted. */
  private steps = 0;
  /** Masks that went with the newest of them: its late masks are numbered behind these. */
  private masks = 0;
  /** The slot that the last refused step was refused for: without its sequence, the step may be accepted. -1 = no slot. */
  refusedSlot = -1;

  private constructor(
    private readonly library: Library,
    private readonly config: LibraryConfig,
    handle: Pointer,
  ) {
    this.handle = handle;
    this.reader = new ResultReader(config.maxStepTokens);
  }

  /** Opens the library and makes an engine. Then call load() or loadRandom(), and ready(). Throws FastgenError. */
  static open(config: LibraryConfig): LibraryEngine {
    const library = Library.open(config.libraryPath);
    const shape = packShape(config.shape);
    const options = packOptions(config);
    const handle = new BigUint64Array(new ArrayBuffer(8));
    const status = library.calls.fg_open(ptr(shape.struct.bytes), ptr(options.struct.bytes), ptr(handle));
    keepAlive(shape, options);
    library.check(status, "fg_open", "model");
    return new LibraryEngine(library, config, Number(handle[0]) as Pointer);
  }

  private get open(): Pointer {
    if (this.handle === null) throw new FastgenError("unavailable", "the engine is closed");
    return this.handle;
  }

  /**
   * Starts loading the checkpoint and returns. Tensors in memory stay referenced until ready(). After ready(), and with no step
   * in flight, it replaces all weights. What is refused here changes nothing.
   */
  load(tensors: readonly TensorSource[]): void {
    const table = new StructArray(STRUCTS.fg_tensor, tensors.length);
    const pinned: (Uint8Array | Float32Array)[] = [];
    const paths = new Map<string, Uint8Array>();
    for (const [i, tensor] of tensors.entries()) {
      const { where } = tensor;
      if ("path" in where) {
        const path = paths.get(where.path) ?? cstring(where.path);
        paths.set(where.path, path);
        table.u64("path", ptr(path), i);
        table.u64("offset", where.offset, i);
        table.u64("bytes", where.bytes, i);
      } else if ("ipcHandle" in where) {
        if (where.ipcHandle.byteLength !== FG.IPC_HANDLE_BYTES) {
          throw new FastgenError(
            "invalid_request",
            `the IPC handle of ${tensor.role} of layer ${tensor.layer} has ${where.ipcHandle.byteLength} bytes; it must have ${FG.IPC_HANDLE_BYTES}`,
          );
        }
        table.u64("ipc_handle", address(where.ipcHandle) ?? 0, i);
        table.u64("offset", where.offset, i);
        table.u64("bytes", where.bytes, i);
      } else {
        pinned.push(where.data);
        table.u64("data", address(where.data) ?? 0, i);
        table.u64("bytes", where.data.byteLength, i);
      }
      table.i32("role", roleNumber(tensor.role), i);
      table.i32("layer", tensor.layer, i);
      table.i32("dtype", DTYPES[tensor.dtype], i);
      table.i32("rows", tensor.dims[0] ?? 0, i);
      table.i32("cols", tensor.dims[1] ?? 1, i);
      const { scale } = tensor;
      if (!scale) continue;
      pinned.push(scale.values);
      table.u64("scale", address(scale.values) ?? 0, i);
      table.i32("scale_rows", scale.rows, i);
      table.i32("scale_cols", scale.cols, i);
      table.f32("input_scale", scale.input, i);
      table.f32("input_bound", scale.inputBound, i);
    }
    const status = this.library.calls.fg_load(this.open, ptr(table.bytes), tensors.length);
    keepAlive(paths, table, tensors);
    this.library.check(status, "fg_load", "model");
    this.pinned.push(...pinned);
  }

  /** Starts making random weights on the device and returns. The same seed gives the same weights. */
  loadRandom(seed: number | bigint): void {
    this.library.check(
      this.library.calls.fg_load_random(this.open, BigInt.asUintN(64, BigInt(seed))),
      "fg_load_random",
      "invalid_request",
    );
  }

  progress(): LoadState {
    const { progressStruct: p } = this;
    this.library.check(this.library.calls.fg_progress(this.open, ptr(p.bytes)), "fg_progress", "internal");
    return {
      done: p.getU64("done"),
      total: p.getU64("total"),
      finished: p.getI32("finished") !== 0,
      hostPages: p.getI32("n_host_pages"),
    };
  }

  /** Blocks until the weights are in place, then allocates the KV cache, the first time. Later: the same capacity. */
  ready(): EngineCapacity {
    const capacity = new StructArray(STRUCTS.fg_capacity);
    const status = this.library.calls.fg_ready(this.open, ptr(capacity.bytes));
    this.pinned = [];
    this.library.check(status, "fg_ready", "model");
    return {
      pages: capacity.getI32("n_pages"),
      hostPages: capacity.getI32("n_host_pages"),
      pageBytes: capacity.getU64("page_bytes"),
      weightBytes: capacity.getU64("weight_bytes"),
      graphs: capacity.getI32("graphs"),
      threads: capacity.getI32("n_threads"),
      follows: capacity.getI32("follows") !== 0,
      deviceName: this.deviceName(),
    };
  }

  /**
   * Gives memory back to the system until wake(). Level 1 keeps the weights in the host's memory, level 2 drops them. All KV
   * pages, also the host's, lose what they hold. With no step in flight.
   */
  sleep(level: 1 | 2): void {
    this.library.check(this.library.calls.fg_sleep(this.open, level), "fg_sleep", "invalid_request");
  }

  /**
   * Brings back what sleeps of these. Weights that level 2 has dropped must be loaded before the next step. Throws
   * "out_of_memory" when others have taken the device's memory; it may be tried again.
   */
  wake(what: { weights: boolean; kvCache: boolean }): void {
    const bits = (what.weights ? FG.WAKE_WEIGHTS : 0) | (what.kvCache ? FG.WAKE_KV_CACHE : 0);
    this.library.check(this.library.calls.fg_wake(this.open, bits), "fg_wake", "invalid_request");
  }

  /**
   * Makes page copies, each [page, host page, direction] as in a StepPlan, while no step is in flight. Blocks until they are
   * made.
   */
  copyPages(copies: Int32Array<ArrayBuffer>): void {
    const status = this.library.calls.fg_copy(this.open, address(copies), copies.length / COPY_INTS);
    this.library.check(status, "fg_copy", "internal");
  }

  /**
   * The addresses of a host page that copies may name, one a rank, each of capacity.pageBytes bytes. They are good until
   * close(), in any thread of this process; fastgen.h says when their bytes may be read and written.
   */
  hostPage(hostPage: number): number[] {
    const out = new BigUint64Array(new ArrayBuffer(8));
    return this.config.devices.map((_, rank) => {
      this.library.check(
        this.library.calls.fg_host_page(this.open, rank, hostPage, ptr(out)),
        "fg_host_page",
        "internal",
      );
      return Number(out[0]);
    });
  }

  private deviceName(): string {
    const { devices } = this.config;
    const { name } = this.library.device(devices[0] ?? 0);
    return devices.length > 1 ? `${devices.length} × ${name}` : name;
  }

  /**
   * Queues the plan's page copies and its step, and returns at once. The plan may then be reused. Throws when the step is
   * refused, and nothing has changed then; `refusedSlot` says whether one slot is the reason.
   */
  submit(plan: StepPlan): void {
    const { calls } = this.library;
    this.packer.pack(plan);
    const status = calls.fg_submit(this.open, this.packer.address);
    keepAlive(plan);
    this.refusedSlot = status === FG.OK ? -1 : calls.fg_error_slot();
    this.library.check(status, "fg_submit", this.refusedSlot < 0 ? "internal" : "invalid_request");
    plan.submitted();
    this.steps++;
    this.masks = plan.maskCount;
    this.logitsRows.push(plan.logitsRowCount);
  }

  /** Gives late mask `row` of the newest step, counted among its late ones, while that is in flight. `words` are copied. */
  giveMask(row: number, words: Uint32Array): void {
    this.passMask(row, null, null, ptr(words));
  }

  /**
   * The same mask is what the function at `fill` (fg_mask_fill) makes of `source`, on a thread of the library: nobody else may
   * use `source` until wait() has taken that step out of flight. `check` (fg_mask_check), or null, may spare the work.
   */
  giveMaskSource(row: number, fill: number, check: number | null, source: number): void {
    this.passMask(row, fill as Pointer, check as Pointer | null, source as Pointer);
  }

  private passMask(row: number, fill: Pointer | null, check: Pointer | null, source: Pointer): void {
    const status = this.library.calls.fg_mask(this.open, this.steps - 1, this.masks + row, fill, check, source);
    this.library.check(status, "fg_mask", "internal");
  }

  /**
   * The same mask is what a source makes that the sampler takes along: it may be given for a row of each step in flight.
   * `functions`: an fg_follower. Nobody else may use `source` until wait() has taken these steps out of flight.
   */
  giveFollower(row: number, functions: Uint8Array<ArrayBuffer>, source: number): void {
    const { calls } = this.library;
    const status = calls.fg_follow(this.open, this.steps - 1, this.masks + row, ptr(functions), source as Pointer);
    this.library.check(status, "fg_follow", "internal");
  }

  /**
   * Blocks until the oldest step in flight is done. The next wait overwrites the result. Throws when that step failed, which
   * also takes it out of flight.
   */
  wait(): StepResult {
    const rows = this.logitsRows.shift() ?? 0;
    this.reader.reserveLogits(rows * this.config.shape.vocabSize);
    this.library.check(this.library.calls.fg_wait(this.open, this.reader.address), "fg_wait", "internal");
    return this.reader;
  }

  /**
   * Records the ops of the next `steps` steps, or of all until traceStop() (0), and what a GPU runs for them.
   * @param process the pid of the trace's rows
   */
  traceStart(process: number, steps: number): void {
    const status = this.library.calls.fg_trace_start(this.open, process, steps);
    this.library.check(status, "fg_trace_start", "invalid_request");
  }

  /** Waits for the device, ends the trace and writes it to `path`, in Chrome's trace event format. */
  traceStop(path: string): void {
    const text = cstring(path);
    this.library.check(this.library.calls.fg_trace_stop(this.open, ptr(text)), "fg_trace_stop", "invalid_request");
  }

  /** Waits for the steps in flight, then frees everything. A second call does nothing. */
  close(): void {
    if (this.handle === null) return;
    this.library.calls.fg_close(this.handle);
    this.handle = null;
    this.pinned = [];
  }
}

/** Keeps values from being collected before this call. Call it after a native call, with what its arguments point at. */
const keptAlive: { last: unknown } = { last: null };
function keepAlive(...values: unknown[]): void {
  keptAlive.last = values;
  keptAlive.last = null;
}

function packShape(shape: ModelShape) {
  const struct = new StructArray(STRUCTS.fg_shape);
  struct.i32("n_layers", shape.layers);
  struct.i32("hidden_size", shape.hiddenSize);
  struct.i32("n_heads", shape.heads);
  struct.i32("n_kv_heads", shape.kvHeads);
  struct.i32("head_dim", shape.headDim);
  struct.i32("intermediate_size", shape.intermediateSize);
  struct.i32("vocab_size", shape.vocabSize);
  struct.i32("qkv_bias", Number(shape.qkvBias));
  struct.i32("qk_norm", Number(shape.qkNorm));
  struct.i32("tied_embeddings", Number(shape.tiedEmbeddings));
  struct.f32("rms_norm_eps", shape.rmsNormEps);
  struct.f32("rope_scale", shape.ropeScale);
  struct.u64("rope_inv_freq", address(shape.ropeInvFreq) ?? 0);
  struct.u64("layer_window", address(shape.layerWindow) ?? 0);
  return { struct, shape };
}

const QUANTIZATIONS = { none: FG.QUANTIZE_NONE, fp8: FG.QUANTIZE_FP8, fp8_large: FG.QUANTIZE_FP8_LARGE } as const;

function packOptions(config: LibraryConfig) {
  const struct = new StructArray(STRUCTS.fg_options);
  const devices = Int32Array.from(config.devices);
  struct.u64("devices", address(devices) ?? 0);
  struct.i32("n_devices", devices.length);
  struct.i32("n_threads", config.threads);
  struct.i32("max_seqs", config.maxSeqs);
  struct.i32("max_step_tokens", config.maxStepTokens);
  struct.i32("max_context", config.maxContext);
  struct.i32("compute_dtype", DTYPES[config.computeDtype]);
  struct.i32("kv_dtype", DTYPES[config.kvDtype]);
  struct.i32("quantization", QUANTIZATIONS[config.quantization]);
  struct.u64("kv_bytes", Math.floor(config.kvBytes));
  struct.u64("host_kv_bytes", Math.floor(config.hostKvBytes));
  struct.f64("memory_utilization", config.memoryUtilization);
  return { struct, devices };
}
