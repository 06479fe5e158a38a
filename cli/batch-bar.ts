/** What fgbatch shows: how much of the batch is done, at which speed, and how it ended. */
import type { BatchJob, BatchProgress } from "../routes/batch/job.ts";
import { BATCH_PATIENCE_SECONDS } from "../src/limits.ts";
import { type BarOutput, barLine, ChangingLine, formatTimes } from "./progress.ts";

/** Seconds between two lines where there is no terminal. */
const LOG_SECONDS = 60;

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
  readonly #output: BarOutput;

  constructor(output: BarOutput = process.stderr) {
    this.#output = output;
    this.#line = new ChangingLine(output, LOG_SECONDS);
  }

  /** The model is there: time counts from here. */
  begin(): void {
    this.#started = performance.now();
  }

  update(progress: BatchProgress): void {
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
