/**
 * Continuous batching: which sequences run in the next step, with how many tokens, on which pages.
 *
 * plan() fills in a step; commit() takes the result of the oldest step in flight. Up to FG.STEPS_IN_FLIGHT steps may be in
 * flight: the next one is planned before the tokens of the last one are known, with FG.LAST_SAMPLED in their place. Ends
 * that are known beforehand (max_tokens) are planned for. A stop id is noticed one step late, and the token sampled after it
 * is dropped. A mask that depends on the token being sampled is given once that is known, while its step runs
 * (mask-rows.ts). Where it came too late, or forced tokens follow, what is in flight behind is dropped.
 *
 * Order: running sequences decode first. Then prompts, and forced tokens, are computed, oldest first, in chunks, from what is
 * left of the token budget. Then waiting sequences are admitted in the order they arrived (but see awaited-pages.ts). When
 * pages run out, the youngest running sequence gives its pages back. Where requests have priorities, "older" means of a lower
 * priority number, or of the same and older. Its full pages stay cached, on the device or the host, while there is room; it
 * resumes later from those that are still there. Beside decoding sequences, a step takes only a part of a short backlog of
 * prompt tokens, so that no sequence waits long for its next token. Chunks and the number of running sequences end at a
 * tile's edge rather than a little past it. None of this changes what a sequence generates.
 *
 * Pure: no FFI, no I/O, and a clock that only measures. Every loop is over the running sequences, a step's tokens, or a
 * bounded part of the queue.
 */
import { FastgenError } from "../errors.ts";
import { FG } from "../ffi/layout.ts";
import type { StepResult } from "../ffi/step.ts";
import type { StepPlan } from "../ffi/step-plan.ts";
import { Admission } from "./admission.ts";
import { AwaitedPages } from "./awaited-pages.ts";
import { Constraint } from "./constraint.ts";
import { Counters } from "./counters.ts";
import { DiskPages, type PageStore } from "./disk-pages.ts";
import { FullPages } from "./full-pages.ts";
import { HostCopies } from "./host-copies.ts";
import { type MaskLibrary, NO_LATE_MASKS } from "./late-masks.ts";
import { MaskRows } from "./mask-rows.ts";
import { Outcomes } from "./outcomes.ts";
import { OutputEstimate } from "./output-estimate.ts";
import { ABORT, append, begin, type Ending, endsBefore, LENGTH, withoutToken } from "./outputs.ts";
import { PAGE_TOKENS, PageCache, type PageNode, pagesFor } from "./page-cache.ts";
import { PendingPages } from "./pending-pages.ts";
import { planChunk, planDecode } from "./plan-rows.ts";
import { PromptChunks } from "./prompt-chunks.ts";
import { type EngineRequest, type EngineStats, FIRST_VERSION, NO_DISK, type StepMessage } from "./protocol.ts";
import { RestoreCosts } from "./restore-costs.ts";
import { checkConfig, type SchedulerConfig } from "./scheduler-config.ts";
import { precedes, Sequence } from "./sequence.ts";
import { type ResultRows, StepInFlight } from "./step-in-flight.ts";
import { chunkTokens } from "./step-size.ts";
import { WaitingQueue } from "./waiting-queue.ts";

/** Steps that pass before a sequence that did not fit is looked at again. The running ones are closer to their ends then. */
const AGING_STEPS = 7;
/** Page lookups that one plan spends on sequences that it then parks: about a millisecond, however many wait. */
export const MOST_PARKING_LOOKUPS = 1024;
/** Pages that are compared in the time of one lookup. */
const COMPARED_PER_LOOKUP = 16;

export class Scheduler {
  private readonly cache: PageCache;
  private readonly outcomes: Outcomes;
  private readonly estimate = new OutputEstimate();
  private readonly admission: Admission;
  private readonly alive = new Map<number, Sequence>();
  /** In the order of precedes: oldest first, within one priority. */
  private readonly running: Sequence[] = [];
  private readonly queue = new WaitingQueue();
  private readonly freeSlots: number[];
  /** Steps planned and not committed, oldest first, and those ready for reuse. */
  readonly inFlight: StepInFlight[] = [];
  private readonly spare: StepInFlight[] = [];
  private readonly pendingPages = new PendingPages();
  private readonly fullPages: FullPages;
  private readonly chunks: PromptChunks;
  private readonly masks: MaskRows;
  /** Steps until the oldest waiting sequence, which did not fit, is looked at again. 0 once pages have been given back. */
  private blockedSteps = 0;
  /** Paused not by the front, but until their grammars are compiled, or their pages have come from disk. */
  private readonly setAside = new Set<Sequence>();
  /** The pages on disk; null = there are none. */
  disk: DiskPages | null = null;
  private arrivals = 0;
  private swapped = 0;
  private paused = 0;
  private readonly counters = new Counters();
  private readonly copies: HostCopies;
  private readonly awaited: AwaitedPages;
  /** Nothing is planned while this is set: what is in flight is the last. */
  frozen = false;
  /** Of the weights that the steps in flight are computed with. */
  weightVersion = FIRST_VERSION;

