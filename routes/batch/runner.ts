/** Runs the batches of a store, one after the other, and keeps their objects up to date. */
import { asFastgenError } from "../../src/errors.ts";
import { MAX_BATCH_REQUESTS } from "../../src/limits.ts";
import { errorBody } from "../errors.ts";
import type { Service } from "../service.ts";
import type { Send } from "./answer.ts";
import { BatchInputError } from "./input.ts";
import { type BatchProgress, runBatch } from "./job.ts";
import { type BatchFault, hasEnded, unixSeconds } from "./objects.ts";
import type { BatchStore, StoredBatch } from "./store.ts";

/** Share of the running sequences that batches may be: requests from clients find the others free. */
const SHARE = 7 / 8;

/** Why a batch is broken off. */
type Reason = "cancelled" | "expired" | "stopped";

export class BatchRunner {
  readonly #service: Service;
  readonly #store: BatchStore;
  #send: Send | null = null;
  /** The batch that runs, and what ends it. */
  #running: { stored: StoredBatch; stop: (reason: Reason) => void } | null = null;
  #busy = false;
  /** Resolves when nothing runs. */
  #loop = Promise.resolve();
  #stopped = false;

  constructor(service: Service, store: BatchStore) {
    this.#service = service;
    this.#store = store;
  }

  /** How requests are made. */
  connect(send: Send): void {
    this.#send = send;
    this.wake();
  }

  /** Call whenever there may be something to do: the model is there, or a batch was added. */
  wake(): void {
    if (this.#stopped || this.#send === null || !this.#service.isReady) return;
    if (this.#busy) return;
    this.#busy = true;
    this.#loop = this.#runAll(this.#send);
  }

  /** Breaks off what runs, so that another start of the server can go on with it. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#running?.stop("stopped");
    await this.#loop;
  }

  /** Ends a batch that has not ended: at once where it waits, else as soon as its requests have gone. */
  cancel(stored: StoredBatch): void {
    const { batch } = stored;
    if (hasEnded(batch) || batch.status === "cancelling") return;
    batch.cancelling_at = unixSeconds();
    if (this.#running?.stored !== stored) {
      this.#end(stored, "cancelled");
      return;
    }
    batch.status = "cancelling";
    this.#save(stored);
    this.#running.stop("cancelled");
  }

  async #runAll(send: Send): Promise<void> {
    const next = () => this.#store.batches.find(({ batch }) => !hasEnded(batch));
    for (let stored = next(); stored && !this.#stopped; stored = next()) await this.#run(stored, send);
    // In one go with the last look: what is added from now on wakes it again.
    this.#busy = false;
  }

  async #run(stored: StoredBatch, send: Send): Promise<void> {
    const { batch } = stored;
    const stopping = new AbortController();
    let broken: Reason | null = null;
    const stop = (why: Reason) => {
      broken ??= why;
      stopping.abort();
    };
    this.#running = { stored, stop };
    if (batch.status === "cancelling") stop("cancelled");
    const left = batch.expires_at - unixSeconds();
    const timer = setTimeout(stop, Math.max(left, 0) * 1000, "expired");
    const { maxBodyBytes } = this.#service.options;
    const job = {
      input: this.#store.path(batch.input_file_id),
      output: this.#store.path(stored.output),
      errors: this.#store.path(stored.errors),
      endpoint: batch.endpoint,
      maxLineBytes: maxBodyBytes,
      maxRequests: MAX_BATCH_REQUESTS,
    };
    try {
      await runBatch(job, {
        open: async () => ({ send, atOnce: this.#atOnce }),
        signal: stopping.signal,
        onProgress: (progress) => this.#onProgress(stored, progress),
        beforeWrite: (bytes) => this.#store.hold(bytes),
      });
      this.#end(stored, "completed");
    } catch (error) {
      if (broken === "stopped") return;
      if (broken !== null) this.#end(stored, broken);
      else this.#fail(stored, error);
    } finally {
      clearTimeout(timer);
      this.#running = null;
    }
  }

  get #atOnce(): number {
    const { max_num_seqs, data_parallel_size } = this.#service.fastgen.capacity;
    return Math.max(1, Math.floor(max_num_seqs * data_parallel_size * SHARE));
  }

  #onProgress(stored: StoredBatch, { total, completed, failed }: BatchProgress): void {
    const { batch } = stored;
    batch.request_counts = { total, completed, failed };
    if (batch.status !== "validating") return;
    batch.status = "in_progress";
    batch.in_progress_at = unixSeconds();
    this.#save(stored);
  }

  #fail(stored: StoredBatch, thrown: unknown): void {
    const error = asFastgenError(thrown);
    this.#service.report(stored.batch.id, error);
    const { message, code, param } = errorBody(error).error;
    const whole: BatchFault = { code: code ?? "batch_failed", line: null, message, param };
    const data = thrown instanceof BatchInputError ? thrown.faults : [whole];
    stored.batch.errors = { object: "list", data };
    this.#end(stored, "failed");
  }

  #end(stored: StoredBatch, status: "completed" | "failed" | "expired" | "cancelled"): void {
    const { batch } = stored;
    this.#attempt(() => this.#store.publish(stored));
    const now = unixSeconds();
    if (status === "completed") batch.finalizing_at = now;
    batch[`${status}_at`] = now;
    batch.status = status;
    this.#save(stored);
  }

  #save(stored: StoredBatch): void {
    this.#attempt(() => this.#store.save(stored));
  }

  /** A folder that cannot be written to must not end the server: the batch is what it is in memory. */
  #attempt(write: () => void): void {
    try {
      write();
    } catch (error) {
      this.#service.options.errorLog(`batches: ${asFastgenError(error).message}`);
    }
  }
}
