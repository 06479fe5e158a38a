/** Turns of the event loop, for work on the main thread that must not hold others up. */

let last: Promise<void> = Promise.resolve();

/**
 * Waits for a turn of the event loop that belongs to the caller alone: however many work in slices, one slice runs between
 * two rounds of everything else.
 */
export function turn(): Promise<void> {
  last = last.then(() => new Promise((resolve) => setImmediate(resolve)));
  return last;
}
