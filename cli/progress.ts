/** A progress bar on stderr: `loading: 100%|████████| 14.5G/14.5G [00:01<00:00, 12.3GB/s]`. */
import type { LoadProgress } from "../src/types.ts";

const EIGHTHS = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
const LABELS: Record<LoadProgress["stage"], string> = { download: "downloading", load: "loading" };

/** Milliseconds between two drawings; seconds between two lines of a log. */
const INTERVAL = 100;
const LOG_SECONDS = 30;

/** Milliseconds after the last byte before it is said what else a start does: a GPU's first one times matrix products for seconds. */
const READY_PATIENCE = 1000;
const GETTING_READY =
  "all weights are loaded; getting ready (the first start with a GPU also times its matrix products)\n";

/** Bytes with three digits and a decimal unit: 14.5G. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  for (const unit of ["", "k", "M", "G", "T"]) {
    if (value < 999.5) return value.toFixed(unit === "" || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2) + unit;
    value /= 1000;
  }
  return `${value.toFixed(1)}P`;
}

/** 00:59, 1:02:03 */
export function formatSeconds(seconds: number): string {
  const whole = Math.floor(seconds);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const tail = `${String(m).padStart(2, "0")}:${String(s).padStart(2, "0")}`;
  return h > 0 ? `${h}:${tail}` : tail;
}

/** A bar between two texts, `width` columns wide in all. `share`: how much of it is full, from 0 to 1. */
export function barLine(label: string, share: number, facts: string, width: number): string {
  const head = `${label}: ${String(Math.floor(share * 100)).padStart(3)}%|`;
  const tail = `| ${facts}`;
  const room = Math.max(width - head.length - tail.length, 0);
  const eighths = Math.floor(share * room * 8);
  const bar = "█".repeat(eighths >> 3) + EIGHTHS[eighths & 7];
  return head + bar.padEnd(room) + tail;
}

/** How long `done` of `total` took and how long the rest will take: 00:10<01:30 */
export function formatTimes(done: number, total: number, seconds: number): string {
  const rate = seconds > 0 ? done / seconds : 0;
  return `${formatSeconds(seconds)}<${rate > 0 ? formatSeconds((total - done) / rate) : "?"}`;
}

/** One line of the bar, at most `width` columns wide. */
export function progressLine(label: string, done: number, total: number, seconds: number, width: number): string {
  const share = total > 0 ? Math.min(done / total, 1) : 0;
  const rate = seconds > 0 ? done / seconds : 0;
  const facts = `${formatBytes(done)}/${formatBytes(total)} [${formatTimes(done, total, seconds)}, ${formatBytes(rate)}B/s]`;
  return barLine(label, share, facts, width);
}

export interface BarOutput {
  write(text: string): unknown;
  isTTY?: boolean;
  columns?: number;
}

/**
 * A line that changes. In a terminal it is redrawn in place; elsewhere it is written every `logSeconds`, and its last state in any
 * case. Call end() before writing anything else.
 */
export class ChangingLine {
  readonly #output: BarOutput;
  readonly #logSeconds: number;
  #line: ((width: number) => string) | null = null;
  #drawn: number;

  constructor(output: BarOutput = process.stderr, logSeconds = Number.POSITIVE_INFINITY) {
    this.#output = output;
    this.#logSeconds = logSeconds;
    this.#drawn = output.isTTY ? Number.NEGATIVE_INFINITY : performance.now();
  }

  /** `line` is called when it is drawn, with the columns that there are. */
  show(line: (width: number) => string): void {
    this.#line = line;
    const now = performance.now();
    const interval = this.#output.isTTY ? INTERVAL : this.#logSeconds * 1000;
    if (now - this.#drawn < interval) return;
    this.#drawn = now;
    this.#draw(this.#output.isTTY ? "" : "\n");
    // What is written as a line of its own need not come again at the end.
    if (!this.#output.isTTY) this.#line = null;
  }

  /** Draws the last state and ends its line. */
  end(): void {
    if (this.#line) this.#draw("\n");
    this.#line = null;
    if (this.#output.isTTY) this.#drawn = Number.NEGATIVE_INFINITY;
  }

  /** Ends the line in a terminal, so that something else can be written. It is drawn again below that. */
  break(): void {
    if (this.#output.isTTY) this.end();
  }

  #draw(end: string): void {
    const width = Math.max((this.#output.columns ?? 80) - 1, 20);
    this.#output.write(`${this.#output.isTTY ? "\r" : ""}${this.#line!(width)}${end}`);
  }
}

/** Shows LoadProgress, one line a stage. Call breakLine() or end() before writing anything else. */
export class ProgressBar {
  readonly #output: BarOutput;
  readonly #line: ChangingLine;
  readonly #readyPatience: number;
  #stage: LoadProgress["stage"] | null = null;
  #started = 0;
  /** Runs from the last byte on. */
  #timer: Timer | null = null;

  constructor(output: BarOutput = process.stderr, { logSeconds = LOG_SECONDS, readyPatience = READY_PATIENCE } = {}) {
    this.#output = output;
    this.#line = new ChangingLine(output, logSeconds);
    this.#readyPatience = readyPatience;
  }

  update({ stage, done, total }: LoadProgress): void {
    if (stage !== this.#stage) {
      this.end();
      this.#stage = stage;
      this.#started = performance.now();
    }
    const seconds = () => (performance.now() - this.#started) / 1000;
    this.#line.show((width) => progressLine(LABELS[stage], done, total, seconds(), width));
    if (stage === "load" && done >= total) this.#timer ??= setTimeout(() => this.#gettingReady(), this.#readyPatience);
  }

  #gettingReady(): void {
    this.#line.end();
    this.#output.write(GETTING_READY);
  }

  /** Ends the line, if one is drawn, so that something else can be written; the bar goes on below it. */
  breakLine(): void {
    this.#line.break();
  }

  /** Draws the last state and ends its line. */
  end(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    this.#line.end();
    this.#stage = null;
  }
}
