/**
 * What one sequence may generate next: its allowed ids and bad words (token-mask.ts), its grammar, and the end of its
 * thinking. It goes along with the tokens that the sequence gets, and tells the mask of the next one and what must follow.
 */
import { usesPenalty } from "../../engine-config.ts";
import type { Followed } from "../../grammar/follower.ts";
import type { EngineRequest, ThinkingBudget } from "../protocol.ts";
import type { GrammarFollower, GrammarMatcher, MaskLibrary } from "./late-masks.ts";
import { endsWith, maskOf, TokenMask } from "./token-mask.ts";

const NO_IDS = new Int32Array(0);

export class Constraint {
  /** Whether the grammar holds for the next token. */
  private grammarHolds: boolean;
  /** The budget of a thinking that may begin, or is open. */
  private thinking: ThinkingBudget | null;
  /** How many tokens came before the thinking; -1 = it has not begun. */
  private thinkingFrom: number;
  /** How many ids of the forced end of thinking are there; -1 = it is not being forced. */
  private forcedEnd = -1;
  /** Whether tokens without a choice need no sampling: nothing else asks for it. */
  private readonly skipsSampling: boolean;

  /** Whether the grammar was asked what must follow now, and nothing must. */
  private nothingForced = false;
  /** What the sampler takes along in the matcher's place, from some token on. */
  private follower: GrammarFollower | null = null;
  /** How it went on after the last token that was sampled, and how many of the tokens forced there the sequence has. */
  private followed: Followed | null = null;
  private forcedTaken = 0;

  private constructor(
    private readonly request: EngineRequest,
    private readonly vocabSize: number,
    private readonly tokens: TokenMask | null,
    /** Null where there is no grammar, and while it is being compiled. */
    private matcher: GrammarMatcher | null,
  ) {
    const { grammar, thinking, logprobs, promptLogprobs, sampling } = request;
    this.grammarHolds = grammar !== null && grammar.after.length === 0;
    this.thinking = thinking;
    this.thinkingFrom = thinking?.isBegin.length === 0 ? 0 : -1;
    this.skipsSampling = tokens === null && logprobs < 0 && promptLogprobs < 0 && !usesPenalty(sampling);
    if (!this.awaitsGrammar) this.checkBudget(0);
  }

  /** Null where the request restricts nothing. Takes over its matcher. */
  static of(request: EngineRequest, vocabSize: number, library: MaskLibrary): Constraint | null {
    const tokens = TokenMask.of(request, vocabSize);
    const { grammar, thinking } = request;
    if (!tokens && !grammar && !thinking) return null;
    const pointer = grammar?.matcher ?? null;
    return new Constraint(request, vocabSize, tokens, pointer === null ? null : library.openMatcher(pointer));
  }

  /** Whether the next token is up to a grammar that is still being compiled: nothing can be sampled. */
  get awaitsGrammar(): boolean {
    return this.grammarHolds && this.matcher === null;
  }

  /** The grammar has been compiled. Takes over its matcher. */
  setMatcher(matcher: GrammarMatcher): void {
    const isFirst = this.awaitsGrammar && this.thinking !== null;
    this.matcher = matcher;
    // Whether the end of thinking may be forced was up to the grammar.
    if (isFirst) this.checkBudget(0);
  }

  /** Whether the next token cannot be sampled before the one before it is known. */
  get needsLastToken(): boolean {
    if (this.isFollowed) return false;
    return this.grammarHolds || this.forcedEnd >= 0 || (this.tokens?.needsLastToken ?? false);
  }

  /** Whether the end of thinking is being forced. */
  get forcesEnd(): boolean {
    return this.forcedEnd >= 0;
  }

  /** The matcher that computes the next token's mask; null where that is not up to the grammar. */
  get computedBy(): GrammarMatcher | null {
    return this.grammarHolds && this.forcedEnd < 0 ? this.matcher : null;
  }

  /** Whether the matcher may be asked about single tokens in place of its mask: where tokens are forced, the two may differ. */
  get isCheckable(): boolean {
    return this.nothingForced;
  }

  /** Whether the sampler takes the grammar along: masks wait for no token, and the matcher is not to be touched. */
  get isFollowed(): boolean {
    return this.follower !== null;
  }

  /**
   * What gives the next token's mask if the sampler can take the grammar along, from here on for good; else null. `position`: so
   * many tokens are before it, all of them known the first time.
   */
  follow(library: MaskLibrary, position: number): GrammarFollower | null {
    if (this.follower) return this.follower;
    // What else decides about the next token is up to this thread.
    const matcher = this.skipsSampling && this.thinking === null && this.request.minTokens === 0 && this.computedBy;
    if (matcher) this.follower = library.follow(matcher, position, this.nothingForced);
    return this.follower;
  }

