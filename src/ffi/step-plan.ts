/**
 * One step as plain data: what a scheduler decides and libfastgen runs. Its arrays already have fastgen.h's layout, so that
 * submitting a step needs no conversion. No FFI here: schedulers and tests use it without a library.
 */
import { type EngineSampling, GREEDY } from "../engine-config.ts";
import { FG, STRUCTS } from "./layout.ts";

/** A slot's sampling state, sent with the first step of its sequence, and again after a preemption (fg_slot_fill). */
export interface SlotFill {
  slot: number;
  sampling: EngineSampling;
  /** Ids that are not sampled into positions below minContext (prompt + min_tokens). */
  stopIds: Int32Array;
  minContext: number;
  /** Prompt and output so far. Null unless a penalty is on. */
  history: Int32Array | null;
  /** How many tokens of the history are prompt. */
  promptLength: number;
}

/** A slot that decodes greedily and never holds an id back. */
export function greedyFill(slot: number): SlotFill {
  return { slot, sampling: GREEDY, stopIds: new Int32Array(0), minContext: 0, history: null, promptLength: 0 };
}

/** One sequence's part of a step (fg_step_seq). */
export interface StepSequence {
  slot: number;
  context: number;
  /** FG.SAMPLE | FG.SCORE | FG.LOGITS */
  flags: number;
  /** With SCORE and without SAMPLE: the token after the last new one. */
  nextToken?: number;
  /** Alternatives for each row. -1 = none, and no log probability of the chosen token either. */
  logprobs?: number;
  /** Row of the masks. -1 = no mask; LATE_MASK = one of its own, which comes after the step was submitted. */
  mask?: number;
}

/** In place of a row of the masks. Late masks are counted in the order of their sequences. */
export const LATE_MASK = -2;

const SEQ_INTS = STRUCTS.fg_step_seq.size / 4;

const { at } = STRUCTS.fg_step_seq;
/** Where a field stands in fg_step_seq, in 32-bit words. */
const FIELD = {
  slot: at.slot / 4,
  count: at.n_new / 4,
  context: at.context / 4,
  flags: at.flags / 4,
  nextToken: at.next_token / 4,
  logprobs: at.n_logprobs / 4,
  mask: at.mask / 4,
};

/** A ragged batch, refilled for every step: clear(), then add(). Its buffers are reused; `pageUpdates` and `copies` grow. */
export class StepPlan {
  seqCount = 0;
  tokenCount = 0;
  pageUpdateCount = 0;
  copyCount = 0;
  maskCount = 0;
  lateMaskCount = 0;
  /** Rows that the step's result will have. */
  rowCount = 0;
  /** How many of these rows have logits. */
  logitsRowCount = 0;
  /** fg_step_seq[seqCount] */
  readonly seqs: Int32Array<ArrayBuffer>;
  readonly tokens: Int32Array<ArrayBuffer>;
  /** fg_page_update[pageUpdateCount] */
  pageUpdates: Int32Array<ArrayBuffer>;
  /** fg_page_copy[copyCount], to be made before the step. They stay until a step takes them along: see submitted(). */
  copies: Int32Array<ArrayBuffer>;
  readonly fills: SlotFill[] = [];
  /** [maskCount][ceil(vocab / 32)] */
  masks: Uint32Array<ArrayBuffer> = new Uint32Array(new ArrayBuffer(4));
  private numbered: Int32Array<ArrayBuffer> | null = null;
  /** Words of one mask. */
  private maskLength = 0;
  /** By mask: its row in this step. Sequences of one request may share a mask. */
  private readonly maskRows = new Map<Uint32Array, number>();

  constructor(
    readonly maxSeqs: number,
    readonly maxTokens: number,
  ) {
    this.seqs = int32s(maxSeqs * SEQ_INTS);
    this.tokens = int32s(maxTokens);
    this.pageUpdates = int32s(maxSeqs * 3);
    this.copies = int32s(64 * 3);
  }

