/**
 * Readers of generations go on once all news of the engines that has come by now has been taken in. Taking a token in costs
 * this thread far less than writing it to a socket. So when it is behind, the tokens of several steps become one piece for
 * each stream, and it catches up; else nothing is waited for.
 */

let waiting: (() => void)[] = [];

/** Calls these back once the messages that are there have been handled. */
export function afterNews(callbacks: readonly (() => void)[]): void {
  // Immediates come after all messages that other threads have sent by then.
  if (waiting.length === 0) setImmediate(goOn);
  waiting.push(...callbacks);
}

function goOn(): void {
  const now = waiting;
  waiting = [];
  for (const callback of now) callback();
}
