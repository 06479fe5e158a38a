/** The state of one sequence in the engine: its tokens, how far they are computed, and the pages that hold their KV. */
import { usesPenalty } from "../../engine-config.ts";
import { FG } from "../../ffi/layout.ts";
import type { StepResult } from "../../ffi/step.ts";
import type { SlotFill, StepPlan } from "../../ffi/step-plan.ts";
import type { Constraint } from "../masks/constraint.ts";
import { PAGE_TOKENS, type PageCache, type PageNode, pageKey } from "../pages/page-cache.ts";
import type { EngineRequest, TokenLogprobs } from "../protocol.ts";

/** Room for outputs that a sequence gets at first; it then doubles. */
const FIRST_OUTPUTS = 128;

const NO_IDS = new Int32Array(0);

/** Whether `a` runs before `b`: lower priority numbers first, then older ones. */
export function precedes(a: Sequence, b: Sequence): boolean {
  return a.priority !== b.priority ? a.priority < b.priority : a.arrival < b.arrival;
}

export class Sequence {
  readonly promptLength: number;
  readonly priority: number;
  state: "waiting" | "running" | "paused" | "finished" = "waiting";
  /** Prompt, then the outputs known so far: [0, length). */
  tokens: Int32Array;
  length: number;
  slot = -1;
  /** Device pages, in order. */
  readonly pages: number[] = [];
  /** Of these, the leading ones that are findable by content. */
  readonly nodes: PageNode[] = [];
  /** Pages that have been sent to the library: [0, sentPages). */
  sentPages = 0;
  /** Tokens whose KV exists once every submitted step has run. */
  scheduled = 0;
  /** Tokens whose KV exists now: those of the committed steps. */
  computed = 0;
  /** Tokens that it had when it last got a slot. */
  startLength = 0;
  /** Samples that submitted steps will bring. */
  pendingSamples = 0;
  /** Counts preemptions. What a step computed during an earlier residence is gone. */
  residence = 0;
  /**
   * Counts how often what was in flight went on from something else than its tokens: from a token that was not sampled after
   * all, or past tokens that were forced. What a step brings of an earlier branch is dropped.
   */
  branch = 0;
  /** Its late mask in the newest step, counted among that step's late masks, while it is yet to be given; -1 = none. */
  lateRow = -1;
  /** How often in a row its mask came too late. */
  lateTimes = 0;
  /** Whether the library has yet to learn of its sampling state, or learn it anew. */
  needsFill = false;
  /** Outputs that messages have told of. */
  reported = 0;
  /** Whether it waits with its pages on the host. */
  swapped = false;
  /** Prompt tokens found in the cache when it was first admitted; -1 before. */
  cachedTokens = -1;
  /** When it arrived and when it first got a slot, by the scheduler's clock; the latter is -1 before. */
  readonly addedAt: number;
  startedAt = -1;
  /** Whether the first entry for this request is yet to be posted. */
  unreported = true;
  /** Prompt positions [0, scored) have their log probabilities, will have once the submitted steps have run, or need none. */
  scored: number;
  promptLogprobs: TokenLogprobs | null = null;
  /** Every node made below a private root, to be forgotten with the sequence. */
  readonly privateNodes: PageNode[] = [];
  /** While it waits: the last of the leading pages that are known to be its own content in the cache. */
  lastMatch: PageNode | null = null;
  /** While it waits: the last page that was in the cache when it began to, and that the cache keeps for it. */
  awaitedNode: PageNode | null = null;
  /** While it is parked: the key of the page that it waits for, which another sequence computes. */
  awaitedKey: bigint | null = null;
  private readonly keys: bigint[] = [];

  constructor(
    readonly request: EngineRequest,
    /** Order of arrival: smaller is older. */
    readonly arrival: number,
    /** Its pages are found below this root: the cache's, or its own when it shares none. */
    readonly root: PageNode,
    /** True when `root` is this sequence's own. */
    readonly isPrivate: boolean,
    /** Milliseconds. */
    now: number,
    /** Restricts what is sampled; null where every token is always allowed. */
    readonly constraint: Constraint | null = null,
  ) {
    this.addedAt = now;
    this.tokens = request.prompt;
    this.length = request.prompt.length;
    this.promptLength = this.length;
    this.priority = request.priority;
    this.scored = request.scoreFrom;
  }

  /** Tokens generated so far. */
  get outputTokens(): Int32Array {
    return this.tokens.subarray(this.promptLength, this.length);
  }

  get outputs(): number {
    return this.length - this.promptLength;
  }

  /** Full pages of the prompt. */
  get promptPages(): number {
    return Math.floor(this.promptLength / PAGE_TOKENS);
  }

  /** Leading pages that may come from the cache. At least one token must be computed, for the logits to sample from. */
  get sharablePages(): number {
    // Another sequence's page brings no log probabilities.
    const needsScores = this.request.promptLogprobs >= 0 && !this.isPrivate;
    const most = needsScores ? Math.min(this.scored, this.length - 1) : this.length - 1;
    return Math.floor(most / PAGE_TOKENS);
  }

  /** Known tokens that need KV. A request that only scores its prompt needs none for the last token. */
  get target(): number {
    return this.request.maxTokens === 0 ? this.length - 1 : this.length;
  }

  /** Whether its next known token was added while it ran: a chunk of such tokens is a forced run. */
  get isForced(): boolean {
    return this.scheduled >= this.startLength;
  }

