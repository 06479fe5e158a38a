/**
 * libfastgen's contract in TypeScript, for tests. KV pages hold token ids, and the next token is a hash of all tokens of the
 * sequence, read back through the slot's page table. A wrong or stale page, a lost or repeated token, a copy out of order or
 * a wrong slot state changes the output, or throws.
 */
import { FastgenError } from "../../errors.ts";
import { FG } from "../../ffi/layout.ts";
import type { StepResult } from "../../ffi/step.ts";
import { LATE_MASK, type SlotFill, type StepPlan } from "../../ffi/step-plan.ts";
import type { GrammarFollower, GrammarMatcher, MaskLibrary } from "../masks/late-masks.ts";
import { PAGE_TOKENS } from "../pages/page-cache.ts";
import { FakeFollower, FakeMatcher } from "./fake-grammar.ts";
import { allowed, expectedRank, hasBit, isHeldBack, logprob, nextToken, penalised } from "./fake-model.ts";

export interface FakeConfig {
  maxSeqs: number;
  maxStepTokens: number;
  maxContext: number;
  pages: number;
  hostPages: number;
  vocabSize: number;
}

/** Between the log probabilities of two sets of weights. */
export const WEIGHTS_APART = 1024;

/** What memory holds before it is written: a token that no model samples. */
const GARBAGE = -7;

/** The token of a position whose sample was not there. */
const NOTHING = -8;

interface Slot {
  fill: SlotFill;
  lastSampled: number;
  /** The tokens that penalties count: the history that the slot was filled with, then the tokens that it sampled. */
  history: number[] | null;
}

/** A step as it was submitted, with where its sequences' tokens lie. */
interface Queued {
  seqs: ReturnType<StepPlan["sequence"]>[];
  /** The page table of each sequence. */
  tables: number[][];
  tokens: Int32Array;
  masks: Uint32Array;
  fills: SlotFill[];
  copies: Int32Array;
  rowCount: number;
  logitsRowCount: number;
  /** Pages that it writes to, by where they begin. */
  written: Set<number>;
  /** By their place among the late masks: those that have been given. */
  given: (Uint32Array | FakeMatcher | FakeFollower)[];
  /** Of a step that has run before it was waited for. */
  result: StepResult | null;
}

export class FakeLibrary implements MaskLibrary {
  /** Tokens computed in all steps. */
  computedTokens = 0;
  /** Pages copied back from the host. */
  pagesReturned = 0;
  /** Late masks that were not there in time. */
  lateMasks = 0;
  /** Matchers given that may be asked about single tokens. */
  checkedMasks = 0;
  /** Whether its sampler takes matchers along. */
  follows = false;
  /** Whether a late mask that was given comes too late all the same. */
  isLate = () => false;
  /** Sequence length at which no token can be sampled, as with damaged weights. 0 = never. */
  barrenLength = 0;
  /**
   * What pages are written with: other weights write other pages, and read those of before as other tokens. Exchange them
   * while no step is in flight.
   */
  weights = 0;
  /** As LibraryEngine's. A fill with topP 0 is refused. */
  refusedSlot = -1;
  /** What it says a token took, and the copy of a page to the host and back. */
  tokenSeconds = 0;
  saveSeconds = 0;
  restoreSeconds = 0;
  /** Pages that arrived beside the step before: the next result tells of their time. */
  private untoldArrivals = 0;
  readonly matchers = new Map<number, FakeMatcher>();
  readonly followers: FakeFollower[] = [];
  private readonly kv: Int32Array;
  private readonly hostKv: Int32Array;
  /** By slot: its pages, as of the newest step. */
  private readonly tables = new Map<number, number[]>();
  /** By slot: its state, as of the oldest step in flight. */
  private readonly slots = new Map<number, Slot>();
  private readonly queue: Queued[] = [];
  private steps = 0;

  constructor(private readonly config: FakeConfig) {
    this.kv = new Int32Array(config.pages * PAGE_TOKENS).fill(GARBAGE);
    this.hostKv = new Int32Array(config.hostPages * PAGE_TOKENS).fill(GARBAGE);
  }

