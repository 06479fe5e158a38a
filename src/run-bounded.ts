/** Runs many jobs from a lazily read input, a bounded number at a time, and yields results as they finish. */

export interface BatchJob<R> {
  /** How much of the limit it takes. */
  weight: number;
  run(): Promise<R>;
  /** Stops a running job. Its result no longer matters. */
  abort(): void;
}

export interface Finished<R> {
  /** The input's position. */
  index: number;
  outcome: PromiseSettledResult<R>;
  /** The weight of its job. */
  weight: number;
}

/**
 * Starts a job for each input. The running jobs weigh at most `limit` together; a job that weighs more runs alone. The input
 * is read only as room frees up, so it may be endless. `prepare` makes the job; its run() starts it.
 * When the input itself fails, the jobs already started are finished first. Leaving the iteration early aborts them and
 * closes the input.
 */
export async function* runBounded<I, R>(
  inputs: Iterable<I> | AsyncIterable<I>,
  limit: number,
  prepare: (input: I) => BatchJob<R>,
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
  /** The weight of the running jobs and of the results not yet taken: a slow reader slows the input down. */
  let load = 0;
  let next: BatchJob<R> | null = null;
  let reading = false;
  let exhausted = false;
  let failure: { error: unknown } | null = null;

  const read = async () => {
    reading = true;
    try {
      const { done, value } = await source.next();
      if (done) exhausted = true;
      else next = prepare(value as I);
    } catch (error) {
      failure = { error };
    }
    reading = false;
    news();
  };
  const launch = (job: BatchJob<R>, at: number) => {
    load += job.weight;
    running.set(at, job);
    const settle = (outcome: PromiseSettledResult<R>) => {
      running.delete(at);
      finished.push({ index: at, outcome, weight: job.weight });
      news();
    };
    job.run().then(
      (value) => settle({ status: "fulfilled", value }),
      (reason) => settle({ status: "rejected", reason }),
    );
  };

  try {
    while (true) {
      if (next && (load === 0 || load + (next as BatchJob<R>).weight <= limit)) {
        launch(next, index++);
        next = null;
      }
      const open = !exhausted && failure === null;
      if (open && !reading && next === null && load < limit) void read();
      const result = finished.shift();
      if (result) {
        yield result;
        load -= result.weight;
      } else if (!open && next === null && running.size === 0 && !reading) break;
      else
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
    }
    if (failure) throw (failure as { error: unknown }).error;
  } finally {
    for (const job of running.values()) job.abort();
    if (!exhausted && failure === null) {
      const closing = Promise.resolve(source.return?.());
      // An input that is waiting for its next item closes only after it arrives, which may be never.
      if (reading) closing.catch(() => {});
      else await closing;
    }
  }
}
