/**
 * Grammars for tests: small automata over the fake library's vocabulary, and a matcher with the manners of the real one. It
 * throws where it is used while the library has it, after it was freed, or is freed twice.
 */
import { FG } from "../../ffi/layout.ts";
import type { Followed } from "../../grammar/follower.ts";
import type { GrammarFollower, GrammarMatcher } from "../masks/late-masks.ts";

export interface FakeState {
  /** The tokens that may come, each with the state that it leads to. */
  next: ReadonlyMap<number, number>;
  /** The text may end here: the stop ids are allowed too. */
  accepting?: boolean;
  /** Nothing can follow, not even a stop id. */
  stopped?: boolean;
  /** Its mask cannot be computed. */
  maskFails?: boolean;
  /** The matcher fails as it gets here: the token that led here was still allowed. */
  breaks?: boolean;
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

function failureIn({ breaks }: FakeState): string | null {
  return breaks ? "it has broken" : null;
}

export function grammarOf(pointer: number): FakeGrammar {
  return grammars.get(pointer)!;
}

export class FakeMatcher implements GrammarMatcher {
  private readonly grammar: FakeGrammar;
  private state: FakeState;
  private failure: string | null;
  private isLent = false;
  private isFollowed = false;
  private isFreed = false;

  constructor(readonly pointer: number) {
    this.grammar = grammarOf(pointer);
    this.state = this.grammar.states[0]!;
    this.failure = failureIn(this.state);
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

  /** The library has it for good, and what it does there is `work`. */
  within<T>(work: () => T): T {
    this.isFollowed = false;
    const result = work();
    this.isFollowed = true;
    return result;
  }

  consume(token: number): boolean {
    this.check();
    const { state } = this;
    const isStop = state.accepting && this.grammar.stopIds.includes(token);
    const next = isStop ? STOPPED : this.grammar.states[state.next.get(token) ?? -1];
    if (this.failure === null && (state.refuses || !next)) this.failure = `it does not take ${token}`;
    if (this.failure !== null) return false;
    this.state = next!;
    this.failure = failureIn(this.state);
    return true;
  }

  forcedTokens(): Int32Array {
    this.check();
    const tokens: number[] = [];
    let { state } = this;
    while (
      tokens.length < MOST_FORCED &&
      state.next.size === 1 &&
      !state.accepting &&
      !state.maskFails &&
      !state.breaks
    ) {
      const [[token, next]] = [...state.next] as [[number, number]];
      tokens.push(token);
      if (state.refuses) break;
      state = this.grammar.states[next]!;
    }
    return Int32Array.from(tokens);
  }

  fillMask(mask: Uint32Array): boolean {
    this.check();
    if (this.state.maskFails) this.failure = "its mask cannot be computed";
    // What a mask holds that failed says nothing.
    mask.fill(this.failure === null ? 0 : 0xffffffff);
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
    this.checkLent();
    return this.state.accepting === true;
  }

  get error(): string | null {
    this.checkLent();
    return this.failure;
  }

  free(): void {
    this.checkLent();
    this.isFreed = true;
  }

  private check(): void {
    this.checkLent();
    if (this.isFollowed) throw new Error("a matcher is used that the sampler takes along");
  }

  private checkLent(): void {
    if (this.isFreed) throw new Error("a matcher is used after it was freed");
    if (this.isLent) throw new Error("a matcher is used while the library has it");
  }
}

/** A matcher that the library's sampler takes along. What becomes of the last two tokens is known, and of no others. */
export class FakeFollower implements GrammarFollower {
  readonly pointer: number;
  freed = false;
  private readonly kept: { at: number; followed: Followed | null }[] = [];
  private lone = { at: -1, id: FG.NO_TOKEN as number };

  constructor(
    private readonly matcher: FakeMatcher,
    private position: number,
  ) {
    this.pointer = matcher.pointer;
    matcher.within(() => {});
  }

  /** The library's part: what is there without a choice. */
  known(position: number): number {
    if (position === this.position) return FG.NO_TOKEN;
    return position === this.lone.at ? this.lone.id : FG.MASK_LATE;
  }

  fillMask(mask: Uint32Array): boolean {
    return this.matcher.within(() => this.matcher.fillMask(mask));
  }

  take(position: number, token: number): void {
    if (position !== this.position) return;
    const { matcher } = this;
    matcher.within(() => {
      const isTaken = matcher.consume(token);
      const ids: number[] = [];
      for (
        let more = [...matcher.forcedTokens()];
        more.length > 0 && !matcher.stopped;
        more = [...matcher.forcedTokens()]
      ) {
        for (const id of more) if (matcher.consume(id)) ids.push(id);
        if (ids.length > 100) break;
      }
      const over = matcher.stopped;
      this.kept.push({ at: position, followed: isTaken ? { forced: Int32Array.from(ids), over } : null });
      if (this.kept.length > 2) this.kept.shift();
      this.lone = ids.length === 1 ? { at: position + 1, id: ids[0]! } : { at: -1, id: FG.NO_TOKEN };
      this.position = over ? -1 : position + 1 + ids.length;
    });
  }

  /** The engine's part. */
  followed(position: number): Followed | null {
    const kept = this.kept.find(({ at }) => at === position);
    if (!kept) throw new Error(`what followed position ${position} is asked for, which was not sampled lately`);
    return kept.followed;
  }

  free(): void {
    if (this.freed) throw new Error("a follower is freed twice");
    if (this.matcher.freed) throw new Error("a follower is freed after its matcher");
    this.freed = true;
  }
}
