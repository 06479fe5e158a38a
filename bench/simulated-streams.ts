/**
 * When a GPU has done what it was given on its three streams: steps, copies of pages to the host, and copies back. Each stream does
 * one thing after another, and waits for the others as in libfastgen/cuda/copies.cu. All times are in seconds.
 */
import { FG } from "../src/ffi/layout.ts";
import type { StepPlan } from "../src/ffi/step-plan.ts";

/** What a stream loses where it waits for another. */
const WAIT = 9e-6;

export interface StepTimes {
  end: number;
  /** As in fg_result: of the copies to the host of this step, and of those to the device that were over before its end. */
  toHostSeconds: number;
  toDeviceSeconds: number;
}

/** One direction: when it is free, and when the last copy that used a page is over. */
class CopyStream {
  free = 0;
  /** Of the step whose copies it is given: when the first began. */
  began = -1;
  readonly byPage = new Map<number, number>();
  readonly byHostPage = new Map<number, number>();

  constructor(private readonly copySeconds: number) {}

  copy(page: number, hostPage: number, after: number): void {
    const start = after > this.free ? after + WAIT : this.free;
    if (this.began < 0) this.began = start;
    this.free = start + this.copySeconds;
    this.byPage.set(page, this.free);
    this.byHostPage.set(hostPage, this.free);
  }

  /** The time from the first copy of the step to the last. */
  get seconds(): number {
    return this.began < 0 ? 0 : this.free - this.began;
  }
}

export class SimulatedStreams {
  private readonly toHost: CopyStream;
  private readonly toDevice: CopyStream;
  /** When the step given last is over. */
  private stepsEnd = 0;
  /** What the next step waits for: pages that come back beside the one before it. */
  private arrivals = 0;
  /** Seconds of copies beside a step, which the result of the next one tells. */
  private untold = 0;

  /** `copySeconds`: of one page, in either direction. */
  constructor(copySeconds: number) {
    this.toHost = new CopyStream(copySeconds);
    this.toDevice = new CopyStream(copySeconds);
  }

  /** A step that takes `runSeconds`, given at the time `now`, with its copies. */
  submit({ copies, copyCount }: StepPlan, now: number, runSeconds: number): StepTimes {
    const { toHost, toDevice } = this;
    toHost.began = toDevice.began = -1;
    let [needed, isBeside] = [this.arrivals, false];
    for (let i = 0; i < copyCount; i++) {
      const [page, hostPage, direction] = copies.subarray(i * 3, i * 3 + 3) as unknown as [number, number, number];
      const from = direction === FG.TO_HOST ? toDevice : toHost;
      let after = Math.max(now, from.byPage.get(page) ?? 0, from.byHostPage.get(hostPage) ?? 0);
      if (direction === FG.TO_HOST) {
        toHost.copy(page, hostPage, after);
        continue;
      }
      // A step that was given before may still read what the page holds.
      after = Math.max(after, this.stepsEnd);
      toDevice.copy(page, hostPage, after);
      if (direction === FG.TO_DEVICE) needed = toDevice.free;
      else isBeside = true;
    }
    if (toHost.began >= 0) needed = Math.max(needed, toHost.free);
    this.stepsEnd = Math.max(this.stepsEnd, now, needed) + runSeconds;
    this.arrivals = isBeside ? toDevice.free : 0;
    const toDeviceSeconds = this.untold + (isBeside ? 0 : toDevice.seconds);
    this.untold = isBeside ? toDevice.seconds : 0;
    return { end: this.stepsEnd, toHostSeconds: toHost.seconds, toDeviceSeconds };
  }
}
