/** The engine as the main thread sees it: requests go in to the worker, events of sequences come out. Never blocks. */
import { extname } from "node:path";
import { Worker } from "node:worker_threads";
import type { EngineCapacity, EngineConfig } from "../engine-config.ts";
import { asFastgenError, FastgenError } from "../errors.ts";
import type { DiskChange } from "./offload/disk-listing.ts";
import {
  type Command,
  type ControlState,
  type EngineRequest,
  type EngineStats,
  FINISH,
  FIRST_VERSION,
  type FinishReason,
  type FromWorker,
  NO_STATS,
  type ProfileOrder,
  type SequenceStart,
  type StepMessage,
  type TokenLogprobs,
  type ToWorker,
} from "./protocol.ts";

/** What one step brought for one sequence. */
export interface SequenceEvent {
  /** -1 where the event only ends the sequence. */
  token: number;
  /** "" while it runs. */
  finish: FinishReason | "";
  logprobs: TokenLogprobs | null;
  /** Of all prompt tokens but the first, with the first event; null when the request did not ask for them. */
  promptLogprobs: TokenLogprobs | null;
  /** The number of prompt tokens found in the prefix cache, with the first event; null when there were none. */
  cachedTokens: number | null;
  /** How the sequence began, with the first event of one that neither failed nor was aborted. */
  start: SequenceStart | null;
  /** Why the sequence ended early, where its grammar is the reason. */
  reason: string | null;
  /** Of the weights that computed it. */
  weightVersion: string;
  /** performance.now() when the step's news came. */
  time: number;
  /** Set when finish is "error". */
  error: FastgenError | null;
}

/** Called for every event of the sequence with this index in the array given to add(). */
export type SequenceListener = (index: number, event: SequenceEvent) => void;

export interface StartOptions {
  onProgress?: (progress: { stage: "load"; done: number; total: number }) => void;
  /** Called with a sentence about what is not as it was asked for, also later. */
  onWarning?: (message: string) => void;
  /** Called with each batch of KV events and the rank that it bears, where the config asks for them. */
  onKvEvents?: (batch: Uint8Array, rank: number) => void;
  /** Called with what has become of the engine's pages on disk. */
  onDiskPages?: (change: DiskChange) => void;
  signal?: AbortSignal;
  /** What errors call the engine where there are several; null = it is the only one. */
  name?: string | null;
}

interface Alive {
  index: number;
  /** Of its prompt, and generated so far. */
  tokens: number;
  listener: SequenceListener;
}

const MAX_ID = 2 ** 31 - 1;

/**
 * `bun build --compile` keeps a second entry point under its path from --root. Elsewhere the worker lies beside this file:
 * TypeScript in a checkout, JavaScript in a package.
 */
const WORKER_URL = import.meta.url.startsWith("file:///$bunfs/")
  ? new URL("file:///$bunfs/root/src/engine/worker.ts")
  : new URL(`./worker${extname(import.meta.url)}`, import.meta.url);

export class EngineFront {
  readonly capacity: EngineCapacity;
  readonly loadSeconds: number;
  /** As of the newest step. */
  stats: EngineStats;
  /** Called after every step with the number of its tokens. */
  onStep: ((tokens: number) => void) | null = null;
  /** Resolves with the reason when the engine fails by itself, and never otherwise. */
  readonly failed: Promise<FastgenError>;
  private readonly tellFailed: (error: FastgenError) => void;
  private readonly sequences = new Map<number, Alive>();
  private nextId = 0;
  private tokensAlive = 0;
  /** Why the engine takes no more requests, or null while it does. */
  private ended: FastgenError | null = null;
  /** Called when the news of a step has been given out: when that began (performance.now()), and for how many sequences. */
  onDelivered: ((started: number, sequences: number) => void) | null = null;
  private profile: { resolve: () => void; reject: (error: FastgenError) => void } | null = null;
  private readonly commands = new Map<number, { resolve: () => void; reject: (error: FastgenError) => void }>();
  private nextCommand = 0;
  /** As of the newest command that was carried out. */
  state: ControlState = { weightVersion: FIRST_VERSION, sleeping: false, weightsProblem: null, refusal: null };
  private closing: Promise<void> | null = null;
  private onClosed: (() => void) | null = null;

  private constructor(
    private readonly worker: Worker,
    ready: Extract<FromWorker, { type: "ready" }>,
    private readonly name: string | null,
  ) {
    this.capacity = ready.capacity;
    this.loadSeconds = ready.loadSeconds;
    this.stats = { ...NO_STATS, pages: ready.capacity.pages };
    const { promise, resolve } = Promise.withResolvers<FastgenError>();
    this.failed = promise;
    this.tellFailed = resolve;
  }