  /** `clock` gives milliseconds. Nothing is decided by it. */
  constructor(
    private readonly config: SchedulerConfig,
    private readonly library: MaskLibrary = NO_LATE_MASKS,
    private readonly clock = () => performance.now(),
  ) {
    this.outcomes = new Outcomes(clock);
    this.masks = new MaskRows(library, config.vocabSize);
    checkConfig(config);
    this.cache = new PageCache(config.pages, config.hostPages, config.pageListener);
    this.admission = new Admission(config, this.cache, this.estimate, this.running, this.queue.all);
    this.chunks = new PromptChunks(config.maxStepTokens);
    this.copies = new HostCopies(this.cache, config.maxStepTokens);
    this.awaited = new AwaitedPages(this.cache, this.queue);
    this.fullPages = new FullPages(this.cache, this.pendingPages, this.queue, () => {
      this.blockedSteps = 0;
    });
    this.freeSlots = Array.from({ length: config.maxSeqs }, (_, i) => config.maxSeqs - 1 - i);
  }

  /** Steps planned and not yet committed. */
  get stepsInFlight(): number {
    return this.inFlight.length;
  }

  /** Sequences that have not ended. */
  get aliveCount(): number {
    return this.alive.size;
  }

  /** Of these, the ones that may run now. */
  get activeCount(): number {
    return this.frozen ? 0 : this.alive.size - this.paused - this.queue.later.size;
  }

  /** Whether sequences that came before the queue was closed have not ended. */
  get hasEarlier(): boolean {
    const [oldest] = this.alive.values();
    return oldest !== undefined && oldest.arrival < this.queue.closedFrom;
  }

  /** False: sequences that arrive from now on wait until it is true again. */
  takeIn(isOpen: boolean): void {
    if (isOpen) this.queue.open();
    else this.queue.close(this.arrivals);
    this.blockedSteps = 0;
  }

  /** Host pages [0, count) can be used from now on. Never fewer than before. */
  setHostPages(count: number): void {
    this.cache.setHostPages(count);
  }

  /** Keeps pages in `store` from now on. */
  useStore(store: PageStore): DiskPages {
    const { maxStepTokens, pageListener = null } = this.config;
    const goOn = (seq: Sequence) => this.setAside.has(seq) && this.resume(seq.request.id);
    const disk = new DiskPages(this.cache, store, new RestoreCosts(maxStepTokens), goOn, pageListener);
    this.disk = this.fullPages.disk = disk;
    return disk;
  }

  add(request: EngineRequest): void {
    const scoresAll = request.promptLogprobs >= 0 && request.scoreFrom === 0;
    const isPrivate = !this.config.prefixCaching || scoresAll;
    const arrival = this.arrivals++;
    const root = isPrivate ? PageCache.makeRoot(BigInt(arrival + 1)) : this.cache.rootOf(request.cacheSalt);
    const constraint = Constraint.of(request, this.config.vocabSize, this.library);
    const seq = new Sequence(request, arrival, root, isPrivate, this.clock(), constraint);
    this.alive.set(request.id, seq);
    const { length } = request.prompt;
    if (length < 1 || length + request.maxTokens > this.config.maxContext) {
      const reason = `a prompt of ${length} tokens and max_tokens ${request.maxTokens} do not fit the context of ${this.config.maxContext} tokens`;
      this.fail(seq, new FastgenError("invalid_request", reason));
    } else if (seq.target < 1) {
      this.end(seq, LENGTH);
    } else {
      const ending = begin(seq);
      if (ending) this.end(seq, ending);
      else this.awaited.add(seq);
      // Who is first now has not been looked at yet.
      if (this.queue.all[0] === seq) this.blockedSteps = 0;
    }
  }

