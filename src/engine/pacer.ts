/**
 * When to plan the step after the running one. If it were planned at once, requests that arrive meanwhile would miss it and
 * wait for another whole step. If it were planned too late, the device would stand idle. So it is planned some time before
 * the running step is expected to end. The fastest of the last steps of about the same size says when that is. Pure: it is
 * told the time and never asks for it.
 */

/** Runs remembered of each size. */
const RECENT = 8;
/** Time left for planning, submitting and wrong guesses: a share of the expected run, and at least so many milliseconds. */
const MARGIN_SHARE = 1 / 4;
const LEAST_MARGIN = 2;

/** Times are in milliseconds. */
export class Pacer {
  /** The last runs by size, in classes a factor of two wide. The oldest is overwritten. */
  private readonly runs = Array.from({ length: 32 }, () => [] as number[]);
  private readonly written = new Uint32Array(32);
  /** Tokens of the steps in flight, oldest first. */
  private readonly inFlight: number[] = [];
  /** When the oldest step in flight began to run, as far as the host can tell. */
  private began = 0;

  submitted(tokens: number, now: number): void {
    if (this.inFlight.length === 0) this.began = now;
    this.inFlight.push(tokens);
  }

  /** The oldest step in flight is over. `run` is the device's time for it, or null when it failed. */
  finished(run: number | null, now: number): void {
    const size = sizeOf(this.inFlight.shift()!);
    this.began = now;
    if (run !== null) this.runs[size]![this.written[size]!++ % RECENT] = run;
  }

  /** How long planning the next step can wait. 0 when nothing runs, or when no step of this size has run before. */
  slack(now: number): number {
    if (this.inFlight.length !== 1) return 0;
    const runs = this.runs[sizeOf(this.inFlight[0]!)]!;
    if (runs.length === 0) return 0;
    const expected = Math.min(...runs);
    return Math.max(0, this.began + expected - Math.max(LEAST_MARGIN, expected * MARGIN_SHARE) - now);
  }
}

function sizeOf(tokens: number): number {
  return 31 - Math.clz32(Math.max(1, tokens));
}
