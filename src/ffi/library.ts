/**
 * libfastgen, opened by path. Every failing status becomes a FastgenError with the library's
 * own message. Calls on one engine come from one thread at a time (fastgen.h); fg_ready and fg_wait block that thread.
 */
import { CString, FFIType, type Pointer, ptr } from "bun:ffi";
import { type ErrorKind, FastgenError } from "../errors.ts";
import { libraryName, openLibrary } from "../system/dynamic-library.ts";
import { FG, STRUCTS, StructArray } from "./layout.ts";

const { ptr: P, i32: I32, u64: U64, void: VOID } = FFIType;

const SYMBOLS = {
  fg_abi_version: { args: [], returns: I32 },
  fg_error: { args: [], returns: P },
  fg_error_slot: { args: [], returns: I32 },
  fg_devices: { args: [P], returns: I32 },
  fg_device: { args: [I32, P], returns: I32 },
  fg_open: { args: [P, P, P], returns: I32 },
  fg_load: { args: [P, P, I32], returns: I32 },
  fg_load_random: { args: [P, U64], returns: I32 },
  fg_progress: { args: [P, P], returns: I32 },
  fg_ready: { args: [P, P], returns: I32 },
  fg_sleep: { args: [P, I32], returns: I32 },
  fg_wake: { args: [P, I32], returns: I32 },
  fg_copy: { args: [P, P, I32], returns: I32 },
  fg_host_page: { args: [P, I32, I32, P], returns: I32 },
  fg_submit: { args: [P, P], returns: I32 },
  fg_mask: { args: [P, U64, I32, P, P, P], returns: I32 },
  fg_follow: { args: [P, U64, I32, P, P], returns: I32 },
  fg_wait: { args: [P, P], returns: I32 },
  fg_trace_start: { args: [P, I32, I32], returns: I32 },
  fg_trace_stop: { args: [P, P], returns: I32 },
  fg_close: { args: [P], returns: VOID },
} as const;

export interface DeviceInfo {
  name: string;
  memoryBytes: number;
  freeBytes: number;
}

/** FG_INVALID and FG_UNSUPPORTED are missing: the call decides whether they mean a bad model, a bad option or our own bug. */
const STATUS_KINDS: Record<number, ErrorKind> = {
  [FG.OUT_OF_MEMORY]: "out_of_memory",
  [FG.IO]: "model",
  [FG.DEVICE]: "device",
  [FG.BUSY]: "internal",
};

export class Library {
  readonly calls: ReturnType<typeof openLibrary<typeof SYMBOLS>>["symbols"];

  private constructor(readonly path: string) {
    this.calls = openLibrary(path, SYMBOLS).symbols;
    const version = this.calls.fg_abi_version();
    if (version !== FG.ABI_VERSION) {
      throw new FastgenError(
        "device",
        `${libraryName(path)} was built for ABI ${version} and this program for ABI ${FG.ABI_VERSION}: build both from one commit`,
      );
    }
  }

  private static readonly opened = new Map<string, Library>();

  /** Opens a shared library once per thread; it stays loaded. Throws FastgenError "device". */
  static open(path: string): Library {
    let library = Library.opened.get(path);
    if (!library) {
      library = new Library(path);
      Library.opened.set(path, library);
    }
    return library;
  }

  /** Throws unless `status` is FG_OK. `fault` is the kind of error that FG_INVALID and FG_UNSUPPORTED mean in this call. */
  check(status: number, call: string, fault: ErrorKind): void {
    if (status === FG.OK) return;
    const text = this.calls.fg_error();
    const message = text ? new CString(text).toString() : "no reason given";
    throw new FastgenError(STATUS_KINDS[status] ?? fault, `${call}: ${message}`);
  }

  /** The number of devices that this library can use. Opens none of them. */
  deviceCount(): number {
    const count = new Int32Array(new ArrayBuffer(4));
    this.check(this.calls.fg_devices(ptr(count)), "fg_devices", "device");
    return count[0]!;
  }

  /** All devices that this library can use. Opens each of them, which takes a while on GPUs. */
  devices(): DeviceInfo[] {
    return Array.from({ length: this.deviceCount() }, (_, index) => this.device(index));
  }

  device(index: number): DeviceInfo {
    const info = new StructArray(STRUCTS.fg_device_info);
    this.check(this.calls.fg_device(index, ptr(info.bytes)), "fg_device", "invalid_request");
    return {
      name: info.getString("name"),
      memoryBytes: info.getU64("memory_bytes"),
      freeBytes: info.getU64("free_bytes"),
    };
  }
}

/** The address of a typed array's bytes, or null for an empty one. The array must stay referenced while C uses the address. */
export function address(array: NodeJS.TypedArray | null): Pointer | null {
  return array === null || array.byteLength === 0 ? null : ptr(array);
}

/** A NUL-terminated UTF-8 string for C. Throws on an embedded NUL, which would cut it short. */
export function cstring(text: string): Uint8Array {
  if (text.includes("\0")) throw new FastgenError("invalid_request", `"${text}" holds a NUL character`);
  return new TextEncoder().encode(`${text}\0`);
}
