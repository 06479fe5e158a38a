/** The signals that end a tool. */

const SIGNALS = { SIGINT: 2, SIGTERM: 15 };

/** 128 + the signal's number, as shells count; null where `reason` is not the name of such a signal. */
export function exitCodeOf(reason: unknown): number | null {
  const number = Object.entries(SIGNALS).find(([name]) => name === reason)?.[1];
  return number === undefined ? null : 128 + number;
}

/** The first SIGTERM or SIGINT aborts `stopping` with its name, the second ends the process. Returns a function that undoes this. */
export function onSignals(stopping: AbortController): () => void {
  const handler = (signal: NodeJS.Signals) => {
    if (stopping.signal.aborted) process.exit(exitCodeOf(signal)!);
    stopping.abort(signal);
  };
  for (const signal of Object.keys(SIGNALS)) process.on(signal, handler);
  return () => {
    for (const signal of Object.keys(SIGNALS)) process.off(signal, handler);
  };
}
