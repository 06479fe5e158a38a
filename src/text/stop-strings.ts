/**
 * Stop strings over a stream of text, however it is cut. Text is released as soon as it cannot be part of a stop string; a
 * stop string itself is never released (unless asked for). The first one to be complete wins; of two that end at the same
 * place, the longer.
 *
 * Each stop string is followed by its Knuth-Morris-Pratt automaton, so the cost is a few operations per character, whatever
 * the stop strings are.
 */
import { FastgenError } from "../errors.ts";

export interface StopResult {
  /** Text that may be shown. */
  text: string;
  /** The stop string that was found; the text after it and all further input are dropped. */
  stop: string | null;
}

/** Longest proper prefix of s[0 .. i] that is also its suffix, for every i. */
function failureTable(s: string): Uint16Array {
  const fail = new Uint16Array(s.length);
  for (let i = 1, k = 0; i < s.length; i++) {
    while (k > 0 && s.charCodeAt(i) !== s.charCodeAt(k)) k = fail[k - 1]!;
    if (s.charCodeAt(i) === s.charCodeAt(k)) k++;
    fail[i] = k;
  }
  return fail;
}

export class StopStrings {
  readonly #stops: readonly string[];
  readonly #fails: Uint16Array[];
  readonly #include: boolean;
  /** Per stop string: how much of it the text so far ends with. */
  readonly #state: Uint16Array;
  /** The end of the text so far that may be the start of a stop string. */
  #held = "";
  #stopped = false;

  /** @throws FastgenError "invalid_request" for an empty stop string or half a surrogate pair. */
  constructor(stops: readonly string[], options: { includeStop?: boolean } = {}) {
    stops.forEach((stop, i) => {
      const problem = stop === "" ? "is empty" : stop.isWellFormed() ? null : "is not well-formed Unicode";
      if (problem) throw new FastgenError("invalid_request", `stop[${i}] ${problem}`, { param: `stop[${i}]` });
    });
    this.#stops = stops;
    this.#fails = stops.map(failureTable);
    this.#include = options.includeStop ?? false;
    this.#state = new Uint16Array(stops.length);
  }

  push(text: string): StopResult {
    if (this.#stopped) return { text: "", stop: null };
    if (this.#stops.length === 0 || text === "") return { text, stop: null };
    const all = this.#held + text;
    const state = this.#state;
    for (let i = this.#held.length; i < all.length; i++) {
      const c = all.charCodeAt(i);
      let found = -1;
      for (let s = 0; s < this.#stops.length; s++) {
        const stop = this.#stops[s]!;
        const fail = this.#fails[s]!;
        let k = state[s]!;
        while (k > 0 && c !== stop.charCodeAt(k)) k = fail[k - 1]!;
        if (c === stop.charCodeAt(k)) k++;
        state[s] = k;
        if (k === stop.length && (found < 0 || k > this.#stops[found]!.length)) found = s;
      }
      if (found >= 0) {
        const stop = this.#stops[found]!;
        this.#stopped = true;
        this.#held = "";
        return { text: all.slice(0, this.#include ? i + 1 : i + 1 - stop.length), stop };
      }
    }
    const cut = all.length - Math.max(...state);
    this.#held = all.slice(cut);
    return { text: all.slice(0, cut), stop: null };
  }

  /** The text has ended: what was held back is no stop string after all. */
  flush(): string {
    const text = this.#held;
    this.#held = "";
    return text;
  }
}
