/** The worker's part of a profile: it has the scheduler's steps and the library's ops recorded, and written at the end. */
import { closeSync, openSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { asFastgenError, type FastgenError } from "../errors.ts";
import { PROCESS } from "../profile/events.ts";
import { unwritten } from "../profile/profile-file.ts";
import { StepRecorder } from "../profile/step-recorder.ts";
import type { ProfileOrder } from "./protocol.ts";
import type { Scheduler } from "./scheduler/scheduler.ts";
import type { StepInFlight } from "./sequences/step-in-flight.ts";

/** Characters that are written at once. */
const PIECE = 1 << 20;

/** What can record what it runs: a LibraryEngine. */
export interface Traced {
  traceStart(process: number, steps: number): void;
  traceStop(path: string): void;
}

export class Profiling {
  private recording: { recorder: StepRecorder; order: ProfileOrder } | null = null;
  /** Steps submitted and committed since the engine began: their numbers in the library. */
  private submittedSteps = 0;
  private committedSteps = 0;

  /** `tell` hears of the end of each recording: null, or why there is none. */
  constructor(
    private readonly engine: Traced,
    private readonly scheduler: Pick<Scheduler, "stats"> & { readonly inFlight: readonly StepInFlight[] },
    private readonly tell: (error: FastgenError | null) => void,
  ) {}

  /** performance.now() while something is recorded, else 0. */
  now(): number {
    return this.recording ? performance.now() : 0;
  }

  start(order: ProfileOrder): void {
    try {
      this.engine.traceStart(PROCESS.engine + order.engine, order.steps ?? 0);
      this.recording = { recorder: new StepRecorder(order.engine, order.steps), order };
    } catch (thrown) {
      this.tell(asFastgenError(thrown));
    }
  }

  /** A step was planned from `planned` on and submitted from `submitting` on, with so many page copies. */
  submitted(planned: number, submitting: number, copies: number): void {
    const number = this.submittedSteps++;
    const step = this.scheduler.inFlight.at(-1);
    if (!this.recording || !step || planned === 0) return;
    const ids = step.seqs.map(({ request }) => request.id);
    const contents = { ids, counts: step.counts, copies };
    this.recording.recorder.submitted(number, planned, submitting, contents, this.scheduler.stats());
  }

  /** The oldest step in flight was waited for from `waiting` to `waited`, and has been committed. */
  committed(waiting: number, waited: number): void {
    const number = this.committedSteps++;
    if (!this.recording) return;
    this.recording.recorder.committed(number, waiting, waited);
    if (this.recording.recorder.complete) this.stop();
  }

  /** Ends the recording and writes its parts, if there is one. Steps in flight are in it. */
  stop(): void {
    const { recording } = this;
    if (!recording) return;
    this.recording = null;
    const [steps, trace] = recording.order.parts;
    try {
      this.engine.traceStop(trace);
      writeLines(steps, recording.recorder.lines());
      this.tell(null);
    } catch (thrown) {
      this.forget();
      this.tell(unwritten(dirname(trace), thrown));
    }
  }

  /** The library goes on with a trace that it could not write. */
  private forget(): void {
    try {
      this.engine.traceStop("/dev/null");
    } catch {
      // It had been written.
    }
  }
}

/** Writes lines with commas between them. */
function writeLines(path: string, lines: Iterable<string>): void {
  const file = openSync(path, "w", 0o600);
  try {
    let text = "";
    let comma = "";
    for (const line of lines) {
      text += comma + line;
      comma = ",\n";
      if (text.length < PIECE) continue;
      writeSync(file, text);
      text = "";
    }
    writeSync(file, text);
  } finally {
    closeSync(file);
  }
}
