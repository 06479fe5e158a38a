/**
 * Chooses what the next step computes.
 *
 * Running sequences decode first; a run of forced tokens goes on by one of them. Then prompts are computed, oldest first, in
 * chunks, from what is left of the token budget. Then waiting sequences are admitted in the order they arrived (but see
 * awaited-pages.ts). Forced runs get more of what is left then. When pages run out, the youngest running sequence gives its pages
 * back. Where requests have priorities, "older" means of a lower priority number, or of the same and older. Its full pages stay
 * cached, on the device or the host, while there is room; it resumes later from those that are still there. Beside decoding
 * sequences, a step takes only a part of a short backlog of prompt tokens, so that no sequence waits long for its next token.
 * Chunks, forced runs and the number of running sequences end at a tile's edge rather than a little past it. None of this changes
 * what a sequence generates.
 *
 * Every loop is over the running sequences, a step's tokens, or a bounded part of the queue.
 */
import { FG } from "../../ffi/layout.ts";
import type { StepPlan } from "../../ffi/step-plan.ts";
import type { DiskPages } from "../offload/disk-pages.ts";
import type { HostCopies } from "../offload/host-copies.ts";
import { PAGE_TOKENS, type PageCache, type PageNode, pagesFor } from "../pages/page-cache.ts";
import type { PendingPages } from "../sequences/pending-pages.ts";
import type { Sequence } from "../sequences/sequence.ts";
import type { StepInFlight } from "../sequences/step-in-flight.ts";
import { Admission } from "./admission.ts";
import type { Counters } from "./counters.ts";
import type { MaskRows } from "./mask-rows.ts";
import type { OutputEstimate } from "./output-estimate.ts";
import { planChunk, planDecode } from "./plan-rows.ts";
import { PromptChunks } from "./prompt-chunks.ts";
import type { SchedulerConfig } from "./scheduler-config.ts";
import type { SequenceStates } from "./sequence-states.ts";
import { chunkTokens } from "./step-size.ts";

/** Steps that pass before a sequence that did not fit is looked at again. The running ones are closer to their ends then. */
const AGING_STEPS = 7;
/** Page lookups that one plan spends on sequences that it then parks: about a millisecond, however many wait. */
export const MOST_PARKING_LOOKUPS = 1024;
/** Pages that are compared in the time of one lookup. */
const COMPARED_PER_LOOKUP = 16;

export class StepPlanner {
  /** The pages on disk; null = there are none. */
  disk: DiskPages | null = null;
  private readonly admission: Admission;
  private readonly chunks: PromptChunks;

  /** All but `config` belongs to the scheduler, which uses it too. `clock` gives milliseconds. */
  constructor(
    private readonly config: SchedulerConfig,
    private readonly cache: PageCache,
    private readonly states: SequenceStates,
    private readonly pendingPages: PendingPages,
    private readonly copies: HostCopies,
    private readonly masks: MaskRows,
    private readonly estimate: OutputEstimate,
    private readonly counters: Counters,
    private readonly clock: () => number,
  ) {
    this.admission = new Admission(config, cache, estimate, states.running, states.queue.all);
    this.chunks = new PromptChunks(config.maxStepTokens);
  }

  /** Fills in `plan`, which is empty, and `step`, which says whose the results are. Nothing can run now where both stay empty. */
  fill(plan: StepPlan, step: StepInFlight): void {
    const { chunks, counters } = this;
    const { running, queue } = this.states;
    const { preemptions } = counters;
    const decodes = this.planDecodes(plan, step);
    const { maxStepTokens } = this.config;
    let left = decodes > 0 ? chunkTokens(maxStepTokens, decodes, chunks.backlog(running, queue.all)) : maxStepTokens;
    left = chunks.choose(running, left);
    // When pages ran out, the sequence that gave some back must not take them again in the same step.
    if (counters.preemptions === preemptions) left = this.admit(plan, left);
    chunks.shareLeftover(left, decodes);
    for (const [seq, count] of chunks.chosen()) planChunk(seq, count, plan, step, this.masks);
  }

  /** Sends a running sequence back to the queue, because its pages are needed. */
  preempt(seq: Sequence): void {
    this.states.preempt(seq);
    this.counters.preemptions++;
    this.estimate.ranOut();
  }

  /** Plans the running sequences whose next token is the one sampled last. Returns the tokens used. */
  private planDecodes(plan: StepPlan, step: StepInFlight): number {
    const { running } = this.states;
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
      const youngest = this.states.running.at(-1)!;
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
    const { states } = this;
    const { queue, awaited } = states;
    if (queue.all.length === 0 || queue.blockedSteps > 0) {
      queue.blockedSteps = Math.max(0, queue.blockedSteps - 1);
      return budget;
    }
    let left = budget;
    let next = this.config.maxStepTokens - this.chunks.left(states.running);
    let forecastReady = false;
    let parkingLookups = 0;
    while (Math.max(left, next) > 0 && states.hasFreeSlot && parkingLookups < MOST_PARKING_LOOKUPS) {
      const seq = awaited.next();
      // A sequence whose last token is still being sampled goes on after the next commit.
      if (!seq || seq.pendingSamples > 0) break;
      const found = seq.cachedPages(this.cache);
      const nodes = this.copies.useful(found);
      const computing = this.pendingPages.awaited(seq, nodes.length);
      if (computing) {
        queue.park(seq, computing.key);
        parkingLookups += 1 + nodes.length + computing.common / COMPARED_PER_LOOKUP;
        continue;
      }
      if (nodes === found && this.disk?.fetch(seq, nodes)) {
        states.putAside(seq);
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
        queue.blockedSteps = AGING_STEPS;
        break;
      }
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
    this.states.run(seq);
    seq.startLength = seq.length;
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
    this.pendingPages.add(seq, nodes.length);
  }
}
