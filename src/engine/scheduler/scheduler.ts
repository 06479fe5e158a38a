/**
 * Continuous batching: plans step after step, takes their results, and says what became of each sequence.
 *
 * plan() fills in a step; commit() takes the result of the oldest step in flight. Up to FG.STEPS_IN_FLIGHT steps may be in
 * flight: the next one is planned before the tokens of the last one are known, with FG.LAST_SAMPLED in their place. Ends
 * that are known beforehand (max_tokens) are planned for. A stop id is noticed one step late, and the token sampled after it
 * is dropped. A mask that depends on the token being sampled is given once that is known, while its step runs
 * (mask-rows.ts). Where it came too late, or forced tokens follow, what is in flight behind is dropped.
 *
 * What a step computes is chosen by step-planner.ts. Where a sequence is (waiting, running, paused) is kept by
 * sequence-states.ts.
 *
 * Pure: no FFI, no I/O, and a clock that only measures.
 */
import { FastgenError } from "../../errors.ts";
import { FG } from "../../ffi/layout.ts";
import type { StepResult } from "../../ffi/step.ts";
import type { StepPlan } from "../../ffi/step-plan.ts";
import { Constraint } from "../masks/constraint.ts";
import { type MaskLibrary, NO_LATE_MASKS } from "../masks/late-masks.ts";
import { DiskPages, type PageStore } from "../offload/disk-pages.ts";
import { HostCopies } from "../offload/host-copies.ts";
import { RestoreCosts } from "../offload/restore-costs.ts";
import { PageCache } from "../pages/page-cache.ts";
import { type EngineRequest, type EngineStats, FIRST_VERSION, NO_DISK, type StepMessage } from "../protocol.ts";
import { Outcomes } from "../sequences/outcomes.ts";
import { ABORT, append, begin, type Ending, endsBefore, LENGTH, withoutToken } from "../sequences/outputs.ts";
import { PendingPages } from "../sequences/pending-pages.ts";
import { Sequence } from "../sequences/sequence.ts";
import { type ResultRows, StepInFlight } from "../sequences/step-in-flight.ts";
import { WaitingQueue } from "../sequences/waiting-queue.ts";
import { Counters } from "./counters.ts";
import { FullPages } from "./full-pages.ts";
import { MaskRows } from "./mask-rows.ts";
import { OutputEstimate } from "./output-estimate.ts";
import { checkConfig, type SchedulerConfig } from "./scheduler-config.ts";
import { SequenceStates } from "./sequence-states.ts";
import { StepPlanner } from "./step-planner.ts";

