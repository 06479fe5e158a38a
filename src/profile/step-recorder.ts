/** What the scheduler did, step by step: recorded by the engine's worker, written as a row of the profile. */
import { MAX_PROFILE_EVENTS } from "../limits.ts";
import { clockOffset } from "./clock.ts";
import { flow, PROCESS, processName, type Row, remark, rowName, sequenceFlow, span, stepFlow } from "./events.ts";

/** What a step holds: entry i belongs to its sequence i. */
export interface StepContents {
  readonly ids: readonly number[];
  /** Tokens that it computes of each. */
  readonly counts: readonly number[];
  /** Page copies between device and host that travel in it. */
  readonly copies: number;
}

export interface PoolState {
  running: number;
  waiting: number;
  pagesUsed: number;
  pages: number;
}

interface RecordedStep {
  number: number;
  ids: Int32Array;
  args: Record<string, number>;
  /** performance.now(), in order; those of wait and commit are missing while the step is in flight. */
  planned: number;
  submitting: number;
  submitted: number;
  waiting: number | null;
  waited: number;
  committed: number;
}

export class StepRecorder {
  private readonly offset = clockOffset() / 1e3;
  private readonly steps: RecordedStep[] = [];
  /** Of them, those whose results have been waited for. */
  private done = 0;
  private events = 0;
  private dropped = 0;
  /** Milliseconds that recording has taken. */
  private spent = 0;

  /** @param most steps to record; null = until the profile is stopped. */
  constructor(
    private readonly engine: number,
    private readonly most: number | null,
    private readonly limit = MAX_PROFILE_EVENTS,
  ) {}

  /** Whether all steps that were asked for have been recorded, and are over. */
  get complete(): boolean {
    return this.most !== null && this.done + this.dropped >= this.most;
  }

  /** Step `number` was planned from `planned` on and submitted from `submitting` on. It is the newest. */
  submitted(number: number, planned: number, submitting: number, step: StepContents, pool: PoolState): void {
    const now = performance.now();
    if (this.most !== null && this.steps.length + this.dropped >= this.most) return;
    const events = 4 + 2 + step.ids.length;
    if (this.events + events > this.limit) {
      this.dropped++;
      return;
    }
    this.events += events;
    const prefill = step.counts.filter((count) => count > 1);
    const tokens = step.counts.reduce((sum, count) => sum + count, 0);
    const prefillTokens = prefill.reduce((sum, count) => sum + count, 0);
    this.steps.push({
      number,
      ids: Int32Array.from(step.ids),
      args: {
        step: number,
        sequences: step.ids.length,
        tokens,
        prefill_sequences: prefill.length,
        prefill_tokens: prefillTokens,
        decode_tokens: tokens - prefillTokens,
        page_copies: step.copies,
        pages_used: pool.pagesUsed,
        pages: pool.pages,
        running: pool.running,
        waiting: pool.waiting,
      },
      planned,
      submitting,
      submitted: now,
      waiting: null,
      waited: 0,
      committed: 0,
    });
    this.spent += performance.now() - now;
  }

  /** The oldest step in flight was waited for from `waiting` to `waited`, and is committed now. */
  committed(number: number, waiting: number, waited: number): void {
    const step = this.steps[this.done];
    if (step?.number !== number) return;
    step.waiting = waiting;
    step.waited = waited;
    step.committed = performance.now();
    this.done++;
  }

  /** The lines of the profile (events.ts). */
  *lines(): Generator<string, void, void> {
    const pid = PROCESS.engine + this.engine;
    const row: Row = { pid, tid: 1 };
    yield processName({ pid, name: `engine ${this.engine}` });
    yield rowName(row, "scheduler");
    const at = (time: number) => (time + this.offset) * 1000;
    const first = this.steps[0];
    if (!first) return;
    const perStep = Math.round((1e6 * this.spent) / this.steps.length) / 1e3;
    yield remark(row, "profile of the scheduler", at(first.planned), {
      steps: this.steps.length,
      steps_left_out: this.dropped,
      recording_us_per_step: perStep,
    });
    for (const step of this.steps) yield* stepLines(step, row, this.engine, at);
  }
}

function* stepLines(step: RecordedStep, row: Row, engine: number, at: (time: number) => number): Generator<string> {
  const { number } = step;
  yield span(row, "plan", at(step.planned), at(step.submitting), step.args);
  const inPlan = at((step.planned + step.submitting) / 2);
  for (const id of step.ids) yield flow(row, "t", "request", sequenceFlow(engine, id), inPlan);
  yield span(row, "submit", at(step.submitting), at(step.submitted), { step: number });
  yield flow(row, "s", "step", stepFlow(engine, number), at(step.submitting));
  if (step.waiting === null) return;
  yield span(row, "wait", at(step.waiting), at(step.waited), { step: number });
  yield span(row, "commit", at(step.waited), at(step.committed), { step: number });
  yield flow(row, "f", "step", stepFlow(engine, number), at(step.waited));
}
