/**
 * The host pages that there are. The library makes them in the background, because pinning memory takes seconds, and may get
 * fewer than were asked for.
 */

/** Milliseconds without a new page after which no more are expected. Pinning makes some in every second. */
export const HOST_PAGES_PATIENCE = 10_000;

export class HostPages {
  readonly #wanted: number;
  #count: number;
  /** When the count grew last. */
  #grown: number;
  #told = false;

  /** `now` is performance.now(), as for update(). */
  constructor(wanted: number, count: number, now: number) {
    this.#wanted = wanted;
    this.#count = count;
    this.#grown = now;
  }

  get count(): number {
    return this.#count;
  }

  get complete(): boolean {
    return this.#count === this.#wanted;
  }

  /** Takes the library's count. Returns a warning, once, when it has stopped growing below the wanted number. */
  update(count: number, now: number): string | null {
    if (count > this.#count) this.#grown = now;
    this.#count = count;
    if (this.#told || this.complete || now - this.#grown < HOST_PAGES_PATIENCE) return null;
    this.#told = true;
    return `swap_space asks for ${this.#wanted} host pages, and the system gives ${count}: requests that are evicted beyond them are computed again; lower swap_space, free memory, or raise the limit on locked memory (ulimit -l)`;
  }
}