  /**
   * Starts the worker, opens the library and loads the weights.
   * @throws FastgenError "model", "invalid_request", "device", "out_of_memory", "aborted".
   */
  static start(config: EngineConfig, options: StartOptions = {}): Promise<EngineFront> {
    const { onProgress, onWarning, onKvEvents, onDiskPages, signal, name = null } = options;
    const { promise, resolve, reject } = Promise.withResolvers<EngineFront>();
    const worker = new Worker(WORKER_URL);
    let front: EngineFront | null = null;
    const abort = () => send(worker, { type: "close" });
    const fail = (error: FastgenError) => {
      if (front) return front.fail(error);
      signal?.removeEventListener("abort", abort);
      reject(named(name, error));
      void worker.terminate();
    };
    worker.on("message", (message: FromWorker) => {
      if (message.type === "warning") onWarning?.(message.message);
      else if (message.type === "kv_events") onKvEvents?.(message.batch, config.kvEventsRank!);
      else if (message.type === "disk_pages") onDiskPages?.(message.change);
      else if (front) front.receive(message);
      else if (message.type === "progress") onProgress?.({ stage: "load", done: message.done, total: message.total });
      else if (message.type === "failed") fail(new FastgenError(message.kind, message.message));
      else if (message.type === "closed") fail(new FastgenError("aborted", "loading was aborted"));
      // When it became ready just before it heard of the abort, "closed" follows.
      else if (message.type === "ready" && !signal?.aborted) {
        signal?.removeEventListener("abort", abort);
        front = new EngineFront(worker, message, name);
        resolve(front);
      }
    });
    worker.on("error", (cause) =>
      fail(new FastgenError("internal", `the engine crashed: ${asFastgenError(cause).message}`, { cause })),
    );
    worker.on("exit", (code) => fail(new FastgenError("internal", `the engine's thread ended with code ${code}`)));
    worker.postMessage(config);
    if (signal?.aborted) abort();
    else signal?.addEventListener("abort", abort, { once: true });
    return promise;
  }

  /** False once the engine has failed or close() was called. */
  get alive(): boolean {
    return this.ended === null;
  }

  /** Why it takes no more requests, or null while it does. */
  get failure(): string | null {
    return this.ended?.message ?? null;
  }

  /** Tokens of all sequences that have not ended, of prompts and generated: how much it has to do. */
  get load(): number {
    return this.tokensAlive;
  }

  /** Sequences that have not ended. */
  get size(): number {
    return this.sequences.size;
  }

  /**
   * Queues sequences, all or none, and sets their ids. The listener is called for each token that a sequence gets, and
   * for the last time with `finish` set. Returns the ids, for abort(). The caller bounds how many may wait.
   * @throws FastgenError "unavailable" when the engine has ended, or has no whole weights. The requests' matchers then stay the caller's, to be freed.
   */
  add(requests: EngineRequest[], listener: SequenceListener): number[] {
    if (this.ended) throw new FastgenError("unavailable", this.ended.message, { cause: this.ended });
    if (this.state.refusal !== null) throw new FastgenError("unavailable", this.state.refusal);
    const ids = requests.map((request, index) => {
      request.id = this.takeId();
      const tokens = request.prompt.length;
      this.sequences.set(request.id, { index, tokens, listener });
      this.tokensAlive += tokens;
      return request.id;
    });
    this.send({ type: "add", requests });
    return ids;
  }

  /**
   * Hands over the matchers of requests that came without, because their grammar was being compiled: matchers[i] is for ids[i].
   * @throws FastgenError "unavailable" when the engine has ended. The matchers then stay the caller's, to be freed.
   */
  giveMatchers(ids: number[], matchers: number[]): void {
    if (this.ended) throw new FastgenError("unavailable", this.ended.message, { cause: this.ended });
    this.send({ type: "matchers", ids, matchers });
  }

  /** Ends sequences within a step. Each gets one last event, "abort". Ids of sequences that have ended are ignored. */
  abort(ids: number[]): void {
    this.tellOf("abort", ids);
  }

  /**
   * Holds sequences back: within a step they leave their slots to others. Their pages stay cached for as long as there is
   * room, so resume() goes on where they stopped. Ids that have ended are ignored.
   */
  pause(ids: number[]): void {
    this.tellOf("pause", ids);
  }

  /** Lets paused sequences go on, at their old place in the queue. Ids that have ended, or do not pause, are ignored. */
  resume(ids: number[]): void {
    this.tellOf("resume", ids);
  }

  private tellOf(type: "abort" | "pause" | "resume", ids: number[]): void {
    const alive = ids.filter((id) => this.sequences.has(id));
    if (alive.length > 0 && this.alive) this.send({ type, ids: alive });
  }

  /** Resolves once the engine has done what it is told. Rejects with FastgenError where it cannot. */
  command(command: Command): Promise<void> {
    if (this.ended) return Promise.reject(this.ended);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const id = this.nextCommand++;
    this.commands.set(id, { resolve, reject });
    this.send({ type: "command", id, command });
    return promise;
  }