  /** Ends a sequence now. Its pages are free for the next step. Does nothing when it has ended already. */
  abort(id: number): void {
    const seq = this.alive.get(id);
    if (seq) this.end(seq, ABORT);
  }

  /** The grammar that `id` came without has been compiled. Takes over its matcher. */
  setMatcher(id: number, pointer: number): void {
    const matcher = this.library.openMatcher(pointer);
    const seq = this.alive.get(id);
    if (!seq?.constraint) {
      matcher.free();
      return;
    }
    const awaited = seq.awaitsGrammar;
    seq.constraint.setMatcher(matcher);
    if (!awaited) return;
    const ending = endsBefore(seq) ?? this.masks.follow(seq, seq.constraint);
    if (ending) this.end(seq, ending);
    else if (this.setAside.has(seq)) this.resume(id);
  }

  /** Takes a sequence off its slot until resume(). A sample still in flight is kept when it arrives. */
  pause(id: number): void {
    const seq = this.alive.get(id);
    if (!seq) return;
    this.setAside.delete(seq);
    if (seq.state === "paused") return;
    if (seq.state === "running") this.leave(seq);
    else this.dequeue(seq);
    seq.state = "paused";
    seq.residence++;
    this.paused++;
  }

  /** Pauses a sequence until what it waits for is there. */
  private putAside(seq: Sequence): void {
    this.pause(seq.request.id);
    this.setAside.add(seq);
  }

  /** Puts a paused sequence back into the queue, at its place in the order of arrival. */
  resume(id: number): void {
    const seq = this.alive.get(id);
    if (seq?.state !== "paused") return;
    this.setAside.delete(seq);
    this.paused--;
    this.enqueue(seq);
  }

  /** Ends every sequence now, with an error where there is one. */
  endAll(error: FastgenError | null): void {
    for (const seq of this.alive.values()) error ? this.fail(seq, error) : this.end(seq, ABORT);
  }

  /**
   * No page is found any more, on the device, the host or, unless `keepDisk`, on disk. Sequences that run keep theirs; or, with
   * `recompute` and while nothing is in flight, go back to the queue and compute all their tokens again.
   */
  clearCache(recompute: boolean, keepDisk = false): void {
    while (recompute && this.running.length > 0) this.preempt(this.running.at(-1)!);
    if (recompute) for (const seq of this.alive.values()) seq.forgetScores();
    this.cache.clear();
    this.disk?.cleared(keepDisk);
  }

  /** Plans the next step into `plan`. False when nothing can run now. Submit the plan, or call refuse(). */
  plan(plan: StepPlan): boolean {
    plan.clear();
    this.awaited.begin();
    this.copies.begin();
    if (this.frozen) return false;
    const step = this.spare.pop() ?? new StepInFlight();
    const preemptions = this.counters.preemptions;
    const decodes = this.planDecodes(plan, step);
    const { maxStepTokens } = this.config;
    let left =
      decodes > 0
        ? chunkTokens(maxStepTokens, decodes, this.chunks.backlog(this.running, this.queue.all))
        : maxStepTokens;
    left = this.chunks.choose(this.running, left);
    // When pages ran out, the sequence that gave some back must not take them again in the same step.
    if (this.counters.preemptions === preemptions) left = this.admit(plan, left);
    this.chunks.shareLeftover(left);
    for (const [seq, count] of this.chunks.chosen()) planChunk(seq, count, plan, step, this.masks);
    if (plan.seqCount === 0) {
      this.spare.push(step);
      return false;
    }
    this.closeMasks();
    this.disk?.planSaves(plan, this.copies.arriving);
    this.copies.planned(step, plan);
    this.inFlight.push(step);
    return true;
  }

  /** Plans the running sequences whose next token is the one sampled last. Returns the tokens used. */
  private planDecodes(plan: StepPlan, step: StepInFlight): number {
    const { running } = this;
    // The length is read anew each time: a preemption shortens the list, from its end.
    for (let i = 0; i < running.length; i++) {
      const seq = running[i]!;
      const decodes = seq.pendingSamples > 0 || (seq.length - seq.scheduled === 1 && seq.outputs > 0);
      if (decodes && !seq.wantsMore) continue;
      // A chunk has its pages, unless its tokens were forced.
      const needed = decodes ? seq.scheduled + 1 : seq.target;
      if (needed > seq.pages.length * PAGE_TOKENS && !this.addPages(seq, needed, plan)) continue;
      if (!decodes) continue;
      planDecode(seq, plan, step, this.masks);
    }
    return plan.tokenCount;
  }

