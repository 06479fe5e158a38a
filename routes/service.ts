/** What all routes share: the model once it is loaded, the bounds of the queue and of what is open, and draining. */
import { createHash } from "node:crypto";
import { type AnswerFormat, answerFormat } from "../src/answer/formats.ts";
import { FastgenError } from "../src/errors.ts";
import {
  IDLE_SECONDS,
  MAX_BODY_BYTES,
  MAX_CONNECTIONS,
  MAX_NAMED_FIELDS,
  MAX_QUEUED_SEQUENCES,
  MAX_REQUESTS,
  MAX_STORED_RESPONSE_BYTES,
  MAX_STORED_RESPONSES,
  MAX_TOTAL_BODY_BYTES,
  STREAM_WRITE_SECONDS,
} from "../src/limits.ts";
import type { FastgenApi, LoadProgress } from "../src/types.ts";
import { VERSION } from "../src/version.ts";
import { Profiling } from "./admin/profile.ts";
import { BatchRunner } from "./batch/runner.ts";
import { BatchStore } from "./batch/store.ts";
import type { RequestRecord } from "./context.ts";
import type { TemplateRules } from "./conversation/messages.ts";
import { errorStatus } from "./errors.ts";
import { Metrics } from "./metrics/metrics.ts";
import type { RequestTracer } from "./metrics/tracing.ts";
import { ResponseStore } from "./responses/store.ts";
import type { BrowserOptions } from "./server/origins.ts";

export interface ServiceOptions extends BrowserOptions, TemplateRules {
  /** Guards the routes that change the server for everybody; null = the API key does. */
  adminApiKey: string | null;
  /** The model's name in replies; null = the name it was loaded by. */
  servedModelName: string | null;
  /** Takes one line of JSON per request; null = no access log. */
  accessLog: ((line: string) => void) | null;
  /** Takes the text of an error that no caller can fix. */
  errorLog: (text: string) => void;
  /** Sequences that may wait for a slot. */
  maxQueued: number;
  /** Connections that may be open; requests on others are refused. */
  maxConnections: number;
  /** Requests that may be open. */
  maxRequests: number;
  maxBodyBytes: number;
  /** Bytes of all bodies that are being read, parsed and tokenised. */
  maxTotalBodyBytes: number;
  /** Responses that are kept for later requests, and bytes of them. */
  maxStoredResponses: number;
  maxStoredResponseBytes: number;
  /** Files and batches; null = a private folder that goes with the process. */
  batchStore: BatchStore | null;
  /** Seconds for which nothing more can be sent to a stream's reader before its connection closes. */
  streamWriteSeconds: number;
  /** Seconds that a connection may be idle, and that headers may take. */
  idleSeconds: number;
  /** Does every stream end with its usage, asked for or not? */
  forceIncludeUsage: boolean;
  /** The folder that profiles go to; null = there are none. */
  profileDir: string | null;
  /** Hears of every request for tokens; null = no traces. */
  tracer: RequestTracer | null;
  /** How the model writes reasoning and calls: names of vLLM's parsers, "auto" = by its chat template, or "none". */
  reasoningParser: string;
  toolCallParser: string;
  /** Answer /tokenizer_info? */
  tokenizerInfo: boolean;
  /** Where a proxy has the server's paths: "/llm"; "" = at their own. */
  rootPath: string;
  /** Is there a page at /? */
  ui: boolean;
  /** Are unsupported fields ignored where they would change the answer? */
  allowExtraFields: boolean;
}

