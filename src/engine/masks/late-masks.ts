/**
 * What the scheduler needs for masks that come after their step was submitted. Interfaces only: the worker implements them
 * with libfastgen and llguidance, tests with stand-ins.
 */
import { FastgenError } from "../../errors.ts";
import type { Followed } from "../../grammar/follower.ts";

/** Where a sequence stands in its grammar: src/grammar/matcher.ts. One thread uses it at a time. */
export interface GrammarMatcher {
  /** What the library's threads know it by. */
  readonly pointer: number;
  /** Goes on by one token. False: the token is not allowed, or the matcher has failed. */
  consume(token: number): boolean;
  /** Ids that must follow now; empty = there is a choice. */
  forcedTokens(): Int32Array;
  /** Fills in the mask of the next token on this thread. False: it has failed. */
  fillMask(mask: Uint32Array): boolean;
  /** Nothing can follow any more, not even a stop id; or it has failed. */
  readonly stopped: boolean;
  /** The text so far is whole. */
  readonly accepting: boolean;
  /** Why it has failed; null while it has not. */
  readonly error: string | null;
  free(): void;
}

/** A matcher that the sampler takes along: src/grammar/follower.ts. */
export interface GrammarFollower {
  /** What the library's threads know it by. */
  readonly pointer: number;
  /** What followed the token sampled at `position`, in a step that is over. Null: the grammar did not take it. */
  followed(position: number): Followed | null;
  free(): void;
}

export interface MaskLibrary {
  /** Takes over `pointer`, of an EngineGrammar. */
  openMatcher(pointer: number): GrammarMatcher;
  /**
   * Late mask `row`, counted among the late ones, of the newest step submitted is what `matcher` computes, on another thread.
   * The matcher must not be touched until that step has been waited for. `checks`: nothing
   * is forced, so the library may ask it about single tokens in place of the mask.
   */
  giveMatcher(row: number, matcher: GrammarMatcher, checks: boolean): void;
  /** The same mask is `words`, which are copied. */
  giveMask(row: number, words: Uint32Array): void;
  /**
   * A follower of `matcher`, for a sequence of `position` tokens, or null where the sampler takes none along. Nobody may touch the
   * matcher until it is freed, but to ask for its error and whether its text is whole. `checks`: as above.
   */
  follow(matcher: GrammarMatcher, position: number, checks: boolean): GrammarFollower | null;
  /** The same mask is what `follower` computes; steps before it may still be sampling the tokens that it depends on. */
  giveFollower(row: number, follower: GrammarFollower): void;
}

function none(): never {
  throw new FastgenError("internal", "this scheduler was made without a library for late masks");
}

/** For schedulers whose sequences need no late masks. */
export const NO_LATE_MASKS: MaskLibrary = {
  openMatcher: none,
  giveMatcher: none,
  giveMask: none,
  follow: none,
  giveFollower: none,
};
