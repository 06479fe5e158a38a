/**
 * The engine's own thread: it alone calls libfastgen, and blocks in fg_wait. Its first message is the EngineConfig; then
 * ToWorker comes in and FromWorker goes out. While steps run, mail is read between them; while none do, it sleeps in the
 * event loop.
 */
import { type MessagePort, parentPort, receiveMessageOnPort } from "node:worker_threads";
import type { EngineCapacity, EngineConfig } from "../engine-config.ts";
import { asFastgenError, FastgenError } from "../errors.ts";
import { LibraryEngine } from "../ffi/engine.ts";
import { FG } from "../ffi/layout.ts";
import { StepPlan } from "../ffi/step-plan.ts";
import { Pacer } from "./pacer.ts";
import { PAGE_TOKENS } from "./page-cache.ts";
import type { FromWorker, ToWorker } from "./protocol.ts";
import { Scheduler } from "./scheduler.ts";

/** Milliseconds between two looks at the loading, each reported: what a start is late by at most. */
const PROGRESS_INTERVAL = 10;

class EngineWorker {
  private readonly scheduler: Scheduler;
  private readonly plan: StepPlan;
  private readonly pacer = new Pacer();
  /** Nobody wakes it: waiting for it is sleeping. */
  private readonly alarm = new Int32Array(new SharedArrayBuffer(4));
  private closed = false;
  /** Why the trace could not be started: the answer to its stop. */
  private traceError: string | null = null;

  constructor(
    private readonly port: MessagePort,
    private readonly engine: LibraryEngine,
    config: EngineConfig,
    capacity: EngineCapacity,
  ) {
    const { maxSeqs, maxStepTokens, prefixCaching } = config;
    const { pages, hostPages } = capacity;
    // A pool whose size was left to the library: the caller learns from the capacity whether the context still fits.
    const fits = config.kvBytes === 0 ? pages * PAGE_TOKENS : Number.POSITIVE_INFINITY;
    const maxContext = Math.min(config.maxContext, fits);
    this.scheduler = new Scheduler({ maxSeqs, maxStepTokens, maxContext, pages, hostPages, prefixCaching });
    this.plan = new StepPlan(maxSeqs, maxStepTokens);
  }

  /** One message that arrived while nothing ran; then runs until nothing is left to run. */
  wake(message: ToWorker): void {
    if (this.closed) return;
    try {
      this.handle(message);
      while (!this.closed && this.step());
    } catch (error) {
      // A step that fails is handled below. This is a fault of the device or of this program: nothing can go on.
      this.close();
      const { kind, message } = asFastgenError(error);
      this.post({ type: "failed", kind, message });
    }
  }

  private handle(message: ToWorker): void {
    const { scheduler } = this;
    switch (message.type) {
      case "add":
        for (const request of message.requests) scheduler.add(request);
        break;
      case "abort":
        for (const id of message.ids) scheduler.abort(id);
        break;
      case "pause":
        for (const id of message.ids) scheduler.pause(id);
        break;
      case "resume":
        for (const id of message.ids) scheduler.resume(id);
        break;
      case "trace_start":
        this.startTrace();
        break;
      case "trace_stop":
        this.stopTrace(message.path);
        break;
      case "close":
        this.close();
        this.post({ type: "closed" });
        break;
    }
  }

  private startTrace(): void {
    this.traceError = null;
    try {
      this.engine.traceStart();
    } catch (thrown) {
      this.traceError = asFastgenError(thrown).message;
    }
  }

  private stopTrace(path: string): void {
    let error = this.traceError;
    try {
      if (error === null) this.engine.traceStop(path);
    } catch (thrown) {
      error = asFastgenError(thrown).message;
    }
    this.post({ type: "traced", path, error });
  }

  private readMail(): void {
    for (let mail = receiveMessageOnPort(this.port); mail && !this.closed; mail = receiveMessageOnPort(this.port)) {
      this.handle(mail.message);
    }
  }