  /** The matcher whose mask alone is the next token's, so that another thread can compute it; else null. */
  get fillable(): GrammarMatcher | null {
    return this.tokens === null ? this.computedBy : null;
  }

  /**
   * The mask of the token after `outputs`, those generated so far; null = every token is allowed. Not to be written to. The
   * grammar's part is computed here, on this thread. A grammar that fails allows nothing.
   */
  mask(outputs: Int32Array): Uint32Array | null {
    if (this.forcedEnd >= 0) return maskOf([this.request.thinking!.end[this.forcedEnd]!], this.vocabSize);
    const others = this.tokens?.after(outputs) ?? null;
    const matcher = this.computedBy;
    if (!matcher) return others;
    const mask = maskOf(NO_IDS, this.vocabSize);
    if (!matcher.fillMask(mask)) return mask.fill(0);
    if (others) for (let i = 0; i < mask.length; i++) mask[i]! &= others[i]!;
    return mask;
  }

  /** Goes on by `token`, which comes after the outputs of `seq`. False: the grammar does not allow it, or has failed. */
  accept(token: number, seq: { readonly outputTokens: Int32Array; readonly length: number }): boolean {
    if (this.follower) return this.acceptFollowed(this.follower, seq.length);
    this.nothingForced = false;
    if (this.grammarHolds && !this.matcher!.consume(token)) return false;
    // The usual case, for every token: no thinking is left to begin, end or count.
    if (this.grammarHolds && this.thinking === null && this.forcedEnd < 0) return true;
    if (this.forcedEnd >= 0) {
      if (++this.forcedEnd === this.request.thinking!.end.length) this.endThinking();
      return true;
    }
    const outputs = seq.outputTokens;
    const completes = (word: Int32Array) => word.at(-1) === token && endsWith(outputs, word, word.length - 1);
    const { grammar } = this.request;
    if (!this.grammarHolds && grammar?.after.some(completes)) this.endThinking();
    else if (this.thinkingFrom >= 0) {
      if (this.thinking?.isEnd.some(completes)) this.thinking = null;
    } else if (this.thinking?.isBegin.some((mark) => outputs.length <= mark.length && completes(mark))) {
      // Further on, its mark is text; one token, a space, may come before it.
      this.thinkingFrom = outputs.length + 1;
    }
    this.checkBudget(outputs.length + 1);
    return true;
  }

  /** The same where the sampler has taken the grammar along: the token at `position` is one that it knows. */
  private acceptFollowed(follower: GrammarFollower, position: number): boolean {
    if (this.followed && this.forcedTaken < this.followed.forced.length) {
      this.forcedTaken++;
      return true;
    }
    this.followed = follower.followed(position);
    this.forcedTaken = 0;
    return this.followed !== null;
  }

  /** Forces the end of thinking once there are as many tokens as it may have. */
  private checkBudget(outputs: number): void {
    const { thinking, thinkingFrom } = this;
    if (!thinking || thinkingFrom < 0 || outputs < thinkingFrom + thinking.budget) return;
    if (this.grammarHolds && !this.grammarAllows(thinking.end)) this.thinking = null;
    else if (thinking.end.length > 0) this.forcedEnd = 0;
    else this.endThinking();
  }

  /** Where a grammar has the thinking too, the model may have ended it in other tokens: then its end does not fit any more. */
  private grammarAllows([id]: Int32Array): boolean {
    const mask = maskOf(NO_IDS, this.vocabSize);
    return id !== undefined && this.matcher!.fillMask(mask) && (mask[id >> 5]! & (1 << (id & 31))) !== 0;
  }

  private endThinking(): void {
    this.thinking = null;
    this.forcedEnd = -1;
    this.grammarHolds = this.request.grammar !== null;
  }

  /** What must follow now and needs no sampling. */
  forced(): Int32Array {
    if (!this.skipsSampling) return NO_IDS;
    if (this.follower) return this.followed?.forced.subarray(this.forcedTaken) ?? NO_IDS;
    if (this.forcedEnd >= 0) return this.request.thinking!.end.subarray(this.forcedEnd);
    const ids = this.computedBy?.forcedTokens() ?? NO_IDS;
    this.nothingForced = ids.length === 0;
    return ids;
  }

  /** Nothing can follow any more. */
  get stopped(): boolean {
    if (this.follower) return this.forcedTaken === this.followed?.forced.length && this.followed.over;
    return this.grammarHolds && (this.matcher?.stopped ?? false);
  }

  get error(): string | null {
    return this.matcher?.error ?? null;
  }

  /** Nothing else uses it any more, the library included. Once. */
  free(): void {
    this.follower?.free();
    this.matcher?.free();
  }
}