export class Scheduler {
  private readonly cache: PageCache;
  private readonly states: SequenceStates;
  private readonly queue = new WaitingQueue();
  private readonly planner: StepPlanner;
  private readonly outcomes: Outcomes;
  private readonly estimate = new OutputEstimate();
  /** Steps planned and not committed, oldest first, and those ready for reuse. */
  readonly inFlight: StepInFlight[] = [];
  private readonly spare: StepInFlight[] = [];
  private readonly fullPages: FullPages;
  private readonly masks: MaskRows;
  /** The pages on disk; null = there are none. */
  disk: DiskPages | null = null;
  private arrivals = 0;
  private readonly counters = new Counters();
  private readonly copies: HostCopies;
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
    checkConfig(config);
    this.outcomes = new Outcomes(clock);
    this.masks = new MaskRows(library, config.vocabSize);
    this.cache = new PageCache(config.pages, config.hostPages, config.pageListener);
    this.copies = new HostCopies(this.cache, config.maxStepTokens);
    const pendingPages = new PendingPages();
    this.fullPages = new FullPages(this.cache, pendingPages, this.queue);
    this.states = new SequenceStates(config.maxSeqs, this.cache, this.queue, this.fullPages);
    const { cache, states, copies, masks, estimate, counters } = this;
    this.planner = new StepPlanner(config, cache, states, pendingPages, copies, masks, estimate, counters, clock);
  }

  /** Steps planned and not yet committed. */
  get stepsInFlight(): number {
    return this.inFlight.length;
  }

  /** Sequences that have not ended. */
  get aliveCount(): number {
    return this.states.alive.size;
  }

  /** Of these, the ones that may run now. */
  get activeCount(): number {
    return this.frozen ? 0 : this.states.alive.size - this.states.paused - this.queue.later.size;
  }

  /** Whether sequences that came before the queue was closed have not ended. */
  get hasEarlier(): boolean {
    const [oldest] = this.states.alive.values();
    return oldest !== undefined && oldest.arrival < this.queue.closedFrom;
  }

  /** False: sequences that arrive from now on wait until it is true again. */
  takeIn(isOpen: boolean): void {
    if (isOpen) this.queue.open();
    else this.queue.close(this.arrivals);
    this.queue.blockedSteps = 0;
  }

  /** Host pages [0, count) can be used from now on. Never fewer than before. */
  setHostPages(count: number): void {
    this.cache.setHostPages(count);
  }

  /** Keeps pages in `store` from now on. */
  useStore(store: PageStore): DiskPages {
    const { maxStepTokens, pageListener = null } = this.config;
    const goOn = (seq: Sequence) => this.states.setAside.has(seq) && this.states.resume(seq.request.id);
    const disk = new DiskPages(this.cache, store, new RestoreCosts(maxStepTokens), goOn, pageListener);
    this.disk = this.fullPages.disk = this.planner.disk = disk;
    return disk;
  }

  add(request: EngineRequest): void {
    const scoresAll = request.promptLogprobs >= 0 && request.scoreFrom === 0;
    const isPrivate = !this.config.prefixCaching || scoresAll;
    const arrival = this.arrivals++;
    const root = isPrivate ? PageCache.makeRoot(BigInt(arrival + 1)) : this.cache.rootOf(request.cacheSalt);
    const constraint = Constraint.of(request, this.config.vocabSize, this.library);
    const seq = new Sequence(request, arrival, root, isPrivate, this.clock(), constraint);
    this.states.alive.set(request.id, seq);
    const { length } = request.prompt;
    if (length < 1 || length + request.maxTokens > this.config.maxContext) {
      const reason = `a prompt of ${length} tokens and max_tokens ${request.maxTokens} do not fit the context of ${this.config.maxContext} tokens`;
      this.fail(seq, new FastgenError("invalid_request", reason));
    } else if (seq.target < 1) {
      this.end(seq, LENGTH);
    } else {
      const ending = begin(seq);
      if (ending) this.end(seq, ending);
      else this.states.awaited.add(seq);
      // Who is first now has not been looked at yet.
      if (this.queue.all[0] === seq) this.queue.blockedSteps = 0;
    }
  }

  /** Ends a sequence now. Its pages are free for the next step. Does nothing when it has ended already. */
  abort(id: number): void {
    const seq = this.states.alive.get(id);
    if (seq) this.end(seq, ABORT);
  }

  /** The grammar that `id` came without has been compiled. Takes over its matcher. */
  setMatcher(id: number, pointer: number): void {
    const matcher = this.library.openMatcher(pointer);
    const seq = this.states.alive.get(id);
    if (!seq?.constraint) {
      matcher.free();
      return;
    }
    const awaited = seq.awaitsGrammar;
    seq.constraint.setMatcher(matcher);
    if (!awaited) return;
    const ending = endsBefore(seq) ?? this.masks.follow(seq, seq.constraint);
    if (ending) this.end(seq, ending);
    else if (this.states.setAside.has(seq)) this.resume(id);
  }

  /** Takes a sequence off its slot until resume(). A sample still in flight is kept when it arrives. */
  pause(id: number): void {
    this.states.pause(id);
  }

  /** Puts a paused sequence back into the queue, at its place in the order of arrival. */
  resume(id: number): void {
    this.states.resume(id);
  }

  /** Ends every sequence now, with an error where there is one. */
  endAll(error: FastgenError | null): void {
    for (const seq of this.states.alive.values()) error ? this.fail(seq, error) : this.end(seq, ABORT);
  }

  /**
   * No page is found any more, on the device, the host or, unless `keepDisk`, on disk. Sequences that run keep theirs; or, with
   * `recompute` and while nothing is in flight, go back to the queue and compute all their tokens again.
   */
  clearCache(recompute: boolean, keepDisk = false): void {
    while (recompute && this.states.running.length > 0) this.planner.preempt(this.states.running.at(-1)!);
    if (recompute) for (const seq of this.states.alive.values()) seq.forgetScores();
    this.cache.clear();
    this.disk?.cleared(keepDisk);
  }

  /** Plans the next step into `plan`. False when nothing can run now. Submit the plan, or call refuse(). */
  plan(plan: StepPlan): boolean {
    plan.clear();
    this.states.awaited.begin();
    this.copies.begin();
    if (this.frozen) return false;
    const step = this.spare.pop() ?? new StepInFlight();
    this.planner.fill(plan, step);
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
      if (awaitsGrammar && seq.state === "running") this.states.putAside(seq);
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
    this.states.remove(seq);
    for (const node of seq.privateNodes) this.cache.forget(node);
    this.masks.giveNothing(seq);
    if (seq.constraint) this.discard(seq.constraint);
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
    for (const { constraint } of this.states.alive.values()) constraint?.free();
    this.states.alive.clear();
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
    return this.hasOutcomes || this.queue.size + this.states.paused !== this.outcomes.toldWaiting;
  }

  /** What happened since the last message. Call it after every commit. */
  takeMessage(): StepMessage {
    if (this.disk) this.disk.hasNews = false;
    return this.outcomes.take(this.stats(), this.weightVersion);
  }

  stats(): EngineStats {
    return {
      running: this.states.running.length,
      waiting: this.queue.size - this.states.swapped + this.states.setAside.size,
      swapped: this.states.swapped,
      paused: this.states.paused - this.states.setAside.size,
      pagesUsed: this.cache.referenced,
      pages: this.cache.pages,
      ...this.counters,
      pagesHeld: this.cache.pages - this.cache.empty,
      host: this.copies.stats,
      ...(this.disk?.stats ?? NO_DISK),
    };
  }
}
