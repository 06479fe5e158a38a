/**
 * fastgen.h in TypeScript: its constants, and the layout that a 64-bit C compiler gives each struct. layout.test.ts compares
 * all of them with the compiler's.
 */
import { ROLES, type Role, type StoredDtype } from "../model/shape.ts";

/** The enum values of fastgen.h, without their FG_ prefix. Roles and dtypes are below. */
export const FG = {
  ABI_VERSION: 8,
  PAGE_TOKENS: 64,
  SCALE_BLOCK: 128,
  STEPS_IN_FLIGHT: 2,
  MAX_LOGPROBS: 20,
  MAX_STOP_IDS: 128,
  MAX_LOGIT_BIAS: 1024,
  LAST_SAMPLED: -1,
  MASK_WAIT_US: 1000,
  IPC_HANDLE_BYTES: 64,
  TRACE_EVENTS: 2 ** 20,
  // what fg_wake brings back
  WAKE_WEIGHTS: 1,
  WAKE_KV_CACHE: 2,
  // instead of a sampled id
  NO_TOKEN: -1,
  MASK_LATE: -2,
  MASK_FAILED: -3,
  // fg_status
  OK: 0,
  INVALID: 1,
  OUT_OF_MEMORY: 2,
  IO: 3,
  DEVICE: 4,
  UNSUPPORTED: 5,
  BUSY: 6,
  // flags of fg_step_seq
  SAMPLE: 1,
  SCORE: 2,
  LOGITS: 4,
  // fg_quantization
  QUANTIZE_NONE: 0,
  QUANTIZE_FP8: 1,
  QUANTIZE_FP8_LARGE: 2,
  FP8_LARGE: 1 << 20,
  // fg_logprobs_mode
  RAW_LOGPROBS: 0,
  PROCESSED_LOGPROBS: 1,
  // fg_direction
  TO_HOST: 0,
  TO_DEVICE: 1,
  TO_DEVICE_BESIDE: 2,
} as const;

/** fg_dtype. */
export const DTYPES: Record<StoredDtype, number> = { float32: 0, float16: 1, bfloat16: 2, float8_e4m3: 3 };

/** fg_role. */
export function roleNumber(role: Role): number {
  return ROLES.indexOf(role);
}

type Scalar = "i32" | "f32" | "i64" | "u64" | "f64" | "ptr";
// biome-ignore lint/suspicious/noExplicitAny: a nested struct's field names do not matter here
type Field = Scalar | { chars: number } | Struct<any>;

/** Byte offsets of a struct's fields, and its size. */
export interface Struct<Names extends string = string> {
  readonly size: number;
  readonly align: number;
  readonly at: Readonly<Record<Names, number>>;
}

const SCALAR_BYTES: Record<Scalar, number> = { i32: 4, f32: 4, i64: 8, u64: 8, f64: 8, ptr: 8 };

/** Lays fields out in order, each at its natural alignment: the rule of System V and AAPCS64, with pointers of 8 bytes. */
export function struct<F extends Record<string, Field>>(fields: F): Struct<Extract<keyof F, string>> {
  const at: Record<string, number> = {};
  let end = 0;
  let align = 1;
  for (const [name, field] of Object.entries(fields) as [string, Field][]) {
    const [bytes, fieldAlign] =
      typeof field === "string"
        ? [SCALAR_BYTES[field], SCALAR_BYTES[field]]
        : "chars" in field
          ? [field.chars, 1]
          : [field.size, field.align];
    end = roundUp(end, fieldAlign);
    at[name] = end;
    end += bytes;
    align = Math.max(align, fieldAlign);
  }
  return { size: roundUp(end, align), align, at: at as Record<Extract<keyof F, string>, number> };
}

function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}

const shape = struct({
  n_layers: "i32",
  hidden_size: "i32",
  n_heads: "i32",
  n_kv_heads: "i32",
  head_dim: "i32",
  intermediate_size: "i32",
  vocab_size: "i32",
  qkv_bias: "i32",
  qk_norm: "i32",
  tied_embeddings: "i32",
  rms_norm_eps: "f32",
  rope_scale: "f32",
  rope_inv_freq: "ptr",
  layer_window: "ptr",
});

const options = struct({
  devices: "ptr",
  n_devices: "i32",
  n_threads: "i32",
  mask_threads: "i32",
  max_seqs: "i32",
  max_step_tokens: "i32",
  max_context: "i32",
  compute_dtype: "i32",
  kv_dtype: "i32",
  quantization: "i32",
  kv_bytes: "u64",
  host_kv_bytes: "u64",
  memory_utilization: "f64",
});

const tensor = struct({
  path: "ptr",
  data: "ptr",
  ipc_handle: "ptr",
  scale: "ptr",
  offset: "u64",
  bytes: "u64",
  role: "i32",
  layer: "i32",
  dtype: "i32",
  rows: "i32",
  cols: "i32",
  scale_rows: "i32",
  scale_cols: "i32",
  input_scale: "f32",
  input_bound: "f32",
  reserved: "i32",
});