  /** Checks the step and keeps it. It runs in wait(), once its late masks are there. */
  submit(plan: StepPlan): void {
    const { config, tables } = this;
    this.refusedSlot = plan.fills.find(({ sampling }) => sampling.topP === 0)?.slot ?? -1;
    if (this.refusedSlot >= 0) throw new FastgenError("invalid_request", "top_p is 0");
    check(this.queue.length < FG.STEPS_IN_FLIGHT, "too many steps are in flight");
    check(plan.seqCount >= 1 && plan.seqCount <= config.maxSeqs, `${plan.seqCount} sequences`);
    check(plan.tokenCount >= 1 && plan.tokenCount <= config.maxStepTokens, `${plan.tokenCount} tokens`);
    check(plan.maskCount + plan.lateMaskCount <= plan.seqCount, "more masks than sequences");
    const copies = plan.copies.slice(0, plan.copyCount * 3);
    this.checkCopies(copies);
    for (const fill of plan.fills) {
      check(fill.slot >= 0 && fill.slot < config.maxSeqs, `slot ${fill.slot}`);
      check(fill.stopIds.length <= FG.MAX_STOP_IDS, "too many stop ids");
      tables.set(fill.slot, []);
    }
    for (let i = 0; i < plan.pageUpdateCount; i++) {
      const [slot, index, page] = plan.pageUpdates.subarray(i * 3, i * 3 + 3) as unknown as [number, number, number];
      check(page >= 0 && page < config.pages, `page ${page}`);
      tables.get(slot)![index] = page;
    }
    const seqs = Array.from({ length: plan.seqCount }, (_, i) => plan.sequence(i));
    const written = new Set<number>();
    for (const { slot, count, context } of seqs) {
      for (let i = context - count; i < context; i++)
        written.add(tables.get(slot)![Math.floor(i / PAGE_TOKENS)]! * PAGE_TOKENS);
    }
    this.queue.push({
      seqs,
      tables: seqs.map(({ slot }) => tables.get(slot)!.slice()),
      tokens: plan.tokens.slice(0, plan.tokenCount),
      masks: plan.masks.slice(0, plan.maskCount * Math.ceil(config.vocabSize / 32)),
      fills: [...plan.fills],
      copies,
      rowCount: plan.rowCount,
      logitsRowCount: plan.logitsRowCount,
      written,
      given: new Array(plan.lateMaskCount),
      result: null,
    });
    plan.submitted();
  }

  openMatcher(pointer: number): FakeMatcher {
    check(!this.matchers.has(pointer), "a matcher is opened twice");
    const matcher = new FakeMatcher(pointer);
    this.matchers.set(pointer, matcher);
    return matcher;
  }

  giveMatcher(row: number, matcher: GrammarMatcher, checks: boolean): void {
    check(!checks || matcher.forcedTokens().length === 0, "single tokens are checked while others are forced");
    if (checks) this.checkedMasks++;
    (matcher as FakeMatcher).lend();
    this.give(row, matcher as FakeMatcher);
  }

  giveMask(row: number, words: Uint32Array): void {
    check(words.length === Math.ceil(this.config.vocabSize / 32), "a mask of another vocabulary");
    this.give(row, words.slice());
  }

  follow(matcher: GrammarMatcher, position: number, checks: boolean): FakeFollower | null {
    if (!this.follows) return null;
    check(!checks || matcher.forcedTokens().length === 0, "single tokens are checked while others are forced");
    const follower = new FakeFollower(matcher as FakeMatcher, position);
    this.followers.push(follower);
    return follower;
  }

  giveFollower(row: number, follower: GrammarFollower): void {
    this.give(row, follower as FakeFollower);
  }

  private give(row: number, mask: Uint32Array | FakeMatcher | FakeFollower): void {
    const given = this.queue.at(-1)?.given;
    check(given !== undefined && row >= 0 && row < given.length, "a late mask that the newest step does not have");
    check(given![row] === undefined, "a late mask that was given already");
    given![row] = mask;
  }

  get isBusy(): boolean {
    return this.queue.length > 0;
  }

  wait(): StepResult {
    const step = this.queue.shift();
    check(step !== undefined, "no step is in flight");
    const result = step!.result ?? this.execute(step!);
    // The step behind it needs nothing of its result where the sampler takes all grammars along: it may be over, too.
    const [next] = this.queue;
    const runsOn =
      next && this.follows && Array.from(next.given).every((mask) => mask && !(mask instanceof FakeMatcher));
    if (runsOn) next.result = this.execute(next);
    return result;
  }

  private execute(step: Queued): StepResult {
    const arrivals = this.copyPages(step.copies);
    for (const fill of step.fills) {
      this.slots.set(fill.slot, { fill, lastSampled: GARBAGE, history: fill.history && [...fill.history] });
    }
    const result = { ...this.run(step), ...this.timesOf(step) };
    for (const [page, content] of arrivals) this.kv.set(content, page);
    return result;
  }

