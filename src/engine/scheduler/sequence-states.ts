/**
 * The sequences that have not ended, by their states: waiting in the queue, running on a slot, or paused. Every move from one
 * state to another is here, with what it costs: its slot, its pages, and its place in the order.
 */

import type { PageCache } from "../pages/page-cache.ts";
import { precedes, type Sequence } from "../sequences/sequence.ts";
import type { WaitingQueue } from "../sequences/waiting-queue.ts";
import { AwaitedPages } from "./awaited-pages.ts";
import type { FullPages } from "./full-pages.ts";

export class SequenceStates {
  /** All of them by their requests' ids, oldest first. */
  readonly alive = new Map<number, Sequence>();
  /** In the order of precedes: oldest first, within one priority. */
  readonly running: Sequence[] = [];
  /** Paused not by the front, but until their grammars are compiled, or their pages have come from disk. */
  readonly setAside = new Set<Sequence>();
  /** How many wait with their pages on the host. */
  swapped = 0;
  /** How many are paused, for whatever reason. */
  paused = 0;
  readonly awaited: AwaitedPages;
  private readonly freeSlots: number[];

  constructor(
    maxSeqs: number,
    private readonly cache: PageCache,
    readonly queue: WaitingQueue,
    private readonly fullPages: FullPages,
  ) {
    this.awaited = new AwaitedPages(cache, queue);
    this.freeSlots = Array.from({ length: maxSeqs }, (_, i) => maxSeqs - 1 - i);
  }

  get hasFreeSlot(): boolean {
    return this.freeSlots.length > 0;
  }

  /** Takes a waiting sequence out of the queue and gives it a slot. It must not be parked. */
  run(seq: Sequence): void {
    this.awaited.remove(seq);
    this.setSwapped(seq, false);
    seq.slot = this.freeSlots.pop()!;
    seq.state = "running";
    let at = this.running.length;
    while (at > 0 && precedes(seq, this.running[at - 1]!)) at--;
    this.running.splice(at, 0, seq);
    seq.needsFill = true;
  }

  /** Sends a running sequence back to the queue. A sample still in flight is kept when it arrives. */
  preempt(seq: Sequence): void {
    this.leave(seq);
    seq.residence++;
    this.enqueue(seq);
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
  putAside(seq: Sequence): void {
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

  /** The last move: a sequence that has ended is in none of these states. */
  remove(seq: Sequence): void {
    if (seq.state === "running") this.leave(seq);
    else if (seq.state === "paused") this.paused--;
    else this.dequeue(seq);
    this.setAside.delete(seq);
    seq.state = "finished";
    this.alive.delete(seq.request.id);
  }

  /** Puts a sequence into the queue. The pages of one that has run may be on the host. */
  private enqueue(seq: Sequence): void {
    seq.state = "waiting";
    this.awaited.add(seq);
    this.setSwapped(seq, seq.cachedTokens >= 0 && this.cache.hostPages > 0);
    this.queue.blockedSteps = 0;
  }

  private dequeue(seq: Sequence): void {
    this.awaited.remove(seq);
    this.queue.blockedSteps = 0;
    this.setSwapped(seq, false);
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
    this.queue.blockedSteps = 0;
  }

  private setSwapped(seq: Sequence, swapped: boolean): void {
    this.swapped += Number(swapped) - Number(seq.swapped);
    seq.swapped = swapped;
  }
}
