/** The state of one sequence in the engine: its tokens, how far they are computed, and the pages that hold their KV. */
import { PAGE_TOKENS, type PageNode, pageKey } from "./page-cache.ts";
import type { EngineRequest, TokenLogprobs } from "./protocol.ts";

/** Room for outputs that a sequence gets at first; it then doubles. */
const FIRST_OUTPUTS = 128;

export class Sequence {
  readonly promptLength: number;
  state: "waiting" | "running" | "paused" | "finished" = "waiting";
  /** Prompt, then the outputs known so far: [0, length). */
  tokens: Int32Array;
  length: number;
  slot = -1;
  /** Device pages, in order. */
  readonly pages: number[] = [];
  /** Of these, the leading ones that are findable by content. */
  readonly nodes: PageNode[] = [];
  /** Page-table entries that the library has been told: [0, sentPages). */
  sentPages = 0;
  /** Tokens whose KV is there once every submitted step has run, and once the finished ones have. */
  scheduled = 0;
  computed = 0;
  /** Samples asked for in submitted steps and not yet known. */
  pendingSamples = 0;
  /** Counts preemptions: what a step computed for an earlier residence is gone. */
  residence = 0;
  /** Prompt tokens found in the cache when first admitted; -1 before. */
  cachedTokens = -1;
  /** The first entry for this request is still to be posted. */
  unreported = true;
  /** Prompt positions [0, scored) have their log probabilities, or will have once the submitted steps have run. */
  scored = 0;
  promptLogprobs: TokenLogprobs | null = null;
  /** Every node made below a private root, to be forgotten with the sequence. */
  readonly privateNodes: PageNode[] = [];
  /** The page whose computation by another sequence this one waits for. */
  awaitedKey: bigint | null = null;
  private readonly keys: bigint[] = [];

  constructor(
    readonly request: EngineRequest,
    /** Order of arrival: smaller is older. */
    readonly arrival: number,
    /** Under which its pages are found: the cache's, or its own when it shares none. */
    readonly root: PageNode,
    /** True when `root` is this sequence's own. */
    readonly isPrivate: boolean,
  ) {
    this.tokens = request.prompt;
    this.length = request.prompt.length;
    this.promptLength = this.length;
  }

  get outputs(): number {
    return this.length - this.promptLength;
  }

  /** Tokens to compute of those known. A request that only scores its prompt needs no KV for the last token. */
  get target(): number {
    return this.request.maxTokens === 0 ? this.length - 1 : this.length;
  }

  /** Tokens that its next chunk may have. */
  get chunkLimit(): number {
    const todo = this.target - this.scheduled;
    // After a preemption: positions that are scored already and those that are not cannot share a chunk.
    const rescans =
      this.request.promptLogprobs >= 0 && this.scheduled < this.scored && this.scored < this.promptLength - 1;
    return rescans ? Math.min(todo, this.scored - this.scheduled) : todo;
  }

  /** Whether a step may still sample for it: the samples already asked for count. */
  get wantsMore(): boolean {
    return this.outputs + this.pendingSamples < this.request.maxTokens;
  }

  get usesPenalty(): boolean {
    const { repetitionPenalty, presencePenalty, frequencyPenalty } = this.request.sampling;
    return repetitionPenalty !== 1 || presencePenalty !== 0 || frequencyPenalty !== 0;
  }

  append(token: number): void {
    if (this.length === this.tokens.length) {
      // The prompt's array is the request's, and its siblings may share it: the first growth makes a copy.
      const room = Math.max(FIRST_OUTPUTS, this.length - this.promptLength);
      const larger = new Int32Array(this.length + Math.min(room, this.request.maxTokens - this.outputs));
      larger.set(this.tokens);
      this.tokens = larger;
    }
    this.tokens[this.length++] = token;
  }

  /** Key of page `index`, which must be full of known tokens. */
  key(index: number): bigint {
    for (let i = this.keys.length; i <= index; i++) {
      const parent = i === 0 ? this.root.key : this.keys[i - 1]!;
      this.keys.push(pageKey(parent, this.tokens.subarray(i * PAGE_TOKENS, (i + 1) * PAGE_TOKENS)));
    }
    return this.keys[index]!;
  }

  /** Copies result rows of prompt positions [from, from + count) into promptLogprobs. `width` is a row of the top arrays. */
  addPromptRows(
    from: number,
    count: number,
    rows: { ids: Int32Array; logprobs: Float32Array; topIds: Int32Array; topLogprobs: Float32Array },
    row: number,
    width: number,
  ): void {
    const topN = this.request.promptLogprobs;
    this.promptLogprobs ??= emptyLogprobs(this.promptLength - 1, topN);
    const out = this.promptLogprobs;
    out.ids.set(rows.ids.subarray(row, row + count), from);
    out.logprobs.set(rows.logprobs.subarray(row, row + count), from);
    for (let i = 0; i < count; i++) {
      const at = (row + i) * width;
      out.topIds.set(rows.topIds.subarray(at, at + topN), (from + i) * topN);
      out.topLogprobs.set(rows.topLogprobs.subarray(at, at + topN), (from + i) * topN);
    }
  }
}

export function emptyLogprobs(count: number, topN: number): TokenLogprobs {
  return {
    ids: new Int32Array(count),
    logprobs: new Float32Array(count),
    topN,
    topIds: new Int32Array(count * topN),
    topLogprobs: new Float32Array(count * topN),
  };
}