  private timesOf({ copies, tokens }: Queued) {
    const count = (direction: number) => copies.filter((one, i) => i % 3 === 2 && one === direction).length;
    const beside = count(FG.TO_DEVICE_BESIDE);
    const restored = count(FG.TO_DEVICE) + beside;
    const told = this.untoldArrivals + (beside > 0 ? 0 : restored);
    this.untoldArrivals = beside > 0 ? restored : 0;
    return {
      runSeconds: tokens.length * this.tokenSeconds,
      toHostSeconds: count(FG.TO_HOST) * this.saveSeconds,
      toDeviceSeconds: told * this.restoreSeconds,
    };
  }

  /** fg_copy. */
  copy(copies: Int32Array): void {
    check(!this.isBusy, "copies outside of steps while one is in flight");
    this.checkCopies(copies);
    for (const [page, content] of this.copyPages(copies)) this.kv.set(content, page);
  }

  /** What a host page holds, as fg_host_page gives it: for who reads and writes it. [PAGE_TOKENS] */
  hostPage(page: number): Int32Array {
    check(page >= 0 && page < this.config.hostPages, `host page ${page}`);
    return this.hostKv.subarray(page * PAGE_TOKENS, (page + 1) * PAGE_TOKENS);
  }

  private checkCopies(copies: Int32Array): void {
    for (let i = 0; i < copies.length; i += 3) {
      const [page, host] = [copies[i]! * PAGE_TOKENS, copies[i + 1]! * PAGE_TOKENS];
      check(page >= 0 && page < this.kv.length && host >= 0 && host < this.hostKv.length, "a copy out of bounds");
      const isWritten = copies[i + 2] === FG.TO_HOST && this.queue.some(({ written }) => written.has(page));
      check(!isWritten, "a copy to the host of a page that a step is writing to");
    }
  }

  /** Returns what arrives in pages beside the step, which must not look at them. */
  private copyPages(copies: Int32Array): Map<number, Int32Array> {
    const arrivals = new Map<number, Int32Array>();
    for (let i = 0; i < copies.length; i += 3) {
      const [page, host] = [copies[i]! * PAGE_TOKENS, copies[i + 1]! * PAGE_TOKENS];
      if (copies[i + 2] === FG.TO_HOST) {
        this.hostKv.set(this.kv.subarray(page, page + PAGE_TOKENS), host);
      } else {
        const content = this.hostKv.slice(host, host + PAGE_TOKENS);
        if (copies[i + 2] === FG.TO_DEVICE) this.kv.set(content, page);
        else {
          this.kv.fill(GARBAGE, page, page + PAGE_TOKENS);
          arrivals.set(page, content);
        }
        this.pagesReturned++;
      }
    }
    return arrivals;
  }

  private run(step: Queued): Omit<StepResult, "runSeconds" | "toHostSeconds" | "toDeviceSeconds"> {
    const ids: number[] = [];
    const logprobs: number[] = [];
    const logits: number[] = [];
    const ranks: number[] = [];
    const seen = new Set<number>();
    let at = 0;
    let late = 0;
    let sawChunk = false;
    for (const [i, { slot: number, count, context, flags, nextToken, logprobs: topN, mask }] of step.seqs.entries()) {
      check(!seen.has(number), "a slot appears twice");
      seen.add(number);
      check(count >= 1 && context <= this.config.maxContext, "a sequence beyond the context");
      check(count > 1 || !sawChunk, "a one-token sequence after a chunk");
      sawChunk ||= count > 1;
      const slot = this.slots.get(number)!;
      const tokens = this.write(slot, step.tokens.subarray(at, at + count), step.tables[i]!, context);
      at += count;
      const scores = (flags & FG.SCORE) !== 0;
      const samples = (flags & FG.SAMPLE) !== 0;
      check(samples || mask === -1, "a mask of a row that is not sampled");
      for (let j = scores ? 0 : count - 1; j < count; j++) {
        const length = context - count + j + 1;
        let id = j + 1 < count ? tokens[length]! % this.config.vocabSize : nextToken;
        if (samples && j + 1 === count) {
          const row = mask === LATE_MASK ? late++ : -1;
          const follower = row >= 0 ? step.given[row] : null;
          const known = follower instanceof FakeFollower ? follower.known(length) : FG.NO_TOKEN;
          id = this.sample(slot, tokens, known === FG.NO_TOKEN ? this.maskOf(step, row, mask) : known);
          if (follower instanceof FakeFollower && id >= 0) follower.take(length, id);
        } else if (!scores) break;
        ids.push(id);
        if (flags & FG.LOGITS) {
          for (let other = 0; other < this.config.vocabSize; other++) logits.push(logprob(other, length) + length);
        }
        logprobs.push(topN >= 0 ? logprob(id, length) - this.weights * WEIGHTS_APART : Number.NaN);
        ranks.push(topN >= 0 ? expectedRank(id) : -1);
      }
    }
    check(at === step.tokens.length, "token counts disagree");
    check(ids.length === step.rowCount, "row counts disagree");
    check(logits.length === step.logitsRowCount * this.config.vocabSize, "counts of rows with logits disagree");
    this.computedTokens += at;
    const top = new Int32Array(ids.length * FG.MAX_LOGPROBS);
    for (let i = 0; i < top.length; i++) top[i] = ids[Math.floor(i / FG.MAX_LOGPROBS)]! + (i % FG.MAX_LOGPROBS);
    return {
      step: this.steps++,
      rows: ids.length,
      ids: Int32Array.from(ids),
      logprobs: Float32Array.from(logprobs),
      ranks: Int32Array.from(ranks),
      topIds: top,
      topLogprobs: new Float32Array(top.length),
      logits: Float32Array.from(logits),
      idleSeconds: 0,
    };
  }

