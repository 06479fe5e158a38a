/**
 * libfastgen's contract in TypeScript, for tests. KV pages hold token ids, and the next token is a hash of all tokens of the
 * sequence, read back through the slot's page table. A wrong or stale page, a lost or repeated token, a copy out of order or
 * a wrong slot state changes the output, or throws.
 */
import { FastgenError } from "../errors.ts";
import { FG } from "../ffi/layout.ts";
import type { StepResult } from "../ffi/step.ts";
import type { SlotFill, StepPlan } from "../ffi/step-plan.ts";
import { PAGE_TOKENS } from "./page-cache.ts";
import type { EngineRequest } from "./protocol.ts";

export interface FakeConfig {
  maxSeqs: number;
  maxStepTokens: number;
  maxContext: number;
  pages: number;
  hostPages: number;
  vocabSize: number;
}

/** What memory holds before it is written: a token that no model samples. */
const GARBAGE = -7;

interface Slot {
  fill: SlotFill;
  table: number[];
  lastSampled: number;
  /** The tokens that penalties count: the history that the slot was filled with, then the tokens that it sampled. */
  history: number[] | null;
}

/** The fake model: the token that follows `tokens[0, length)`. Stop ids are held back below minContext. */
function nextToken(
  tokens: ArrayLike<number>,
  length: number,
  fill: Pick<SlotFill, "sampling" | "stopIds" | "minContext">,
  vocabSize: number,
) {
  let hash = Number(BigInt.asUintN(32, fill.sampling.seed)) | 0;
  for (let i = 0; i < length; i++) hash = mix(hash, tokens[i]!);
  let token = (hash >>> 0) % vocabSize;
  while (length < fill.minContext && fill.stopIds.includes(token)) token = (token + 1) % vocabSize;
  return token;
}

/** A penalty makes the token depend on the history, so that a wrong history shows. */
function penalised(token: number, history: readonly number[] | null, vocabSize: number): number {
  return history === null ? token : (token + history.reduce((sum, id) => sum + id, 0)) % vocabSize;
}

function mix(hash: number, value: number): number {
  return Math.imul(hash ^ (value + 0x9e3779b9), 0x85ebca6b) ^ (hash >>> 13);
}

/** Log probability of `token` after `length` tokens. Any function of both will do. */
function logprob(token: number, length: number): number {
  return -token - length / 1024;
}

/** What a request must generate, computed without engine or pages. */
export function expectedOutput(
  request: EngineRequest,
  vocabSize: number,
): { tokens: number[]; finish: "stop" | "length" } {
  const fill = {
    sampling: request.sampling,
    stopIds: request.minTokens > 0 ? request.stopIds : new Int32Array(0),
    minContext: request.prompt.length + request.minTokens,
  };
  const all = [...request.prompt];
  const tokens: number[] = [];
  while (tokens.length < request.maxTokens) {
    const history = request.sampling.presencePenalty !== 0 ? all : null;
    const token = penalised(nextToken(all, all.length, fill, vocabSize), history, vocabSize);
    tokens.push(token);
    all.push(token);
    if (request.stopIds.includes(token)) return { tokens, finish: "stop" };
  }
  return { tokens, finish: "length" };
}

/** What a request with promptLogprobs must get, for every prompt token but the first. */
export function expectedPromptLogprobs(request: EngineRequest): { ids: number[]; logprobs: number[] } {
  const ids = [...request.prompt.subarray(1)];
  return { ids, logprobs: ids.map((id, i) => Math.fround(logprob(id, i + 1))) };
}

export function expectedLogprob(token: number, length: number): number {
  return Math.fround(logprob(token, length));
}

/** Of every row that asks for log probabilities. */
export function expectedRank(token: number): number {
  return 1 + (token % 5);
}

export class FakeLibrary {
  /** Tokens computed in all steps. */
  computedTokens = 0;
  /** Pages copied back from the host. */
  pagesReturned = 0;
  /** Sequence length at which no token can be sampled, as with damaged weights. 0 = never. */
  barrenLength = 0;
  /** As LibraryEngine's. A fill with topP 0 is refused. */
  refusedSlot = -1;
  private readonly kv: Int32Array;
  private readonly hostKv: Int32Array;
  private readonly slots = new Map<number, Slot>();
  private readonly queue: StepResult[] = [];
  /** The pages that each step of the queue wrote to. */
  private readonly written: Set<number>[] = [];
  private steps = 0;

  constructor(private readonly config: FakeConfig) {
    this.kv = new Int32Array(config.pages * PAGE_TOKENS).fill(GARBAGE);
    this.hostKv = new Int32Array(config.hostPages * PAGE_TOKENS).fill(GARBAGE);
  }

