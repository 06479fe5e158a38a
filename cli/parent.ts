/** The program that started the server: it holds the other end of standard input, and is gone when that closes. */
import type { Readable } from "node:stream";

/**
 * Calls `gone` once `input` has ended. What it brings until then is read and dropped. The operating system closes a pipe also for
 * a program that was killed. Returns a function that stops watching, so that the input keeps no process alive.
 */
export function watchParent(gone: () => void, input: Readable = process.stdin): () => void {
  // A pipe that cannot be read has nobody at its other end either.
  const events = ["end", "error", "close"] as const;
  for (const event of events) input.once(event, gone);
  input.resume();
  return () => {
    for (const event of events) input.off(event, gone);
    // Destroying it may report an error, which nobody needs.
    input.on("error", () => {});
    input.destroy();
  };
}
