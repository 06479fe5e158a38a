/** A matcher that libfastgen's sampler takes along: it goes on by each token where that is sampled. */
import { type Pointer, ptr } from "bun:ffi";
import { STRUCTS, StructArray } from "../ffi/layout.ts";
import { Llguidance } from "./llguidance.ts";

/** The most ids that are forced behind one token: llguidance/src/follower.rs. */
const MOST_FORCED = 1024;

/** One for each thread, because each thread loads this file for itself. */
const forced = new Int32Array(new ArrayBuffer(MOST_FORCED * 4));
const over = new Uint8Array(new ArrayBuffer(1));
const [forcedAt, overAt] = [ptr(forced), ptr(over)];
const NOTHING = new Int32Array(0);

/** What followed a token that was sampled. */
export interface Followed {
  /** The ids that had to: the matcher is behind them. */
  readonly forced: Int32Array;
  /** Nothing can follow these, or the matcher has failed. */
  readonly over: boolean;
}

const FREE: Followed = { forced: NOTHING, over: false };

export class Follower {
  readonly #library = Llguidance.open();
  /** The `source` of fg_follow. */
  readonly pointer: number;

  /**
   * Nobody else may use `matcher` until free(), but to ask for its error and whether it is accepting once nothing can be
   * sampled for it any more. `position`: so many tokens are before the one that it expects. `checks`: nothing is forced there.
   */
  constructor(matcher: { readonly pointer: number }, position: number, checks: boolean) {
    const { calls } = this.#library;
    this.pointer = calls.fastgen_follower_new(matcher.pointer as Pointer, position, checks) as number;
  }

  /** An fg_follower: the functions that the sampler calls with `pointer`. */
  static functions(): Uint8Array<ArrayBuffer> {
    const library = Llguidance.open();
    const functions = new StructArray(STRUCTS.fg_follower);
    functions.u64("fill", library.addressOf("fastgen_follower_fill"));
    functions.u64("check", library.addressOf("fastgen_follower_check"));
    functions.u64("known", library.addressOf("fastgen_follower_known"));
    functions.u64("take", library.addressOf("fastgen_follower_take"));
    return functions.bytes;
  }

  /**
   * What followed the token sampled at `position`, in a step that is over. Null: the grammar did not take it. Of the last two
   * positions sampled.
   */
  followed(position: number): Followed | null {
    const { calls } = this.#library;
    const count = calls.fastgen_follower_followed(this.pointer as Pointer, position, forcedAt, overAt);
    if (count < 0) return null;
    // The usual case, for every token.
    if (count === 0 && over[0] === 0) return FREE;
    return { forced: forced.slice(0, count), over: over[0] !== 0 };
  }

  /** Once, before the matcher is freed. */
  free(): void {
    this.#library.calls.fastgen_follower_free(this.pointer as Pointer);
  }
}
