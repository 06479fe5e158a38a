/** Shows how far a build is: how many of its files are there. */
import * as fs from "node:fs";

/** Milliseconds between two looks at the files; and between two lines where there is no terminal. */
const INTERVAL = 500;
const LOG_INTERVAL = 15_000;

/** Milliseconds by which a file system's clock may be behind. */
const CLOCK_LAG = 20;

export class BuildProgress {
  #done = 0;
  #shown = performance.now();
  #started = Date.now() - CLOCK_LAG;

  /**
   * @param what the beginning of each line
   * @param files absolute paths of what will be made, in this build or anew
   * @param output a stream, such as process.stderr
   */
  constructor(what, files, { output = process.stderr, interval = INTERVAL, logInterval = LOG_INTERVAL } = {}) {
    this.what = what;
    this.files = files;
    this.output = output;
    this.logInterval = logInterval;
    output.write(`${what}${files.length > 1 ? ` (${files.length} files)` : ""}\n`);
    this.timer = setInterval(() => this.#show(), interval);
  }

  #show() {
    const isMade = (file) => (fs.statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0) >= this.#started;
    const done = this.files.filter(isMade).length;
    const { isTTY } = this.output;
    const now = performance.now();
    if (done === this.#done || (!isTTY && now - this.#shown < this.logInterval)) return;
    this.#done = done;
    this.#shown = now;
    this.output.write(`${isTTY ? "\r" : ""}${this.what}: ${done} of ${this.files.length} files${isTTY ? "" : "\n"}`);
  }

  /** The build has ended, well or not. */
  end() {
    clearInterval(this.timer);
    if (this.output.isTTY && this.#done > 0) this.output.write("\r\x1b[K");
  }
}
