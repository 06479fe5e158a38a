/** What fgbatch shows: how much of the batch is done, at which speed, and how it ended. */
import type { BatchJob, BatchProgress } from "../routes/batch/job.ts";
import { BATCH_PATIENCE_SECONDS } from "../src/limits.ts";
import { type BarOutput, barLine, ChangingLine, formatTimes, progressLine } from "./progress.ts";

/** Seconds between two lines where there is no terminal. */
const LOG_SECONDS = 60;

/** Milliseconds that a check of the files may take before it is shown. */
const QUICK = 1000;

const count = (value: number) => value.toLocaleString("en-US");

export class BatchBar {
  readonly #line: ChangingLine;
  #progress: BatchProgress | null = null;
  /** Requests that were done before this run. */
  #before = 0;
  /** When the first request was made; null before that. */
  #started: number | null = null;
  /** When tell() last wrote. */
  #told = Number.NEGATIVE_INFINITY;
  /** When the check began. */
  #checking: number | null = null;
  readonly #output: BarOutput;
  readonly #quick: number;

  /** @param quick milliseconds for which a check of the files is not shown */
  constructor(output: BarOutput = process.stderr, quick = QUICK) {
    this.#output = output;
    this.#quick = quick;
    this.#line = new ChangingLine(output, LOG_SECONDS);
  }

  /** The files are being checked: so many bytes of them. */
  check(done: number, total: number): void {
    this.#checking ??= performance.now();
    const lasted = performance.now() - this.#checking;
    if (lasted < this.#quick) return;
    this.#line.show((width) => progressLine("checking", done, total, lasted / 1000, width));
  }

  /** The model is there: time counts from here. */
  begin(): void {
    this.#started = performance.now();
  }

  update(progress: BatchProgress): void {
    if (this.#progress === null) this.#line.end();
    this.#progress = progress;
    if (this.#started === null) this.#before = progress.completed + progress.failed;
    else this.#line.show((width) => this.#bar(progress, width));
  }

  /** Says once in a while why the batch does not go on. It is tried again meanwhile. */
  tell(why: string): void {
    const now = performance.now();
    if (now - this.#told < LOG_SECONDS * 1000) return;
    this.#told = now;
    this.#line.end();
    this.#output.write(`fgbatch: ${why}; trying again, for ${BATCH_PATIENCE_SECONDS / 60} minutes at most\n`);
  }

  get #seconds(): number {
    return this.#started === null ? 0 : (performance.now() - this.#started) / 1000;
  }

  #bar({ total, completed, failed, outputTokens }: BatchProgress, width: number): string {
    const done = completed + failed;
    const seconds = this.#seconds;
    const times = formatTimes(done - this.#before, total - this.#before, seconds);
    const wrong = failed > 0 ? `, ${count(failed)} failed` : "";
    const facts = `${count(done)}/${count(total)} [${times}, ${count(Math.round(outputTokens / seconds))} tokens/s${wrong}]`;
    return barLine("requests", done / total, facts, width);
  }

  /** Ends the bar. Returns how far the batch is, with line ends; nothing where nothing was begun. */
  end({ output, errors }: BatchJob): string {
    this.#line.end();
    if (!this.#progress) return "";
    const { total, completed, failed, promptTokens, outputTokens } = this.#progress;
    const left = total - completed - failed;
    const parts = [
      `${count(completed)} of ${count(total)} requests answered (${output})`,
      ...(failed > 0 ? [`${count(failed)} failed (${errors})`] : []),
      ...(left > 0 ? [`${count(left)} left`] : []),
    ];
    const seconds = this.#seconds;
    const speed = `${count(promptTokens)} + ${count(outputTokens)} tokens in ${seconds.toFixed(1)} s, ${count(Math.round(outputTokens / seconds))} tokens/s`;
    return `${parts.join("; ")}\n${seconds > 0 && promptTokens + outputTokens > 0 ? `${speed}\n` : ""}`;
  }
}
