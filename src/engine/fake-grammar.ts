/**
 * Grammars for tests: small automata over the fake library's vocabulary, and a matcher with the manners of the real one. It
 * throws where it is used while the library has it, after it was freed, or is freed twice.
 */
import type { GrammarMatcher } from "./late-masks.ts";

export interface FakeState {
  /** The tokens that may come, each with the state that it leads to. */
  next: ReadonlyMap<number, number>;
  /** The text may end here: the stop ids are allowed too. */
  accepting?: boolean;
  /** Nothing can follow, not even a stop id. */
  stopped?: boolean;
  /** Its mask cannot be computed. */
  maskFails?: boolean;
  /** Every token fails, although the mask allows some. */
  refuses?: boolean;
}

export interface FakeGrammar {
  /** The first is where it begins. */
  states: readonly FakeState[];
  stopIds: readonly number[];
}

/** Of one call: the real library has a bound too. */
const MOST_FORCED = 7;
/** After a stop id. */
export const STOPPED: FakeState = { next: new Map(), stopped: true };

const grammars = new Map<number, FakeGrammar>();

/** What stands for the address of a new matcher of this grammar. */
export function fakeMatcher(grammar: FakeGrammar): number {
  const pointer = grammars.size + 1;
  grammars.set(pointer, grammar);
  return pointer;
}

export function grammarOf(pointer: number): FakeGrammar {
  return grammars.get(pointer)!;
}

export class FakeMatcher implements GrammarMatcher {
  private readonly grammar: FakeGrammar;
  private state: FakeState;
  private failure: string | null = null;
  private isLent = false;
  private isFreed = false;

  constructor(readonly pointer: number) {
    this.grammar = grammarOf(pointer);
    this.state = this.grammar.states[0]!;
  }

  get freed(): boolean {
    return this.isFreed;
  }

  /** The library has it from now on. */
  lend(): void {
    this.check();
    this.isLent = true;
  }

  takeBack(): void {
    this.isLent = false;
  }

  consume(token: number): boolean {
    this.check();
    const { state } = this;
    const isStop = state.accepting && this.grammar.stopIds.includes(token);
    const next = isStop ? STOPPED : this.grammar.states[state.next.get(token) ?? -1];
    if (this.failure === null && (state.refuses || !next)) this.failure = `it does not take ${token}`;
    if (this.failure !== null) return false;
    this.state = next!;
    return true;
  }

  forcedTokens(): Int32Array {
    this.check();
    const tokens: number[] = [];
    let { state } = this;
    while (tokens.length < MOST_FORCED && state.next.size === 1 && !state.accepting && !state.maskFails) {
      const [[token, next]] = [...state.next] as [[number, number]];
      tokens.push(token);
      if (state.refuses) break;
      state = this.grammar.states[next]!;
    }
    return Int32Array.from(tokens);
  }

  fillMask(mask: Uint32Array): boolean {
    this.check();
    mask.fill(0);
    if (this.state.maskFails) this.failure = "its mask cannot be computed";
    if (this.failure !== null) return false;
    const ids = [...this.state.next.keys(), ...(this.state.accepting ? this.grammar.stopIds : [])];
    for (const id of ids) mask[id >> 5]! |= 1 << (id & 31);
    return true;
  }

  get stopped(): boolean {
    this.check();
    return this.failure !== null || this.state.stopped === true;
  }

  get accepting(): boolean {
    this.check();
    return this.state.accepting === true;
  }

  get error(): string | null {
    this.check();
    return this.failure;
  }

  free(): void {
    this.check();
    this.isFreed = true;
  }

  private check(): void {
    if (this.isFreed) throw new Error("a matcher is used after it was freed");
    if (this.isLent) throw new Error("a matcher is used while the library has it");
  }
}
