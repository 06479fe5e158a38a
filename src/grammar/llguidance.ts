/**
 * llguidance, the library that compiles grammars and says which tokens may follow, opened by path. Its objects are addresses:
 * they may move between threads, and one thread at a time may use a matcher.
 */
import { CString, FFIType, type Pointer } from "bun:ffi";
import { libraryPath } from "../assets.ts";
import { FastgenError } from "../errors.ts";
import { openLibrary } from "../system/dynamic-library.ts";

const { ptr: P, i32: I32, u32: U32, u64: U64, bool: BOOL, void: VOID } = FFIType;

const SYMBOLS = {
  llg_constraint_init_set_defaults: { args: [P, P], returns: VOID },
  llg_new_tokenizer_v2: { args: [P, P, U64], returns: P },
  llg_free_tokenizer: { args: [P], returns: VOID },
  fastgen_new_matcher: { args: [P, P, P, U64], returns: P },
  fastgen_running_compiles: { args: [], returns: U64 },
  fastgen_release_matcher: { args: [P], returns: VOID },
  fastgen_free_released: { args: [], returns: VOID },
  llg_clone_matcher: { args: [P], returns: P },
  llg_free_matcher: { args: [P], returns: VOID },
  llg_matcher_get_error: { args: [P], returns: P },
  llg_matcher_get_mask_byte_size: { args: [P], returns: U64 },
  fastgen_compute_mask: { args: [P, P, U64], returns: I32 },
  fastgen_allows_token: { args: [P, U32], returns: I32 },
  fastgen_consume_token: { args: [P, U32], returns: I32 },
  fastgen_forced_tokens: { args: [P, P, U64], returns: I32 },
  fastgen_follower_new: { args: [P, I32, BOOL], returns: P },
  fastgen_follower_fill: { args: [P, P, U64], returns: I32 },
  fastgen_follower_check: { args: [P, U32], returns: I32 },
  fastgen_follower_known: { args: [P, I32], returns: I32 },
  fastgen_follower_take: { args: [P, I32, U32], returns: VOID },
  fastgen_follower_followed: { args: [P, I32, P, P], returns: I32 },
  fastgen_follower_free: { args: [P], returns: VOID },
  llg_matcher_is_accepting: { args: [P], returns: BOOL },
  llg_matcher_is_stopped: { args: [P], returns: BOOL },
  fastgen_encoder_new: { args: [P, U64, U64, P, P], returns: P },
  fastgen_encoder_encode: { args: [P, P, U64, P, U64], returns: U64 },
  fastgen_encoder_free: { args: [P], returns: VOID },
} as const;

/** Where a checkout, a package and the executable have the library. */
const LLGUIDANCE_FILE = "build/libllguidance.so";

export class Llguidance {
  readonly calls: ReturnType<typeof openLibrary<typeof SYMBOLS>>["symbols"];

  private constructor(readonly path: string) {
    this.calls = openLibrary(path, SYMBOLS).symbols;
  }

  private static opened: Llguidance | null = null;

  /**
   * The library of this thread, which its first call opens; it stays loaded. A thread beside the main one is told the path,
   * because the files that the executable carries are known to the main thread alone.
   * @throws FastgenError "device": this build has no such library, or it cannot be opened.
   */
  static open(path?: string): Llguidance {
    Llguidance.opened ??= new Llguidance(path ?? ownPath());
    return Llguidance.opened;
  }

  /** Where a function of the library lies, for C to call. */
  addressOf(name: keyof typeof SYMBOLS): number {
    // dlopen gives its functions their addresses; its types do not say so.
    return (this.calls[name] as unknown as { ptr: number }).ptr;
  }

  /** The text at an address that the library returned, or null for none. */
  text(address: Pointer | bigint | null): string | null {
    return address === null ? null : new CString(address).toString();
  }
}

/** Where the library is, or null where this build has none. Only the main thread knows it in the executable. */
export function llguidancePath(): string | null {
  return process.env.FASTGEN_LLGUIDANCE || libraryPath(LLGUIDANCE_FILE);
}

function ownPath(): string {
  const path = llguidancePath();
  if (path) return path;
  throw new FastgenError("device", `this build lacks ${LLGUIDANCE_FILE}, which grammars need: run 'npm run build'`);
}