  /** The most tokens that its next chunk may have. */
  get chunkLimit(): number {
    const todo = this.target - this.scheduled;
    // After a preemption, a chunk cannot hold both positions that are scored already and positions that are not.
    const rescans =
      this.request.promptLogprobs >= 0 && this.scheduled < this.scored && this.scored < this.promptLength - 1;
    return rescans ? Math.min(todo, this.scored - this.scheduled) : todo;
  }

  /** Whether another step may sample for it, beside those submitted. */
  get wantsMore(): boolean {
    if (this.pendingSamples > 0 && this.awaitsGrammar) return false;
    return this.outputs + this.pendingSamples < this.request.maxTokens;
  }

  /** Whether its next token is up to a grammar that is still being compiled. */
  get awaitsGrammar(): boolean {
    return this.constraint?.awaitsGrammar ?? false;
  }

  /** The flags of a row that is sampled. Log probabilities of chosen ids are made from the row's logits. */
  get sampleFlags(): number {
    return this.request.logprobIds.length > 0 ? FG.SAMPLE | FG.LOGITS : FG.SAMPLE;
  }

  get usesPenalty(): boolean {
    return usesPenalty(this.request.sampling);
  }

  /** Drops what is in flight. Positions from `from` on are computed again. */
  goBack(from: number): void {
    if (this.pendingSamples > 0) {
      this.pendingSamples = 0;
      this.branch++;
      // The library has counted what was sampled.
      if (this.usesPenalty) this.needsFill = true;
    }
    this.scheduled = Math.min(this.scheduled, from);
  }

  /** What the library has to know to sample for it. */
  slotFill(): SlotFill {
    const { sampling, minTokens, stopIds } = this.request;
    return {
      slot: this.slot,
      sampling,
      stopIds: minTokens > 0 ? stopIds : NO_IDS,
      minContext: this.promptLength + minTokens,
      history: this.usesPenalty ? this.tokens.slice(0, this.length) : null,
      promptLength: this.promptLength,
    };
  }

  /** Plans what the library has yet to learn of its slot: how it samples, and its pages. */
  sendSlot(plan: StepPlan): void {
    const { pages } = this;
    if (this.needsFill) {
      this.needsFill = false;
      this.sentPages = 0;
      plan.fills.push(this.slotFill());
    }
    for (let i = this.sentPages; i < pages.length; i++) plan.setPage(this.slot, i, pages[i]!);
    this.sentPages = pages.length;
  }

  append(token: number): void {
    if (this.length === this.tokens.length) {
      // The prompt's array belongs to the request, whose other choices may share it: the first growth makes a copy.
      const room = Math.max(FIRST_OUTPUTS, this.length - this.promptLength);
      const larger = new Int32Array(this.length + Math.min(room, this.request.maxTokens - this.outputs));
      larger.set(this.tokens);
      this.tokens = larger;
    }
    this.tokens[this.length++] = token;
  }

  /** The cached pages that it would start with while it waits. Goes on from what it found the last time. */
  cachedPages(cache: PageCache): PageNode[] {
    const nodes = cache.cachedPath(this.lastMatch);
    for (let i = nodes.length; i < this.sharablePages; i++) {
      const parent = i === 0 ? this.root : nodes[i - 1]!;
      const node = cache.find(parent, this.key(i), this.tokens, i * PAGE_TOKENS);
      if (!node) break;
      nodes.push(node);
    }
    this.lastMatch = nodes.at(-1) ?? null;
    return nodes;
  }

  /** The key of page `index`, all of whose tokens must be known. */
  key(index: number): bigint {
    for (let i = this.keys.length; i <= index; i++) {
      const parent = i === 0 ? this.root.key : this.keys[i - 1]!;
      this.keys.push(pageKey(parent, this.tokens.subarray(i * PAGE_TOKENS, (i + 1) * PAGE_TOKENS)));
    }
    return this.keys[index]!;
  }

  /** Takes over the keys of the first `count` pages from a sequence with the same root and the same tokens in them. */
  adoptKeys(other: Sequence, count: number): void {
    for (let i = this.keys.length; i < count; i++) this.keys.push(other.key(i));
  }

  /** Its prompt is scored anew, unless that has been reported: one set of weights scores all of it. */
  forgetScores(): void {
    if (!this.unreported) return;
    this.scored = this.request.scoreFrom;
    this.promptLogprobs = null;
  }

  /**
   * Copies the result rows [row, row + count) into promptLogprobs, as those of prompt positions [from, from + count). `width`
   * is the length of a row of topIds and topLogprobs.
   */
  addPromptRows(
    from: number,
    count: number,
    rows: Pick<StepResult, "ids" | "logprobs" | "ranks" | "topIds" | "topLogprobs">,
    row: number,
    width: number,
  ): void {
    const topN = this.request.promptLogprobs;
    this.promptLogprobs ??= emptyLogprobs(this.promptLength - 1, topN);
    const target = this.promptLogprobs;
    target.ids.set(rows.ids.subarray(row, row + count), from);
    target.logprobs.set(rows.logprobs.subarray(row, row + count), from);
    target.ranks.set(rows.ranks.subarray(row, row + count), from);
    for (let i = 0; i < count; i++) {
      const at = (row + i) * width;
      target.topIds.set(rows.topIds.subarray(at, at + topN), (from + i) * topN);
      target.topLogprobs.set(rows.topLogprobs.subarray(at, at + topN), (from + i) * topN);
    }
  }
}

export function emptyLogprobs(count: number, topN: number): TokenLogprobs {
  return {
    ids: new Int32Array(count),
    logprobs: new Float32Array(count),
    ranks: new Int32Array(count),
    topN,
    topIds: new Int32Array(count * topN),
    topLogprobs: new Float32Array(count * topN),
  };
}