const loadProgress = struct({ done: "u64", total: "u64", finished: "i32", n_host_pages: "i32" });

const capacity = struct({
  n_pages: "i32",
  n_host_pages: "i32",
  page_bytes: "u64",
  weight_bytes: "u64",
  graphs: "i32",
  n_threads: "i32",
  follows: "i32",
});

const follower = struct({ fill: "ptr", check: "ptr", known: "ptr", take: "ptr" });

const deviceInfo = struct({ name: { chars: 128 }, memory_bytes: "u64", free_bytes: "u64" });

const sampling = struct({
  seed: "u64",
  temperature: "f32",
  top_p: "f32",
  min_p: "f32",
  top_k: "i32",
  repetition_penalty: "f32",
  presence_penalty: "f32",
  frequency_penalty: "f32",
  min_context: "i32",
  stop_ids: "ptr",
  bias_ids: "ptr",
  bias: "ptr",
  history: "ptr",
  n_stop_ids: "i32",
  n_bias: "i32",
  n_prompt: "i32",
  n_output: "i32",
  logprobs_mode: "i32",
  reserved: "i32",
});

const slotFill = struct({ slot: "i32", reserved: "i32", sampling });

const pageUpdate = struct({ slot: "i32", index: "i32", page: "i32" });

const stepSeq = struct({
  slot: "i32",
  n_new: "i32",
  context: "i32",
  flags: "i32",
  next_token: "i32",
  n_logprobs: "i32",
  mask: "i32",
});

const step = struct({
  n_seqs: "i32",
  n_tokens: "i32",
  n_page_updates: "i32",
  n_fills: "i32",
  n_masks: "i32",
  n_late_masks: "i32",
  n_copies: "i32",
  seqs: "ptr",
  tokens: "ptr",
  page_updates: "ptr",
  fills: "ptr",
  masks: "ptr",
  copies: "ptr",
});

const result = struct({
  step: "u64",
  n_rows: "i32",
  row_capacity: "i32",
  ids: "ptr",
  logprobs: "ptr",
  ranks: "ptr",
  top_ids: "ptr",
  top_logprobs: "ptr",
  logits: "ptr",
  logits_capacity: "i64",
  run_seconds: "f64",
  idle_seconds: "f64",
  to_host_seconds: "f64",
  to_device_seconds: "f64",
});

const pageCopy = struct({ page: "i32", host_page: "i32", direction: "i32" });

/** By the struct's name in fastgen.h. */
export const STRUCTS = {
  fg_shape: shape,
  fg_options: options,
  fg_tensor: tensor,
  fg_load_progress: loadProgress,
  fg_capacity: capacity,
  fg_device_info: deviceInfo,
  fg_follower: follower,
  fg_sampling: sampling,
  fg_slot_fill: slotFill,
  fg_page_update: pageUpdate,
  fg_step_seq: stepSeq,
  fg_step: step,
  fg_result: result,
  fg_page_copy: pageCopy,
} as const;

/**
 * One or more structs in memory, whose fields are written and read by offset. The buffer is an explicit ArrayBuffer: without
 * one, the storage of a small typed array may move when its `buffer` is first read, and C would keep the old address.
 */
export class StructArray<Names extends string> {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly view: DataView<ArrayBuffer>;

  constructor(
    private readonly layout: Struct<Names>,
    readonly length = 1,
  ) {
    this.bytes = new Uint8Array(new ArrayBuffer(Math.max(layout.size * length, 1)));
    this.view = new DataView(this.bytes.buffer);
  }

  private at(name: Names, index: number): number {
    return index * this.layout.size + this.layout.at[name];
  }

  i32(name: Names, value: number, index = 0): void {
    this.view.setInt32(this.at(name, index), value, true);
  }
  f32(name: Names, value: number, index = 0): void {
    this.view.setFloat32(this.at(name, index), value, true);
  }
  f64(name: Names, value: number, index = 0): void {
    this.view.setFloat64(this.at(name, index), value, true);
  }
  /** A C bool. */
  flag(name: Names, value: boolean, index = 0): void {
    this.view.setUint8(this.at(name, index), value ? 1 : 0);
  }
  /** Also for pointers, and for counts that a double holds exactly. */
  u64(name: Names, value: number | bigint, index = 0): void {
    this.view.setBigUint64(this.at(name, index), BigInt(value), true);
  }
  getI32(name: Names, index = 0): number {
    return this.view.getInt32(this.at(name, index), true);
  }
  getF64(name: Names, index = 0): number {
    return this.view.getFloat64(this.at(name, index), true);
  }
  /** Sizes and counts: exact below 2^53. */
  getU64(name: Names, index = 0): number {
    return Number(this.view.getBigUint64(this.at(name, index), true));
  }
  /** A NUL-terminated string inside the struct. */
  getString(name: Names, index = 0): string {
    const start = this.at(name, index);
    const end = this.bytes.indexOf(0, start);
    return new TextDecoder().decode(this.bytes.subarray(start, end));
  }
}