  /** Gives a running sequence pages for `tokens` tokens, taken from the youngest if need be. False when that was `seq` itself. */
  private addPages(seq: Sequence, tokens: number, plan: StepPlan): boolean {
    while (!this.cache.grow(seq.pages, pagesFor(tokens), plan)) {
      const youngest = this.running.at(-1)!;
      this.preempt(youngest);
      if (youngest === seq) return false;
    }
    return true;
  }

  /**
   * Admits waiting sequences, oldest first, while slots, budget and pages last. Returns the rest of the budget. Those that get pages
   * back from the host while the step runs begin with the next one: what that one may compute is their budget.
   */
  private admit(plan: StepPlan, budget: number): number {
    if (this.queue.all.length === 0 || this.blockedSteps > 0) {
      this.blockedSteps = Math.max(0, this.blockedSteps - 1);
      return budget;
    }
    let left = budget;
    let next = this.config.maxStepTokens - this.chunks.left(this.running);
    let forecastReady = false;
    let parkingLookups = 0;
    while (Math.max(left, next) > 0 && this.freeSlots.length > 0 && parkingLookups < MOST_PARKING_LOOKUPS) {
      const seq = this.awaited.next();
      // A sequence whose last token is still being sampled goes on after the next commit.
      if (!seq || seq.pendingSamples > 0) break;
      const found = seq.cachedPages(this.cache);
      const nodes = this.copies.useful(found);
      const awaited = this.pendingPages.awaited(seq, nodes.length);
      if (awaited) {
        this.queue.park(seq, awaited.key);
        parkingLookups += 1 + nodes.length + awaited.common / COMPARED_PER_LOOKUP;
        continue;
      }
      if (nodes === found && this.disk?.fetch(seq, nodes)) {
        this.putAside(seq);
        parkingLookups += 1 + nodes.length;
        continue;
      }
      const arrives = (plan.seqCount > 0 || this.chunks.count > 0) && this.copies.arrive(nodes);
      if ((arrives ? next : left) <= 0) break;
      if (!forecastReady) {
        this.admission.refresh();
        forecastReady = true;
      }
      if (!this.admission.admits(seq, nodes)) {
        this.blockedSteps = AGING_STEPS;
        break;
      }
      this.awaited.remove(seq);
      this.start(seq, nodes, plan, arrives);
      const todo = seq.target - seq.scheduled;
      if (!arrives) left -= this.chunks.add(seq, todo, left);
      else next = this.copies.mayGoOn ? next - todo : 0;
    }
    return left;
  }

  /** Gives a waiting sequence its slot and the pages for all tokens it has. `arrives`: it is computed from the next step on. */
  private start(seq: Sequence, nodes: readonly PageNode[], plan: StepPlan, arrives: boolean): void {
    const { cache } = this;
    this.copies.start(seq, nodes, arrives);
    cache.acquire(nodes, seq.pages, plan, seq.cachedTokens < 0, arrives ? FG.TO_DEVICE_BESIDE : FG.TO_DEVICE);
    for (const node of nodes) seq.nodes.push(node);
    cache.grow(seq.pages, pagesFor(seq.target), plan);
    seq.scheduled = seq.computed = nodes.length * PAGE_TOKENS;
    if (seq.cachedTokens < 0) {
      seq.cachedTokens = seq.scheduled;
      seq.startedAt = this.clock();
      this.counters.promptTokens += seq.promptLength;
      if (!seq.isPrivate) {
        this.counters.prefixQueriedTokens += seq.promptLength;
        this.counters.prefixHitTokens += seq.scheduled;
      }
      this.disk?.started(seq, nodes);
    }
    this.setSwapped(seq, false);
    this.pendingPages.add(seq, nodes.length);
    seq.slot = this.freeSlots.pop()!;
    seq.state = "running";
    let at = this.running.length;
    while (at > 0 && precedes(seq, this.running[at - 1]!)) at--;
    this.running.splice(at, 0, seq);
    seq.needsFill = true;
  }

  /** Sends the youngest running sequence back to the queue. A sample still in flight is kept when it arrives. */
  private preempt(seq: Sequence): void {
    this.leave(seq);
    seq.residence++;
    this.enqueue(seq);
    this.counters.preemptions++;
    this.estimate.ranOut();
  }

