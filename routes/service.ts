/** What all routes share: the model once it is loaded, the queue's bound, and whether the server is draining. */
import { createHash } from "node:crypto";
import { FastgenError } from "../src/errors.ts";
import { MAX_BODY_BYTES, MAX_QUEUED_SEQUENCES } from "../src/limits.ts";
import type { FastgenApi, LoadProgress } from "../src/types.ts";
import { VERSION } from "../src/version.ts";
import { errorStatus } from "./errors.ts";
import { Metrics } from "./metrics.ts";

export interface ServiceOptions {
  /** Required of every request but /health and /metrics; null = none. */
  apiKey: string | null;
  /** The model's name in replies; default: as it was named at load. */
  servedModelName: string | null;
  /** Takes one line of JSON a request; null = no access log. */
  accessLog: ((line: string) => void) | null;
  /** Takes the text of an error that no caller can mend. */
  errorLog: (text: string) => void;
  /** Sequences that may wait for a slot. */
  maxQueued: number;
  maxBodyBytes: number;
  /** May requests bring chat templates? A template is a program. */
  trustRequestChatTemplate: boolean;
}

const DEFAULTS: ServiceOptions = {
  apiKey: null,
  servedModelName: null,
  accessLog: null,
  errorLog: (text) => console.error(text),
  maxQueued: MAX_QUEUED_SEQUENCES,
  maxBodyBytes: MAX_BODY_BYTES,
  trustRequestChatTemplate: false,
};

export class Service {
  readonly options: ServiceOptions;
  readonly metrics: Metrics;
  /** Unix seconds. */
  readonly created = Math.floor(Date.now() / 1000);
  /** While loading: how far it has come. */
  progress: LoadProgress | null = null;
  #fastgen: FastgenApi | null = null;
  #modelName = "";
  #fingerprint = "";
  #draining = false;
  /** Sequences started here and not ended: running, waiting, or on their way to the engine. */
  #sequences = 0;
  #requests = 0;
  #idle: (() => void) | null = null;

  constructor(options: Partial<ServiceOptions> = {}) {
    this.options = { ...DEFAULTS, ...options };
    this.#modelName = this.options.servedModelName ?? "";
    this.metrics = new Metrics(() => this.#fastgen);
  }

  /** The model is loaded: from here on requests are served. */
  ready(fastgen: FastgenApi): void {
    const { model } = fastgen;
    this.#modelName = this.options.servedModelName ?? model.name;
    const parts = [VERSION, model.name, model.device, model.dtype, model.max_model_len].join("\n");
    this.#fingerprint = `fg_${createHash("sha256").update(parts).digest("hex").slice(0, 12)}`;
    this.metrics.setModel(this.#modelName, fastgen);
    this.#fastgen = fastgen;
  }

  /** The model, or FastgenError "unavailable" while there is none. */
  get fastgen(): FastgenApi {
    this.requireModel();
    return this.#fastgen!;
  }

  /** Throws FastgenError "unavailable" while no model can be asked. */
  requireModel(): void {
    if (this.#draining)
      throw new FastgenError("unavailable", "the server is shutting down; send the request elsewhere");
    if (!this.#fastgen) throw new FastgenError("unavailable", `the model is loading${this.#percent()}; try again soon`);
    if (!this.#fastgen.alive)
      throw new FastgenError("unavailable", "the engine has failed; the server must be restarted");
  }

  /** The served model's name, which every reply bears whatever name the request bore. */
  get modelName(): string {
    return this.#modelName;
  }

  /** OpenAI's system_fingerprint: changes with whatever may change a seeded answer. */
  get fingerprint(): string {
    return this.#fingerprint;
  }

  get draining(): boolean {
    return this.#draining;
  }

  #percent(): string {
    if (!this.progress?.total) return "";
    const { stage, done, total } = this.progress;
    return ` (${stage}: ${Math.floor((100 * done) / total)} %)`;
  }

  /** Takes `count` places in the queue, or refuses. Each is given back by release(). */
  admit(count: number): void {
    const { maxQueued } = this.options;
    if (count > maxQueued) {
      const message = `the request asks for ${count} sequences (prompts x n), more than the queue holds (${maxQueued}); split it`;
      throw new FastgenError("invalid_request", message, { param: "n" });
    }
    // The engine's count is of its newest step; what it has not seen yet counts as waiting.
    const waiting = Math.max(0, this.#sequences - this.fastgen.stats.running);
    if (waiting + count > maxQueued) {
      throw new FastgenError(
        "overloaded",
        `the queue is full: ${waiting} of ${maxQueued} sequences wait; try again later`,
      );
    }
    this.#sequences += count;
  }

  release(count: number): void {
    this.#sequences -= count;
  }

  /** Logs an error that the caller of request `id` cannot mend. */
  report(id: string, error: FastgenError): void {
    if (errorStatus(error) !== 500) return;
    const text = error.kind === "internal" ? error.stack : error.message;
    this.options.errorLog(`request ${id}: ${error.kind} error: ${text}`);
  }

  requestStarted(): void {
    this.#requests++;
  }

  requestEnded(): void {
    if (--this.#requests === 0) this.#idle?.();
  }

  /** Refuses new requests from now on; resolves true when the running ones have ended, false after `seconds`. */
  drain(seconds: number): Promise<boolean> {
    this.#draining = true;
    if (this.#requests === 0) return Promise.resolve(true);
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const timer = setTimeout(resolve, seconds * 1000, false);
    this.#idle = () => {
      clearTimeout(timer);
      resolve(true);
    };
    return promise;
  }
}