  /** Begins another step. Copies that no step has taken along stay: whoever recorded them counts on them. */
  clear(): void {
    this.seqCount = 0;
    this.tokenCount = 0;
    this.pageUpdateCount = 0;
    this.maskCount = 0;
    this.lateMaskCount = 0;
    this.maskRows.clear();
    this.rowCount = 0;
    this.logitsRowCount = 0;
    this.fills.length = 0;
    // They wait for the next step now, which may use what they bring.
    for (let at = 2; at < this.copyCount * 3; at += 3) {
      if (this.copies[at] === FG.TO_DEVICE_BESIDE) this.copies[at] = FG.TO_DEVICE;
    }
  }

  /** The library has accepted the step: its copies will be made. */
  submitted(): void {
    this.copyCount = 0;
  }

  /** Adds a decode. `token` may be FG.LAST_SAMPLED. Positional arguments, because every sequence of every step gets here. */
  addDecode(
    slot: number,
    token: number,
    context: number,
    logprobs: number,
    flags: number = FG.SAMPLE,
    mask = -1,
  ): void {
    this.tokens[this.tokenCount++] = token;
    this.writeSeq(slot, 1, context, flags, 0, logprobs, mask);
    this.countRows(flags, 1, 1);
  }

  /** The row of `mask` ([ceil(vocab / 32)], copied) among the step's masks; -1 for null. All masks have one length. */
  addMask(mask: Uint32Array | null): number {
    if (mask === null) return -1;
    let row = this.maskRows.get(mask);
    if (row !== undefined) return row;
    row = this.maskCount++;
    this.maskRows.set(mask, row);
    this.maskLength = mask.length;
    const end = (row + 1) * mask.length;
    if (end > this.masks.length) {
      const larger = new Uint32Array(new ArrayBuffer(2 * end * 4));
      larger.set(this.masks);
      this.masks = larger;
    }
    this.masks.set(mask, row * mask.length);
    return row;
  }

  /** Adds a sequence with the tokens `source[from, to)`, at the positions [context - (to - from), context). */
  add(seq: StepSequence, source: ArrayLike<number>, from: number, to: number): void {
    const count = to - from;
    for (let i = from; i < to; i++) this.tokens[this.tokenCount++] = source[i]!;
    this.writeSeq(seq.slot, count, seq.context, seq.flags, seq.nextToken ?? 0, seq.logprobs ?? -1, seq.mask ?? -1);
    this.countRows(seq.flags, count, 1);
  }

  private countRows(flags: number, count: number, sign: 1 | -1): void {
    const rows = sign * (flags & FG.SCORE ? count : flags & FG.SAMPLE ? 1 : 0);
    this.rowCount += rows;
    if (flags & FG.LOGITS) this.logitsRowCount += rows;
  }

  /** Takes sequence `i` out, with its mask and its slot's fill and page updates. Copies stay. */
  remove(i: number): void {
    const { slot, count, flags, mask } = this.sequence(i);
    let first = 0;
    for (let j = 0; j < i; j++) first += this.seqs[j * SEQ_INTS + FIELD.count]!;
    this.tokens.copyWithin(first, first + count, this.tokenCount);
    this.tokenCount -= count;
    this.seqs.copyWithin(i * SEQ_INTS, (i + 1) * SEQ_INTS, this.seqCount * SEQ_INTS);
    this.seqCount--;
    if (mask === LATE_MASK) this.lateMaskCount--;
    else this.removeMask(mask);
    this.countRows(flags, count, -1);
    const fill = this.fills.findIndex((one) => one.slot === slot);
    if (fill >= 0) this.fills.splice(fill, 1);
    const { pageUpdates, pageUpdateCount } = this;
    this.pageUpdateCount = 0;
    for (let j = 0; j < pageUpdateCount; j++) {
      const [updated, index, page] = [pageUpdates[j * 3]!, pageUpdates[j * 3 + 1]!, pageUpdates[j * 3 + 2]!];
      if (updated !== slot) this.setPage(updated, index, page);
    }
  }