  /** Puts a sequence into the queue. The pages of one that has run may be on the host. */
  private enqueue(seq: Sequence): void {
    seq.state = "waiting";
    this.awaited.add(seq);
    this.setSwapped(seq, seq.cachedTokens >= 0 && this.cache.hostPages > 0);
    this.blockedSteps = 0;
  }

  private dequeue(seq: Sequence): void {
    this.awaited.remove(seq);
    this.blockedSteps = 0;
    this.setSwapped(seq, false);
  }

  private setSwapped(seq: Sequence, swapped: boolean): void {
    this.swapped += Number(swapped) - Number(seq.swapped);
    seq.swapped = swapped;
  }

  /** Takes a running sequence off its slot and its pages. */
  private leave(seq: Sequence): void {
    const { running } = this;
    // Searched from the end, which is where preempted sequences are.
    running.splice(running.lastIndexOf(seq), 1);
    this.freeSlots.push(seq.slot);
    seq.slot = -1;
    for (let i = seq.pages.length - 1; i >= 0; i--) this.cache.release(seq.pages[i]!);
    this.fullPages.abandon(seq);
    seq.pages.length = seq.nodes.length = 0;
    seq.sentPages = seq.scheduled = seq.computed = 0;
    this.blockedSteps = 0;
  }

  /** Takes the result of the oldest step in flight, or the reason why it failed, which ends the sequences that were in it. */
  commit(result: StepResult | FastgenError): void {
    const step = this.inFlight.shift();
    if (!step) throw new FastgenError("internal", "a result arrived for a step that was never planned");
    this.disk?.committed(step, !(result instanceof FastgenError));
    if (result instanceof FastgenError) {
      this.failStep(step, result);
      return;
    }
    this.copies.committed(step, result);
    this.disk?.costs.computed(step.tokenCount, result.runSeconds);
    this.counters.steps++;
    this.counters.stepTokens = step.tokenCount;
    let row = 0;
    let logitsRow = 0;
    for (let i = 0; i < step.seqs.length; i++) {
      const seq = step.seqs[i]!;
      const flags = step.flags[i]!;
      const rows = flags & FG.SCORE ? step.counts[i]! : flags & FG.SAMPLE ? 1 : 0;
      if (seq.state !== "finished") this.commitSequence(seq, step, i, result, { row, rows, logitsRow });
      row += rows;
      if (flags & FG.LOGITS) logitsRow += rows;
    }
    this.retire(step);
  }

  private commitSequence(seq: Sequence, step: StepInFlight, i: number, result: StepResult, at: ResultRows): void {
    const { row, rows, logitsRow } = at;
    // It went on from something that is not in the sequence.
    if (step.branches[i] !== seq.branch) return;
    const flags = step.flags[i]!;
    const sampled = (flags & FG.SAMPLE) !== 0;
    const last = row + rows - 1;
    const { awaitsGrammar } = seq;
    const isLate = sampled && (awaitsGrammar || result.ids[last] === FG.MASK_LATE);
    if (step.residences[i] === seq.residence) {
      // A page that is written to again must not be found yet.
      seq.computed = step.contexts[i]! - Number(isLate);
      this.fullPages.register(seq);
    }
    if (flags & FG.SCORE) {
      const from = step.contexts[i]! - step.counts[i]!;
      seq.addPromptRows(from, sampled ? rows - 1 : rows, result, row, FG.MAX_LOGPROBS);
    }
    if (!sampled) {
      if (seq.request.maxTokens === 0 && seq.computed === seq.target) this.end(seq, LENGTH);
      return;
    }
    seq.pendingSamples--;
    if (isLate) {
      seq.lateTimes++;
      this.masks.goBack(seq, seq.length - 1);
      if (awaitsGrammar && seq.state === "running") this.putAside(seq);
    } else {
      seq.lateTimes = 0;
      this.commitSample(seq, result, last, logitsRow);
    }
  }

  private commitSample(seq: Sequence, result: StepResult, row: number, logitsRow: number): void {
    const { constraint, request, outputs } = seq;
    const token = result.ids[row]!;
    let ending = token < 0 ? withoutToken(seq, token) : append(seq, token);
    if (!ending && constraint) ending = this.masks.follow(seq, constraint);
    if (ending instanceof FastgenError) this.fail(seq, ending);
    else if (ending) this.end(seq, ending);
    else this.counters.generatedTokens += this.outcomes.report(seq, "");
    if (seq.outputs === outputs) return;
    this.outcomes.addSampleLogprobs(request, result, row, logitsRow * this.config.vocabSize);
  }

