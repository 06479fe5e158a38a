/**
 * Submits a planned step, and gives those of its late masks that are known. A sequence that the library refuses ends with
 * the reason, and the step goes on without it.
 */
import { asFastgenError } from "../errors.ts";
import type { StepPlan } from "../ffi/step-plan.ts";
import type { Scheduler } from "./scheduler/scheduler.ts";

/** What takes steps: a LibraryEngine. */
export interface StepTaker {
  /** Throws when the step is refused. */
  submit(plan: StepPlan): void;
  /** The slot that the last refused step was refused for, or -1. */
  readonly refusedSlot: number;
}

/**
 * Submits the step that was planned last. False when nothing of it was left to submit: its sequences have ended.
 * @throws FastgenError where no later step can run either.
 */
export function submitStep(engine: StepTaker, scheduler: Scheduler, plan: StepPlan): boolean {
  while (plan.seqCount > 0) {
    try {
      engine.submit(plan);
      scheduler.submitted();
      return true;
    } catch (thrown) {
      const error = asFastgenError(thrown);
      // Copies that the library does not accept would come back with every later step: the page cache counts on them.
      const isCopyFault = error.kind === "internal" && plan.copyCount > 0;
      if (error.kind === "device" || isCopyFault) throw error;
      scheduler.refuse(plan, engine.refusedSlot, error);
    }
  }
  return false;
}