  /** Takes a row of the masks out, unless a sequence still has it. The last row takes its place. */
  private removeMask(row: number): void {
    const at = (i: number) => i * SEQ_INTS + FIELD.mask;
    for (let i = 0; i < this.seqCount; i++) if (this.seqs[at(i)] === row) return;
    if (row < 0) return;
    const last = --this.maskCount;
    const { maskLength } = this;
    this.masks.copyWithin(row * maskLength, last * maskLength, (last + 1) * maskLength);
    for (let i = 0; i < this.seqCount; i++) if (this.seqs[at(i)] === last) this.seqs[at(i)] = row;
  }

  private writeSeq(
    slot: number,
    count: number,
    context: number,
    flags: number,
    nextToken: number,
    logprobs: number,
    mask: number,
  ): void {
    const { seqs } = this;
    const at = this.seqCount++ * SEQ_INTS;
    seqs[at + FIELD.slot] = slot;
    seqs[at + FIELD.count] = count;
    seqs[at + FIELD.context] = context;
    seqs[at + FIELD.flags] = flags;
    seqs[at + FIELD.nextToken] = nextToken;
    seqs[at + FIELD.logprobs] = logprobs;
    seqs[at + FIELD.mask] = mask;
    if (mask === LATE_MASK) this.lateMaskCount++;
  }

  /** fg_step_seq[seqCount], with the late masks numbered behind the others, as fastgen.h has them. */
  numberedSeqs(): Int32Array<ArrayBuffer> {
    if (this.lateMaskCount === 0) return this.seqs;
    this.numbered ??= int32s(this.seqs.length);
    this.numbered.set(this.seqs);
    let row = this.maskCount;
    for (let at = FIELD.mask; at < this.seqCount * SEQ_INTS; at += SEQ_INTS) {
      if (this.numbered[at] === LATE_MASK) this.numbered[at] = row++;
    }
    return this.numbered;
  }

  /** Tokens [index * 64, index * 64 + 64) of the sequence in `slot` live in `page` from this step on. */
  setPage(slot: number, index: number, page: number): void {
    const at = this.pageUpdateCount++ * 3;
    if (at >= this.pageUpdates.length) this.pageUpdates = grown(this.pageUpdates);
    this.pageUpdates[at] = slot;
    this.pageUpdates[at + 1] = index;
    this.pageUpdates[at + 2] = page;
  }

  /** Adds a page copy, after those already in the plan. `direction`: FG.TO_HOST, FG.TO_DEVICE or FG.TO_DEVICE_BESIDE. */
  copyPage(page: number, hostPage: number, direction: number): void {
    const at = this.copyCount++ * 3;
    if (at >= this.copies.length) this.copies = grown(this.copies);
    this.copies[at] = page;
    this.copies[at + 1] = hostPage;
    this.copies[at + 2] = direction;
  }

  /** Sequence `i`, as it was added. */
  sequence(i: number): Required<StepSequence> & { count: number } {
    const read = (field: number) => this.seqs[i * SEQ_INTS + field]!;
    return {
      slot: read(FIELD.slot),
      count: read(FIELD.count),
      context: read(FIELD.context),
      flags: read(FIELD.flags),
      nextToken: read(FIELD.nextToken),
      logprobs: read(FIELD.logprobs),
      mask: read(FIELD.mask),
    };
  }
}

/** Over an explicit ArrayBuffer, so that the address C is given stays the array's (see StructArray). */
function int32s(length: number): Int32Array<ArrayBuffer> {
  return new Int32Array(new ArrayBuffer(Math.max(length, 1) * 4));
}

function grown(array: Int32Array<ArrayBuffer>): Int32Array<ArrayBuffer> {
  const larger = int32s(array.length * 2);
  larger.set(array);
  return larger;
}
