/**
 * Pages on their way between device and host: which of them arrive beside a step, what the copies cost, and what was found on
 * the host.
 *
 * A sequence whose pages come back from the host gets its slot while a step is planned that has others to compute. The copies
 * run beside that step, and the sequence is computed from the next one on.
 */
import { FG } from "../../ffi/layout.ts";
import type { StepResult } from "../../ffi/step.ts";
import type { StepPlan } from "../../ffi/step-plan.ts";
import type { PageCache, PageNode } from "../pages/page-cache.ts";
import type { HostStats } from "../protocol.ts";
import type { Sequence } from "../sequences/sequence.ts";
import type { StepInFlight } from "../sequences/step-in-flight.ts";
import { RestoreCosts } from "./restore-costs.ts";

/**
 * Pages that come back from the host beside one step, unless one sequence needs more. 32 of Mistral 7B take 5 ms of an H100's link. With
 * more, a step's copies take longer than what there is to compute beside them (simulate-turns.ts).
 */
const MOST_ARRIVING = 32;

export class HostCopies {
  /** Nodes whose pages arrive beside the step that is being planned. */
  readonly arriving = new Set<PageNode>();
  private readonly costs: RestoreCosts;
  /** Pages that came back beside the step that was committed last. */
  private toldLater = 0;
  private hits = 0;
  private misses = 0;
  private readSeconds = 0;
  private writeSeconds = 0;

  constructor(
    private readonly cache: PageCache,
    maxStepTokens: number,
  ) {
    this.costs = new RestoreCosts(maxStepTokens);
  }

  /** A step is being planned. */
  begin(): void {
    this.arriving.clear();
    this.cache.savesPages = this.costs.pays();
  }

  /** Of the pages that a sequence finds, those up to the first that is cheaper to compute than to bring back. */
  useful(nodes: PageNode[]): PageNode[] {
    const onHost = nodes.findIndex(({ page }) => page < 0);
    return onHost < 0 || this.costs.pays() ? nodes : nodes.slice(0, onHost);
  }

  /** Whether some of these pages would not be there for a step that has other things to do. */
  arrive(nodes: readonly PageNode[]): boolean {
    return nodes.some((node) => node.page < 0 || this.arriving.has(node));
  }

  /** Whether more pages may arrive beside the step. */
  get mayGoOn(): boolean {
    return this.arriving.size < MOST_ARRIVING;
  }

  /** `seq` is about to refer to `nodes`. `beside`: those on the host arrive beside the step. */
  start(seq: Sequence, nodes: readonly PageNode[], beside: boolean): void {
    const isCounted = seq.cachedTokens < 0 && !seq.isPrivate;
    if (isCounted) this.misses += Math.max(0, seq.promptPages - nodes.length);
    for (const node of nodes) {
      if (node.page >= 0) continue;
      if (isCounted) this.hits++;
      if (beside) this.arriving.add(node);
    }
  }

  planned(step: StepInFlight, { copies, copyCount }: StepPlan): void {
    step.saved = 0;
    for (let at = 2; at < copyCount * 3; at += 3) if (copies[at] === FG.TO_HOST) step.saved++;
    step.restored = copyCount - step.saved;
    step.arriving = this.arriving.size;
  }

  committed(step: StepInFlight, { runSeconds, toHostSeconds, toDeviceSeconds }: StepResult): void {
    this.writeSeconds += toHostSeconds;
    this.readSeconds += toDeviceSeconds;
    // Of a step beside which pages arrive, the next result tells.
    const isLater = step.arriving > 0;
    this.costs.restored(this.toldLater + (isLater ? 0 : step.restored), toDeviceSeconds);
    this.toldLater = isLater ? step.restored : 0;
    this.costs.saved(step.saved, toHostSeconds);
    this.costs.computed(step.tokenCount, runSeconds);
  }

  get stats(): HostStats {
    const { cache, hits, misses, readSeconds, writeSeconds } = this;
    const [pages, pagesHeld] = [cache.hostPages, cache.hostPages - cache.emptyHost];
    return { pages, pagesHeld, ...cache.counts, hits, misses, readSeconds, writeSeconds };
  }
}
