/**
 * When to plan the step after the one that runs. Planned at once, it would be without whoever arrives meanwhile, who would
 * wait for a whole step more; planned too late, the device would stand still. So: some time before the running step is
 * expected to end, which is told from the fastest of the last steps of about its size. Pure: told the time, never asks for it.
 */

/** Runs remembered of each size. */
const RECENT = 8;
/** What planning, submitting and a wrong guess may take, of the expected run and at least in milliseconds. */
const MARGIN_SHARE = 1 / 4;
const LEAST_MARGIN = 2;

/** Times are in milliseconds. */
export class Pacer {
  /** The last runs by size, a factor of two each; the oldest is overwritten. */
  private readonly runs = Array.from({ length: 32 }, () => [] as number[]);
  private readonly written = new Uint32Array(32);
  /** Tokens of the steps out, oldest first. */
  private readonly out: number[] = [];
  /** When the oldest step out began to run, as far as the host can tell. */
  private began = 0;

  submitted(tokens: number, now: number): void {
    if (this.out.length === 0) this.began = now;
    this.out.push(tokens);
  }

  /** The oldest step out is over; `run` is the device's time for it, null when it failed. */
  finished(run: number | null, now: number): void {
    const size = sizeOf(this.out.shift()!);
    this.began = now;
    if (run !== null) this.runs[size]![this.written[size]!++ % RECENT] = run;
  }

  /** How long the plan of the next step can wait; 0 when nothing runs, or nothing is known of steps of this size. */
  slack(now: number): number {
    if (this.out.length !== 1) return 0;
    const runs = this.runs[sizeOf(this.out[0]!)]!;
    if (runs.length === 0) return 0;
    const expected = Math.min(...runs);
    return Math.max(0, this.began + expected - Math.max(LEAST_MARGIN, expected * MARGIN_SHARE) - now);
  }
}

function sizeOf(tokens: number): number {
  return 31 - Math.clz32(Math.max(1, tokens));
}
