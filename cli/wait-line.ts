/** What fgchat's terminal shows while the first token of an answer is long in coming: a long prompt on a CPU takes many seconds. */

/** Milliseconds without a token before anything is said; and between two drawings. */
const PATIENCE = 3000;
const INTERVAL = 1000;

/** Empties the terminal's current line. */
const ERASE = "\r\x1b[K";

export class WaitLine {
  readonly #write: (text: string) => void;
  readonly #started = performance.now();
  #timer: Timer | null;
  #isShown = false;

  /** Begins to wait. */
  constructor(write: (text: string) => void, { patience = PATIENCE, interval = INTERVAL } = {}) {
    this.#write = write;
    this.#timer = setTimeout(() => {
      this.#show();
      this.#timer = setInterval(() => this.#show(), interval);
    }, patience);
  }

  #show(): void {
    const seconds = Math.round((performance.now() - this.#started) / 1000);
    this.#write(`${ERASE}(no token yet after ${seconds} s; Ctrl-C gives up)`);
    this.#isShown = true;
  }

  /** The first token is there, or none will come: the line is empty again. Later calls do nothing. */
  end(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#isShown) this.#write(ERASE);
    this.#isShown = false;
  }
}
