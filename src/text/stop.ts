/** Stop strings: found across the borders of tokens, and never leaked while they may still be completing. */

export interface StopResult {
  /** Text that is safe to show. */
  text: string;
  /** The stop string that ended the output, or null while it goes on. */
  matched: string | null;
}

export class StopStrings {
  readonly #stops: readonly string[];
  readonly #keep: boolean;
  /** Text held back: a proper prefix of some stop string. */
  #held = "";

  /** `keep` leaves the stop string itself in the output (include_stop_str_in_output). */
  constructor(stops: readonly string[], keep: boolean) {
    this.#stops = stops;
    this.#keep = keep;
  }

  /**
   * Takes the next piece of output. A match is the earliest one, in the caller's order where two begin together. With
   * `armed` false (before min_tokens) nothing ends the output, yet a stop string may begin here and be completed later.
   */
  push(piece: string, armed: boolean): StopResult {
    if (this.#stops.length === 0) return { text: piece, matched: null };
    const text = this.#held + piece;
    let at = -1;
    let matched: string | null = null;
    if (armed) {
      for (const stop of this.#stops) {
        const found = text.indexOf(stop);
        if (found >= 0 && (at < 0 || found < at)) {
          at = found;
          matched = stop;
        }
      }
    }
    if (matched !== null) {
      this.#held = "";
      return { text: text.slice(0, this.#keep ? at + matched.length : at), matched };
    }
    const safe = text.length - this.#longestPrefixAtEnd(text);
    this.#held = text.slice(safe);
    return { text: text.slice(0, safe), matched: null };
  }

  /** What was held back, once the output has ended otherwise. */
  flush(): string {
    const held = this.#held;
    this.#held = "";
    return held;
  }

  #longestPrefixAtEnd(text: string): number {
    let longest = 0;
    for (const stop of this.#stops) {
      for (let n = Math.min(stop.length - 1, text.length); n > longest; n--) {
        if (text.endsWith(stop.slice(0, n))) longest = n;
      }
    }
    return longest;
  }
}
