/** A progress bar on stderr: `loading: 100%|████████| 14.5G/14.5G [00:01<00:00, 12.3GB/s]`. */
import type { LoadProgress } from "../src/types.ts";

const EIGHTHS = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
const LABELS: Record<LoadProgress["stage"], string> = { download: "downloading", load: "loading" };

/** Milliseconds between two drawings. */
const INTERVAL = 100;

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

/** One line of the bar, at most `width` columns wide. */
export function progressLine(label: string, done: number, total: number, seconds: number, width: number): string {
  const share = total > 0 ? Math.min(done / total, 1) : 0;
  const rate = seconds > 0 ? done / seconds : 0;
  const left = rate > 0 ? formatSeconds((total - done) / rate) : "?";
  const head = `${label}: ${String(Math.floor(share * 100)).padStart(3)}%|`;
  const tail = `| ${formatBytes(done)}/${formatBytes(total)} [${formatSeconds(seconds)}<${left}, ${formatBytes(rate)}B/s]`;
  const room = Math.max(width - head.length - tail.length, 0);
  const eighths = Math.floor(share * room * 8);
  const bar = "█".repeat(eighths >> 3) + EIGHTHS[eighths & 7];
  return head + bar.padEnd(room) + tail;
}

export interface BarOutput {
  write(text: string): unknown;
  isTTY?: boolean;
  columns?: number;
}

/**
 * Shows LoadProgress, one line a stage. In a terminal the line is redrawn in place; elsewhere only its last state is
 * written. Call end() before writing anything else.
 */
export class ProgressBar {
  readonly #output: BarOutput;
  #stage: LoadProgress["stage"] | null = null;
  #started = 0;
  #drawn = 0;
  #latest: LoadProgress | null = null;

  constructor(output: BarOutput = process.stderr) {
    this.#output = output;
  }

  update(progress: LoadProgress): void {
    const now = performance.now();
    if (progress.stage !== this.#stage) {
      this.end();
      this.#stage = progress.stage;
      this.#started = now;
      this.#drawn = 0;
    }
    this.#latest = progress;
    if (this.#output.isTTY && now - this.#drawn >= INTERVAL) {
      this.#drawn = now;
      this.#output.write(`\r${this.#line(now)}`);
    }
  }

  /** Draws the last state and ends its line. */
  end(): void {
    if (this.#latest) this.#output.write(`${this.#output.isTTY ? "\r" : ""}${this.#line(performance.now())}\n`);
    this.#latest = null;
    this.#stage = null;
  }

  #line(now: number): string {
    const { stage, done, total } = this.#latest!;
    const width = Math.max((this.#output.columns ?? 80) - 1, 20);
    return progressLine(LABELS[stage], done, total, (now - this.#started) / 1000, width);
  }
}