const DEFAULTS: ServiceOptions = {
  apiKey: null,
  adminApiKey: null,
  host: null,
  allowedHosts: null,
  allowedOrigins: null,
  allowedMethods: ["*"],
  allowedHeaders: ["*"],
  allowCredentials: false,
  servedModelName: null,
  accessLog: null,
  errorLog: (text) => console.error(text),
  maxQueued: MAX_QUEUED_SEQUENCES,
  maxConnections: MAX_CONNECTIONS,
  maxRequests: MAX_REQUESTS,
  maxBodyBytes: MAX_BODY_BYTES,
  maxTotalBodyBytes: MAX_TOTAL_BODY_BYTES,
  maxStoredResponses: MAX_STORED_RESPONSES,
  maxStoredResponseBytes: MAX_STORED_RESPONSE_BYTES,
  batchStore: null,
  streamWriteSeconds: STREAM_WRITE_SECONDS,
  idleSeconds: IDLE_SECONDS,
  trustRequestChatTemplate: false,
  defaultChatTemplateKwargs: null,
  forceIncludeUsage: false,
  profileDir: null,
  tracer: null,
  reasoningParser: "auto",
  toolCallParser: "auto",
  tokenizerInfo: false,
  rootPath: "",
  ui: true,
  allowExtraFields: false,
};

/** Characters of a field's name in the log. */
const MAX_LOGGED_NAME = 64;

/** Paths that load balancers and monitors ask for every second or so. */
const PROBES = /^(\/v1)?\/(health|ping|liveness|load|metrics)\/?$/;

export class Service {
  readonly options: ServiceOptions;
  readonly metrics: Metrics;
  readonly responses: ResponseStore;
  readonly batches: { store: BatchStore; runner: BatchRunner };
  readonly profiling: Profiling;
  /** Unix seconds. */
  readonly created = Math.floor(Date.now() / 1000);
  /** How far loading has come, while it lasts. */
  progress: LoadProgress | null = null;
  #fastgen: FastgenApi | null = null;
  #modelName = "";
  /** Of the weights that it was made for. */
  #fingerprint = { text: "", version: "" };
  #format: AnswerFormat = { reasoning: null, tools: null, shownTokens: [] };
  #draining = false;
  /** Sequences that have been started and have not ended: running, waiting, or on their way to the engine. */
  #sequences = 0;
  readonly #requests = new Set<RequestRecord>();
  #bodyBytes = 0;
  /** Ignored fields that the log has named. */
  readonly #namedFields = new Set<string>();
  /** By path: the status of a probe's last reply. */
  readonly #probes = new Map<string, number>();
  #idle: (() => void) | null = null;

