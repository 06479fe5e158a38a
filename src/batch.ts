/** Many jobs from a lazily read input, a bounded number at once, results as they finish. */

export interface BatchJob<R> {
  result: Promise<R>;
  /** Gives the job up; its result no longer matters. */
  abort(): void;
}

export interface Finished<R> {
  /** The input's place. */
  index: number;
  outcome: PromiseSettledResult<R>;
}

/**
 * Starts a job for each input, at most `limit` at once; the input is read only as places free up, so it may be endless.
 * When the input itself fails, the jobs already started are finished first. Leaving the iteration early aborts them and
 * closes the input.
 */
export async function* runBounded<I, R>(
  inputs: Iterable<I> | AsyncIterable<I>,
  limit: number,
  start: (input: I, index: number) => BatchJob<R>,
): AsyncGenerator<Finished<R>, void, void> {
  const source = Symbol.asyncIterator in inputs ? inputs[Symbol.asyncIterator]() : inputs[Symbol.iterator]();
  const running = new Map<number, BatchJob<R>>();
  const finished: Finished<R>[] = [];
  let wake: (() => void) | null = null;
  const news = () => {
    wake?.();
    wake = null;
  };
  let index = 0;
  let reading = false;
  let exhausted = false;
  let failure: { error: unknown } | null = null;

  const take = async () => {
    reading = true;
    try {
      const { done, value } = await source.next();
      if (done) exhausted = true;
      else launch(value as I, index++);
    } catch (error) {
      failure = { error };
    }
    reading = false;
    news();
  };
  const launch = (input: I, at: number) => {
    if (closed) return;
    const job = start(input, at);
    running.set(at, job);
    const settle = (outcome: PromiseSettledResult<R>) => {
      running.delete(at);
      finished.push({ index: at, outcome });
      news();
    };
    job.result.then(
      (value) => settle({ status: "fulfilled", value }),
      (reason) => settle({ status: "rejected", reason }),
    );
  };

  let closed = false;
  try {
    while (true) {
      // Results not yet taken count too: a slow reader slows the input down.
      const open = !exhausted && failure === null;
      if (open && !reading && running.size + finished.length < limit) void take();
      const next = finished.shift();
      if (next) yield next;
      else if (!open && running.size === 0 && !reading) break;
      else
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
    }
    if (failure) throw (failure as { error: unknown }).error;
  } finally {
    closed = true;
    for (const job of running.values()) job.abort();
    if (!exhausted && failure === null) {
      const closing = Promise.resolve(source.return?.());
      // An input that is still waiting for its next item answers only after it: that may be never.
      if (reading) closing.catch(() => {});
      else await closing;
    }
  }
}
