/** A grammar that was compiled, for as long as somebody uses it. */
import type { Pointer } from "bun:ffi";
import type { Llguidance } from "./llguidance.ts";

export class CompiledGrammar {
  #users = 0;

  /** Takes over `pointer`, an LlgMatcher at the grammar's start that is only ever cloned. */
  constructor(
    private readonly library: Llguidance,
    private readonly pointer: number,
  ) {}

  /** Where llguidance was opened: a thread that makes a Matcher opens it there. */
  get libraryPath(): string {
    return this.library.path;
  }

  /**
   * A matcher at the grammar's start, by its address; it is the caller's, who frees it through a Matcher or passes it on. Takes
   * some microseconds.
   */
  newMatcher(): number {
    if (this.#users <= 0) throw new Error("the grammar was released");
    return this.library.calls.llg_clone_matcher(this.pointer as Pointer) as number;
  }

  /** One more user, who calls release(). */
  use(): this {
    this.#users++;
    return this;
  }

  /** The last user frees it; matchers live on. */
  release(): void {
    this.#users--;
    if (this.#users === 0) this.library.calls.fastgen_release_matcher(this.pointer as Pointer);
  }
}