  /**
   * Records the engine's part of a profile. Resolves once its steps have run, or stopProfile() was called, and the parts are
   * written. Rejects with FastgenError "invalid_request" where one is being recorded, "unavailable" where the parts cannot be written.
   */
  recordProfile(order: ProfileOrder): Promise<void> {
    if (this.ended) return Promise.reject(this.ended);
    if (this.profile) return Promise.reject(new FastgenError("invalid_request", "a profile is being recorded"));
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.profile = { resolve, reject };
    this.send({ type: "profile_start", order });
    return promise;
  }

  /** Ends the recording, if there is one. */
  stopProfile(): void {
    if (this.profile && this.alive) this.send({ type: "profile_stop" });
  }

  /** Ends every sequence with an error, frees the engine and ends its thread. */
  close(): Promise<void> {
    this.closing ??= this.shutDown();
    return this.closing;
  }

  private async shutDown(): Promise<void> {
    if (this.alive) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.onClosed = resolve;
      this.end(new FastgenError("unavailable", "the engine was closed"));
      this.send({ type: "close" });
      await promise;
    }
    await this.worker.terminate();
  }

  private takeId(): number {
    do this.nextId = this.nextId === MAX_ID ? 0 : this.nextId + 1;
    while (this.sequences.has(this.nextId));
    return this.nextId;
  }

  private send(message: ToWorker): void {
    send(this.worker, message);
  }

  private receive(message: FromWorker): void {
    switch (message.type) {
      case "step": {
        const started = this.onDelivered ? performance.now() : 0;
        this.deliver(message);
        this.onDelivered?.(started, message.requestIds.length);
        break;
      }
      case "failed":
        this.fail(new FastgenError(message.kind, message.message));
        break;
      case "profiled": {
        const { profile } = this;
        this.profile = null;
        if (message.error === null) profile?.resolve();
        else profile?.reject(new FastgenError(message.error.kind, message.error.message));
        break;
      }
      case "done": {
        const { id, error, state } = message;
        const command = this.commands.get(id);
        this.commands.delete(id);
        this.state = state;
        if (error === null) command?.resolve();
        else command?.reject(new FastgenError(error.kind, error.message));
        break;
      }
      case "closed":
        this.onClosed?.();
        break;
    }
  }

  private deliver(step: StepMessage): void {
    const isStep = step.stats.steps > this.stats.steps;
    this.stats = step.stats;
    if (isStep) this.onStep?.(step.stats.stepTokens);
    const { requestIds, tokens, finish, logprobs, promptLogprobs, cachedTokens, starts, reasons, errors } = step;
    const time = performance.now();
    for (let i = 0; i < requestIds.length; i++) {
      const id = requestIds[i]!;
      const alive = this.sequences.get(id);
      if (!alive) continue;
      if (finish[i] !== 0) this.forget(id, alive);
      else if (tokens[i]! >= 0) {
        alive.tokens++;
        this.tokensAlive++;
      }
      const error = errors?.get(i);
      this.notify(id, alive, {
        token: tokens[i]!,
        finish: FINISH[finish[i]!]!,
        logprobs: logprobs?.get(i) ?? null,
        promptLogprobs: promptLogprobs?.get(i) ?? null,
        cachedTokens: cachedTokens?.get(i) ?? null,
        start: starts?.get(i) ?? null,
        reason: reasons?.get(i) ?? null,
        weightVersion: step.weightVersion,
        time,
        error: error ? new FastgenError(error.kind, error.message) : null,
      });
    }
  }

  private forget(id: number, alive: Alive): void {
    if (this.sequences.delete(id)) this.tokensAlive -= alive.tokens;
  }

  /** When a listener throws, its sequence is aborted. The others go on. */
  private notify(id: number, alive: Alive, event: SequenceEvent): void {
    try {
      alive.listener(alive.index, event);
    } catch (thrown) {
      this.abort([id]);
      this.forget(id, alive);
      process.emitWarning(asFastgenError(thrown));
    }
  }

  private fail(why: FastgenError): void {
    const error = named(this.name, why);
    if (!this.ended) this.tellFailed(error);
    this.end(error);
    this.onClosed?.();
  }

  private end(error: FastgenError): void {
    if (this.ended) return;
    this.ended = error;
    const sequences = [...this.sequences];
    this.sequences.clear();
    this.tokensAlive = 0;
    this.stats = { ...this.stats, running: 0, waiting: 0, swapped: 0, paused: 0, pagesUsed: 0 };
    for (const [id, alive] of sequences) {
      this.notify(id, alive, {
        token: -1,
        finish: "error",
        logprobs: null,
        promptLogprobs: null,
        cachedTokens: null,
        start: null,
        reason: null,
        weightVersion: this.state.weightVersion,
        time: performance.now(),
        error,
      });
    }
    this.profile?.reject(error);
    this.profile = null;
    for (const command of this.commands.values()) command.reject(error);
    this.commands.clear();
  }
}

/** An engine's error says whose it is. */
function named(name: string | null, error: FastgenError): FastgenError {
  if (name === null) return error;
  const { kind, message, param, code } = error;
  return new FastgenError(kind, `${name} failed: ${message}`, { param, code, cause: error });
}

function send(worker: Worker, message: ToWorker): void {
  worker.postMessage(message);
}