  /** What a page holds of a token. */
  private written(token: number): number {
    return token < 0 ? token : token + this.weights * this.config.vocabSize;
  }

  /** Writes the new tokens' KV; returns the whole sequence, read back from the pages. */
  private write(slot: Slot, newTokens: Int32Array, table: number[], context: number): Int32Array {
    const first = context - newTokens.length;
    for (const [j, given] of newTokens.entries()) {
      let token = given;
      if (token === FG.LAST_SAMPLED) {
        check(newTokens.length === 1 && slot.lastSampled !== GARBAGE, "LAST_SAMPLED where nothing was sampled");
        token = slot.lastSampled;
      }
      this.kv[table[Math.floor((first + j) / PAGE_TOKENS)]! * PAGE_TOKENS + ((first + j) % PAGE_TOKENS)] =
        this.written(token);
    }
    const tokens = new Int32Array(context);
    for (let i = 0; i < context; i += PAGE_TOKENS) {
      const page = table[i / PAGE_TOKENS];
      check(page !== undefined, "a position without a page");
      tokens.set(this.kv.subarray(page! * PAGE_TOKENS, page! * PAGE_TOKENS + Math.min(PAGE_TOKENS, context - i)), i);
    }
    return tokens;
  }

  /** The words of a row's mask, null for none; or why a late one is not there: FG.MASK_LATE or FG.MASK_FAILED. */
  private maskOf(step: Queued, late: number, row: number): Uint32Array | null | number {
    const words = Math.ceil(this.config.vocabSize / 32);
    if (late < 0) {
      if (row < 0) return null;
      check((row + 1) * words <= step.masks.length, "a mask that the step does not have");
      return step.masks.subarray(row * words, (row + 1) * words);
    }
    let mask = step.given[late];
    check(mask !== undefined, "a late mask that nobody gives: others wait for it");
    let hasFailed = false;
    if (mask instanceof FakeMatcher || mask instanceof FakeFollower) {
      const filled = new Uint32Array(words);
      if (mask instanceof FakeMatcher) mask.takeBack();
      hasFailed = !mask.fillMask(filled);
      mask = filled;
    }
    if (this.isLate()) {
      this.lateMasks++;
      return FG.MASK_LATE;
    }
    return hasFailed ? FG.MASK_FAILED : mask!;
  }

  private sample(slot: Slot, tokens: Int32Array, mask: Uint32Array | null | number): number {
    const { fill, history } = slot;
    const { vocabSize } = this.config;
    const { length } = tokens;
    if (typeof mask === "number") {
      slot.lastSampled = mask < 0 ? NOTHING : mask;
      return mask;
    }
    check(
      history === null || history.length === length || tokens.at(-1) === NOTHING,
      "the history is not the sequence",
    );
    if (length === this.barrenLength) {
      slot.lastSampled = 0;
      return FG.NO_TOKEN;
    }
    const isAllowed = (id: number) => (mask === null || hasBit(mask, id)) && !isHeldBack(fill, length, id);
    const free = penalised(nextToken(tokens, length, fill.sampling.seed, vocabSize), history, vocabSize);
    const token = allowed(free, vocabSize, isAllowed);
    slot.lastSampled = token < 0 ? NOTHING : token;
    if (token >= 0) history?.push(token);
    return token;
  }
}

function check(condition: boolean, message: string): void {
  if (!condition) throw new Error(`the step breaks fastgen.h: ${message}`);
}