  /** Runs the step at once and keeps its result for wait(): steps run in the order they are submitted. */
  submit(plan: StepPlan): void {
    const { config } = this;
    this.refusedSlot = plan.fills.find(({ sampling }) => sampling.topP === 0)?.slot ?? -1;
    if (this.refusedSlot >= 0) throw new FastgenError("invalid_request", "top_p is 0");
    check(this.queue.length < FG.STEPS_IN_FLIGHT, "too many steps are in flight");
    check(plan.seqCount >= 1 && plan.seqCount <= config.maxSeqs, `${plan.seqCount} sequences`);
    check(plan.tokenCount >= 1 && plan.tokenCount <= config.maxStepTokens, `${plan.tokenCount} tokens`);
    this.copyPages(plan);
    this.written.push(new Set());
    for (const fill of plan.fills) {
      check(fill.slot >= 0 && fill.slot < config.maxSeqs, `slot ${fill.slot}`);
      check(fill.stopIds.length <= FG.MAX_STOP_IDS, "too many stop ids");
      const history = fill.history && [...fill.history];
      this.slots.set(fill.slot, { fill, table: [], lastSampled: GARBAGE, history });
    }
    for (let i = 0; i < plan.pageUpdateCount; i++) {
      const [slot, index, page] = plan.pageUpdates.subarray(i * 3, i * 3 + 3) as unknown as [number, number, number];
      check(page >= 0 && page < config.pages, `page ${page}`);
      this.slots.get(slot)!.table[index] = page;
    }
    this.queue.push(this.run(plan));
    plan.submitted();
  }

  wait(): StepResult {
    const result = this.queue.shift();
    this.written.shift();
    check(result !== undefined, "no step is in flight");
    return result!;
  }

  private copyPages(plan: StepPlan): void {
    for (let i = 0; i < plan.copyCount; i++) {
      const page = plan.copies[i * 3]! * PAGE_TOKENS;
      const host = plan.copies[i * 3 + 1]! * PAGE_TOKENS;
      check(page >= 0 && page < this.kv.length && host >= 0 && host < this.hostKv.length, "a copy out of bounds");
      if (plan.copies[i * 3 + 2] === FG.TO_HOST) {
        check(!this.written.some((pages) => pages.has(page)), "a copy to the host of a page that a step is writing to");
        this.hostKv.set(this.kv.subarray(page, page + PAGE_TOKENS), host);
      } else {
        this.kv.set(this.hostKv.subarray(host, host + PAGE_TOKENS), page);
        this.pagesReturned++;
      }
    }
  }

  private run(plan: StepPlan): StepResult {
    const ids: number[] = [];
    const logprobs: number[] = [];
    const ranks: number[] = [];
    const seen = new Set<number>();
    let at = 0;
    let sawChunk = false;
    for (let i = 0; i < plan.seqCount; i++) {
      const sequence = plan.sequence(i);
      const { count, context, flags } = sequence;
      check(!seen.has(sequence.slot), "a slot appears twice");
      seen.add(sequence.slot);
      check(count >= 1 && context <= this.config.maxContext, "a sequence beyond the context");
      check(count > 1 || !sawChunk, "a one-token sequence after a chunk");
      sawChunk ||= count > 1;
      const slot = this.slots.get(sequence.slot)!;
      const tokens = this.write(slot, plan, at, count, context);
      at += count;
      const scores = (flags & FG.SCORE) !== 0;
      const samples = (flags & FG.SAMPLE) !== 0;
      for (let j = scores ? 0 : count - 1; j < count; j++) {
        const length = context - count + j + 1;
        let id = j + 1 < count ? tokens[length]! : sequence.nextToken;
        if (samples && j + 1 === count) id = this.sample(slot, tokens, length);
        else if (!scores) break;
        ids.push(id);
        logprobs.push(sequence.logprobs >= 0 ? logprob(id, length) : Number.NaN);
        ranks.push(sequence.logprobs >= 0 ? expectedRank(id) : -1);
      }
    }
    check(at === plan.tokenCount, "token counts disagree");
    check(ids.length === plan.rowCount, "row counts disagree");
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
      logits: new Float32Array(0),
      runSeconds: 0,
      idleSeconds: 0,
    };
  }

  /** Writes the new tokens' KV; returns the whole sequence, read back from the pages. */
  private write(slot: Slot, plan: StepPlan, at: number, count: number, context: number): Int32Array {
    const where = (position: number) => {
      const page = slot.table[Math.floor(position / PAGE_TOKENS)];
      check(page !== undefined, "a position without a page");
      return page! * PAGE_TOKENS + (position % PAGE_TOKENS);
    };
    for (let j = 0; j < count; j++) {
      let token = plan.tokens[at + j]!;
      if (token === FG.LAST_SAMPLED) {
        check(count === 1 && slot.lastSampled !== GARBAGE, "LAST_SAMPLED where nothing was sampled");
        token = slot.lastSampled;
      }
      const position = where(context - count + j);
      this.kv[position] = token;
      this.written.at(-1)!.add(position - (position % PAGE_TOKENS));
    }
    return Int32Array.from({ length: context }, (_, position) => this.kv[where(position)]!);
  }

  private sample(slot: Slot, tokens: Int32Array, length: number): number {
    const { fill, history } = slot;
    const { vocabSize } = this.config;
    check(history === null || history.length === length, "the history is not the sequence");
    if (length === this.barrenLength) {
      slot.lastSampled = 0;
      return -1;
    }
    const token = penalised(nextToken(tokens, length, fill, vocabSize), history, vocabSize);
    slot.lastSampled = token;
    history?.push(token);
    return token;
  }
}

function check(condition: boolean, message: string): void {
  if (!condition) throw new Error(`the step breaks fastgen.h: ${message}`);
}