  constructor(options: Partial<ServiceOptions> = {}) {
    const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
    const all = { ...DEFAULTS, ...given };
    // One body of the largest size must be possible.
    this.options = { ...all, maxTotalBodyBytes: Math.max(all.maxTotalBodyBytes, all.maxBodyBytes) };
    this.#modelName = this.options.servedModelName ?? "";
    this.metrics = new Metrics(() => this.#fastgen);
    this.profiling = new Profiling(this.options.profileDir, this.options.errorLog);
    const { maxStoredResponses, maxStoredResponseBytes } = this.options;
    const store = this.options.batchStore ?? new BatchStore();
    this.batches = { store, runner: new BatchRunner(this, store) };
    this.responses = new ResponseStore({ responses: maxStoredResponses, bytes: maxStoredResponseBytes });
  }

  /** Call once the model is loaded: from then on requests are served. */
  ready(fastgen: FastgenApi): void {
    const { model } = fastgen;
    this.#modelName = this.options.servedModelName ?? model.name;
    this.metrics.setModel(this.#modelName, fastgen);
    this.#format = answerFormat(templateText(fastgen.tokenizer_config.chat_template), this.options);
    this.#fastgen = fastgen;
    this.batches.runner.wake();
  }

  /** Can the model be asked? */
  get isReady(): boolean {
    return this.#fastgen?.alive === true && !this.#draining;
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

  /** The served model's name: every reply has it, whatever name the request gave. */
  get modelName(): string {
    return this.#modelName;
  }

  /** OpenAI's system_fingerprint: it changes with everything that may change a seeded answer. */
  get fingerprint(): string {
    const { model, weight_version: version } = this.#fastgen!;
    if (this.#fingerprint.version !== version) {
      const parts = [VERSION, model.name, model.device, model.dtype, model.max_model_len, version].join("\n");
      const text = `fg_${createHash("sha256").update(parts).digest("hex").slice(0, 12)}`;
      this.#fingerprint = { text, version };
    }
    return this.#fingerprint.text;
  }

  /** How the model writes reasoning and calls. @param template the request's own; default: the model's. */
  answerFormat(template?: string): AnswerFormat {
    if (template === undefined) return this.#format;
    return answerFormat(template, this.options);
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
      const message = `the request asks for ${count} sequences (prompts x n), more than the ${maxQueued} that may wait (--max-queued-seqs); split it`;
      throw new FastgenError("invalid_request", message, { param: "n" });
    }
    // The engine's count is of its newest step; sequences that it has not seen yet count as waiting.
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

  /** Requests being read or answered. */
  get open(): number {
    return this.#requests.size;
  }

  /** Of these, the ones that are generated for. */
  get load(): number {
    let count = 0;
    for (const { generates } of this.#requests) count += Number(generates);
    return count;
  }

  /** Throws FastgenError when too many requests are open, or the connection is one too many (`crowded`). */
  requireRoom(crowded: boolean): void {
    const { maxConnections, maxRequests } = this.options;
    if (crowded) {
      const message = `${maxConnections} connections are open, as many as the server takes (--max-connections); try again later`;
      throw new FastgenError("unavailable", message, { code: "too_many_connections" });
    }
    if (this.open <= maxRequests) return;
    throw new FastgenError(
      "overloaded",
      `${maxRequests} requests are open, as many as the server takes; try again later`,
    );
  }

  /** Counts `bytes` more of bodies in memory. Throws FastgenError "overloaded" when that is too many. */
  holdBodies(bytes: number): void {
    const { maxTotalBodyBytes } = this.options;
    if (this.#bodyBytes + bytes > maxTotalBodyBytes) {
      const message = `request bodies of ${maxTotalBodyBytes} bytes (--max-total-body-bytes) are being read; try again later`;
      throw new FastgenError("overloaded", message);
    }
    this.#bodyBytes += bytes;
  }

  releaseBodies(bytes: number): void {
    this.#bodyBytes -= bytes;
  }

  /** Whether a request belongs in the access log: every request but a probe that gets the same status as the last one. */
  worthLogging(path: string, status: number): boolean {
    if (!PROBES.test(path)) return true;
    const last = this.#probes.get(path) ?? 200;
    this.#probes.set(path, status);
    return status !== last;
  }

  /** Says once in the log that fields of these names are ignored. */
  noteIgnored(names: readonly string[]): void {
    const news = names
      .filter((name) => !this.#namedFields.has(name))
      .slice(0, MAX_NAMED_FIELDS - this.#namedFields.size);
    if (news.length === 0) return;
    for (const name of news) this.#namedFields.add(name);
    const list = news.map((name) => JSON.stringify(name.slice(0, MAX_LOGGED_NAME))).join(", ");
    this.options.errorLog(
      `fgserve: ignored in requests, although the answer may differ (--allow-extra-fields): ${list}`,
    );
  }

  /** Logs an error that the caller of request `id` cannot fix. */
  report(id: string, error: FastgenError): void {
    if (errorStatus(error) !== 500) return;
    const text = error.kind === "internal" ? error.stack : error.message;
    this.options.errorLog(`request ${id}: ${error.kind} error: ${text}`);
  }

  requestStarted(record: RequestRecord): void {
    this.#requests.add(record);
  }

  requestEnded(record: RequestRecord): void {
    this.#requests.delete(record);
    if (this.#requests.size === 0) this.#idle?.();
  }

  /**
   * Refuses new requests from now on, and those whose body has not arrived. Resolves true when the others have ended, false
   * after `seconds`.
   */
  drain(seconds: number): Promise<boolean> {
    this.#draining = true;
    void this.batches.runner.stop();
    for (const record of this.#requests) record.drain();
    if (this.#requests.size === 0) return Promise.resolve(true);
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const timer = setTimeout(resolve, seconds * 1000, false);
    this.#idle = () => {
      clearTimeout(timer);
      resolve(true);
    };
    return promise;
  }
}

/** All text of a model's chat templates, which may be several. */
function templateText(template: unknown): string {
  return typeof template === "string" ? template : (JSON.stringify(template) ?? "");
}
