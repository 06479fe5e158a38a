/** Where a sequence stands in its grammar: which tokens may follow, which must. */
import { type Pointer, ptr } from "bun:ffi";
import { readableError } from "./grammar-error.ts";
import { Llguidance } from "./llguidance.ts";

/** Forced tokens asked for at once; those beyond it come with the next call. */
const MAX_FORCED = 1024;

/** One for each thread, because each thread loads this file for itself. */
const forced = new Int32Array(new ArrayBuffer(MAX_FORCED * 4));
const NOTHING = new Int32Array(0);

/** One thread uses it at a time. */
export class Matcher {
  readonly #library = Llguidance.open();
  #freed = false;

  /**
   * Takes over `pointer` (an LlgMatcher), which CompiledGrammar.newMatcher() made. A thread beside the main one calls
   * Llguidance.open(path) before.
   */
  constructor(readonly pointer: number) {}

  /** The address of the function that fills in a mask: the `fill` of fg_mask, whose `source` is `pointer`. */
  static get fill(): number {
    return Llguidance.open().addressOf("fastgen_compute_mask");
  }

  /** The address of the function that asks allows(): the `check` of fg_mask. */
  static get check(): number {
    return Llguidance.open().addressOf("fastgen_allows_token");
  }

  get #address(): Pointer {
    if (this.#freed) throw new Error("the matcher was freed");
    return this.pointer as Pointer;
  }

  /** False: the token is not allowed here, or the matcher failed before. Then it has failed for good; `error` says why. */
  consume(token: number): boolean {
    return this.#library.calls.fastgen_consume_token(this.#address, token) === 0;
  }

  /**
   * Whether the mask would allow `token`, for certain, while no tokens are forced. Far less work than the mask. False: it would
   * not, or only the mask can tell.
   */
  allows(token: number): boolean {
    return this.#library.calls.fastgen_allows_token(this.#address, token) === 1;
  }

  /** The ids that must follow now, as the tokenizer would write their text; empty where there are none, or the matcher failed. */
  forcedTokens(): Int32Array {
    const count = this.#library.calls.fastgen_forced_tokens(this.#address, ptr(forced), MAX_FORCED);
    return count > 0 ? forced.slice(0, count) : NOTHING;
  }

  /** One bit for each token of the vocabulary, 1 = may follow. False: the matcher has failed. */
  fillMask(mask: Uint32Array): boolean {
    const { calls } = this.#library;
    return calls.fastgen_compute_mask(this.#address, ptr(mask), BigInt(mask.byteLength)) === 0;
  }

  /** Bytes of a mask: a bit for each token, in whole words of 32 bits. */
  get maskBytes(): number {
    return Number(this.#library.calls.llg_matcher_get_mask_byte_size(this.#address));
  }

  /** Nothing can follow any more, not even a stop id; also when it has failed. */
  get stopped(): boolean {
    return this.#library.calls.llg_matcher_is_stopped(this.#address);
  }

  /** The text may end here: the mask allows the stop ids. */
  get accepting(): boolean {
    return this.#library.calls.llg_matcher_is_accepting(this.#address);
  }

  /** Why it has failed, or null while it has not. */
  get error(): string | null {
    const message = this.#library.text(this.#library.calls.llg_matcher_get_error(this.#address));
    return message === null ? null : readableError(message);
  }

  /** Gives its memory back. The second call does nothing. */
  free(): void {
    if (this.#freed) return;
    this.#library.calls.llg_free_matcher(this.#address);
    this.#freed = true;
  }
}