  /**
   * The library refused the newest step, which `plan` holds, with `error`. When that was on account of `slot`, its sequence
   * ends, and the plan goes on without it; otherwise (-1) all sequences of the step end and the plan is empty.
   */
  refuse(plan: StepPlan, slot: number, error: FastgenError): void {
    const step = this.inFlight.pop();
    if (!step) throw new FastgenError("internal", "a step was refused that was never planned");
    const index = step.seqs.findIndex((seq) => seq.slot === slot);
    if (index >= 0 && slot >= 0) {
      plan.remove(index);
      // It is not in flight: what the sequence leaves behind waits for the step before.
      this.fail(step.remove(index), error);
    } else plan.clear();
    if (plan.seqCount > 0) this.inFlight.push(step);
    else this.failStep(step, error);
  }

  /** The step planned last has been submitted, with what refuse() left of it. */
  submitted(): void {
    const step = this.inFlight.at(-1)!;
    this.masks.submitted(step);
    this.disk?.submitted(step);
  }

  /** Whoever still awaits a grammar in the step submitted last samples nothing there. Call it before that step is waited for. */
  closeMasks(): void {
    this.masks.giveUp();
  }

  private failStep(step: StepInFlight, error: FastgenError): void {
    for (const seq of step.seqs) if (seq.state !== "finished") this.fail(seq, error);
    this.retire(step);
  }

  private retire(step: StepInFlight): void {
    for (const constraint of step.discarded.splice(0)) constraint.free();
    step.clear();
    this.spare.push(step);
  }

  private fail(seq: Sequence, error: FastgenError): void {
    this.remove(seq);
    this.outcomes.addError(seq, error);
  }

  private end(seq: Sequence, ending: Ending): void {
    if (ending !== ABORT) this.estimate.ended(seq.request.maxTokens, seq.outputs);
    this.remove(seq);
    this.counters.generatedTokens += this.outcomes.report(seq, ending.finish, ending.reason);
  }

  private remove(seq: Sequence): void {
    if (seq.state === "running") this.leave(seq);
    else if (seq.state === "paused") this.paused--;
    else this.dequeue(seq);
    this.setAside.delete(seq);
    for (const node of seq.privateNodes) this.cache.forget(node);
    this.masks.giveNothing(seq);
    if (seq.constraint) this.discard(seq.constraint);
    seq.state = "finished";
    this.alive.delete(seq.request.id);
  }

  /** Frees a constraint as soon as no step in flight can use it. */
  private discard(constraint: Constraint): void {
    const newest = this.inFlight.at(-1);
    if (newest) newest.discarded.push(constraint);
    else constraint.free();
  }

  /** Frees what the sequences hold outside of this scheduler, once the library runs no step any more. The last call. */
  close(): void {
    for (const step of this.inFlight) this.retire(step);
    for (const { constraint } of this.alive.values()) constraint?.free();
    this.alive.clear();
  }

  /** Whether a row in flight can still be sampled if a grammar is compiled before the next step is planned. */
  get awaitsGrammars(): boolean {
    return this.masks.awaitsGrammars;
  }

  /** Whether something has happened that no message has reported yet. */
  get hasOutcomes(): boolean {
    return this.outcomes.count > 0 || (this.disk?.hasNews ?? false);
  }

  /** The same, or more or fewer sequences wait than the last message said: they also come while nothing runs. */
  get hasNews(): boolean {
    return this.hasOutcomes || this.queue.size + this.paused !== this.outcomes.toldWaiting;
  }

  /** What happened since the last message. Call it after every commit. */
  takeMessage(): StepMessage {
    if (this.disk) this.disk.hasNews = false;
    return this.outcomes.take(this.stats(), this.weightVersion);
  }

  stats(): EngineStats {
    return {
      running: this.running.length,
      waiting: this.queue.size - this.swapped + this.setAside.size,
      swapped: this.swapped,
      paused: this.paused - this.setAside.size,
      pagesUsed: this.cache.referenced,
      pages: this.cache.pages,
      ...this.counters,
      pagesHeld: this.cache.pages - this.cache.empty,
      host: this.copies.stats,
      ...(this.disk?.stats ?? NO_DISK),
    };
  }
}