  /** Reads mail, submits steps until enough are out, and waits for the oldest. False when nothing runs. */
  private step(): boolean {
    const { scheduler } = this;
    this.readMail();
    // With nobody waiting, the next step is planned as late as can be, so that whoever arrives meanwhile is in it.
    const slack = scheduler.stats().waiting === 0 ? this.pacer.slack(performance.now()) : 0;
    if (slack > 0 && !this.closed) {
      Atomics.wait(this.alarm, 0, 0, slack);
      this.readMail();
    }
    if (this.closed) return false;
    while (scheduler.stepsOut < FG.STEPS_IN_FLIGHT && this.submit());
    if (scheduler.stepsOut > 0) {
      this.commitOldest();
      this.post(scheduler.takeMessage());
      return true;
    }
    if (scheduler.hasOutcomes) this.post(scheduler.takeMessage());
    return scheduler.activeCount > 0;
  }

  private submit(): boolean {
    const { scheduler, plan } = this;
    if (!scheduler.plan(plan)) {
      if (scheduler.stepsOut === 0 && scheduler.activeCount > 0 && !scheduler.hasOutcomes) {
        throw new FastgenError("internal", `${scheduler.activeCount} sequences wait and none can run`);
      }
      return false;
    }
    try {
      this.engine.submit(plan);
      this.pacer.submitted(plan.tokenCount, performance.now());
    } catch (thrown) {
      const error = asFastgenError(thrown);
      // Copies may have been made or not: the cache would no longer know what is in its pages.
      if (error.kind === "device" || plan.copyCount > 0) throw error;
      scheduler.dropLast(error);
    }
    return true;
  }

  private commitOldest(): void {
    let result: ReturnType<LibraryEngine["wait"]> | FastgenError;
    try {
      result = this.engine.wait();
      this.pacer.finished(result.runSeconds * 1000, performance.now());
    } catch (thrown) {
      this.pacer.finished(null, performance.now());
      result = asFastgenError(thrown);
      // After a fault of the device no later step can be right.
      if (result.kind === "device") throw result;
    }
    this.scheduler.commit(result);
  }

  private close(): void {
    this.closed = true;
    this.engine.close();
  }

  private post(message: FromWorker): void {
    this.port.postMessage(message);
  }
}

/** Opens the library and loads the weights, reporting progress. Null when `stopped` says so in the meantime. */
async function load(config: EngineConfig, post: (message: FromWorker) => void, stopped: () => boolean) {
  const started = performance.now();
  const engine = LibraryEngine.open(config);
  try {
    if (config.tensors) engine.load(config.tensors);
    else engine.loadRandom(config.seed);
    for (;;) {
      const { done, total, finished } = engine.progress();
      post({ type: "progress", done, total });
      if (finished) break;
      await Bun.sleep(PROGRESS_INTERVAL);
      if (stopped()) {
        engine.close();
        return null;
      }
    }
    const capacity = engine.ready();
    return { engine, capacity, loadSeconds: (performance.now() - started) / 1000 };
  } catch (error) {
    engine.close();
    throw error;
  }
}

async function main(port: MessagePort, config: EngineConfig): Promise<void> {
  const post = (message: FromWorker) => port.postMessage(message);
  const early: ToWorker[] = [];
  let worker: EngineWorker | null = null;
  port.on("message", (message: ToWorker) => {
    if (worker) worker.wake(message);
    else early.push(message);
  });
  const stopped = () => early.some((message) => message.type === "close");
  try {
    const loaded = await load(config, post, stopped);
    if (!loaded) {
      post({ type: "closed" });
      return;
    }
    const { engine, capacity, loadSeconds } = loaded;
    worker = new EngineWorker(port, engine, config, capacity);
    post({ type: "ready", capacity, loadSeconds });
    for (const message of early) worker.wake(message);
  } catch (thrown) {
    const { kind, message } = asFastgenError(thrown);
    post({ type: "failed", kind, message });
  }
}

const port = parentPort;
if (port) port.once("message", (config: EngineConfig) => void main(port, config));
