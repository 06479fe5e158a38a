/**
 * The engine's own thread. It alone calls libfastgen, and it blocks in fg_wait. Its first message is the EngineConfig. After
 * that, ToWorker messages come in and FromWorker messages go out. While steps run, it reads its mail between them. While none
 * run, it sleeps in the event loop.
 */
import { type MessagePort, parentPort, receiveMessageOnPort } from "node:worker_threads";
import type { EngineCapacity, EngineConfig, KvCacheDirConfig } from "../engine-config.ts";
import { asFastgenError, FastgenError } from "../errors.ts";
import { LibraryEngine } from "../ffi/engine.ts";
import { FG } from "../ffi/layout.ts";
import { StepPlan } from "../ffi/step-plan.ts";
import { Follower } from "../grammar/follower.ts";
import { Llguidance } from "../grammar/llguidance.ts";
import { Matcher } from "../grammar/matcher.ts";
import { setupSource } from "../kv-cache-dir/setup.ts";
import { KvCacheDir } from "../kv-cache-dir/store.ts";
import { EngineControl, PROGRESS_INTERVAL } from "./control.ts";
import type { GrammarFollower, GrammarMatcher } from "./masks/late-masks.ts";
import type { PageStore } from "./offload/disk-pages.ts";
import { HostPages } from "./offload/host-pages.ts";
import { Pacer } from "./pacer.ts";
import { KvEventLog } from "./pages/kv-events.ts";
import { PAGE_TOKENS } from "./pages/page-cache.ts";
import { Profiling } from "./profiling.ts";
import type { FromWorker, ToWorker } from "./protocol.ts";
import { Scheduler } from "./scheduler/scheduler.ts";
import { submitStep } from "./submit.ts";

/** Milliseconds between two looks at the mail while a step runs that could still use a grammar. */
const GRAMMAR_INTERVAL = 1;

/** Milliseconds between two looks at the host pages while nothing runs. */
const HOST_PAGES_INTERVAL = 1000;

/** What the worker needs of the library once it is loaded. */
export type LoadedEngine = Pick<
  LibraryEngine,
  | "load"
  | "ready"
  | "sleep"
  | "wake"
  | "progress"
  | "copyPages"
  | "submit"
  | "refusedSlot"
  | "giveMask"
  | "giveMaskSource"
  | "giveFollower"
  | "wait"
  | "traceStart"
  | "traceStop"
  | "close"
>;

/** What the worker needs of grammars. */
export interface Grammars {
  /** Takes over the pointer of an EngineGrammar. */
  open(pointer: number): GrammarMatcher;
  /** The address of the function that fills in the mask of a matcher, by its pointer. */
  readonly fill: number;
  /** The address of the function that checks one token in the mask's place. */
  readonly check: number;
  /** A matcher that the sampler takes along: see MaskLibrary. */
  follow(matcher: GrammarMatcher, position: number, checks: boolean): GrammarFollower;
  /** An fg_follower. */
  readonly followerFunctions: Uint8Array<ArrayBuffer>;
}

export class EngineWorker {
  private readonly scheduler: Scheduler;
  private readonly plan: StepPlan;
  private readonly control: EngineControl;
  private readonly pacer = new Pacer();
  /** Nothing ever notifies it: waiting for it is a sleep. */
  private readonly alarm = new Int32Array(new SharedArrayBuffer(4));
  private closed = false;
  /** Steps are being run. */
  private running = false;
  private store: { close(): void } | null = null;
  private readonly hostPages: HostPages;
  private readonly hostPagesTimer: Timer;
  private readonly kvEvents: KvEventLog | null;
  private readonly profiling: Profiling;

  constructor(
    private readonly port: MessagePort,
    private readonly engine: LoadedEngine,
    config: Pick<
      EngineConfig,
      "maxSeqs" | "maxStepTokens" | "maxContext" | "prefixCaching" | "kvEventsRank" | "kvBytes"
    > & {
      shape: Pick<EngineConfig["shape"], "vocabSize">;
    },
    capacity: Pick<EngineCapacity, "pages" | "hostPages" | "follows">,
    private readonly grammars: Grammars,
  ) {
    const { maxSeqs, maxStepTokens, prefixCaching } = config;
    const { pages, follows } = capacity;
    const hostPages = engine.progress().hostPages;
    this.hostPages = new HostPages(capacity.hostPages, hostPages, performance.now());
    this.hostPagesTimer = setInterval(() => this.countHostPages(), HOST_PAGES_INTERVAL).unref();
    // When the pool's size was left to the library, the caller learns from the capacity whether the context still fits.
    const fits = config.kvBytes === 0 ? pages * PAGE_TOKENS : Number.POSITIVE_INFINITY;
    const maxContext = Math.min(config.maxContext, fits);
    const { vocabSize } = config.shape;
    const pageListener = config.kvEventsRank === undefined ? null : new KvEventLog(config.kvEventsRank);
    this.kvEvents = pageListener;
    this.scheduler = new Scheduler(
      { maxSeqs, maxStepTokens, maxContext, pages, hostPages, prefixCaching, vocabSize, pageListener },
      {
        openMatcher: (pointer) => grammars.open(pointer),
        giveMatcher: (row, { pointer }, checks) =>
          engine.giveMaskSource(row, grammars.fill, checks ? grammars.check : null, pointer),
        giveMask: (row, words) => engine.giveMask(row, words),
        follow: (matcher, position, checks) => (follows ? grammars.follow(matcher, position, checks) : null),
        giveFollower: (row, { pointer }) => engine.giveFollower(row, grammars.followerFunctions, pointer),
      },
    );
    this.plan = new StepPlan(maxSeqs, maxStepTokens);
    this.profiling = new Profiling(engine, this.scheduler, (error) => {
      this.post({ type: "profiled", error: error && { kind: error.kind, message: error.message } });
    });
    this.control = new EngineControl(
      engine,
      this.scheduler,
      (message) => this.post(message),
      () => this.attempt(() => this.run()),
    );
  }

  /** Keeps pages in `store` from now on, and closes it in the end. Call goOn() when it has news. */
  useStore(store: PageStore & { close(): void }): void {
    this.store = store;
    this.scheduler.useStore(store);
  }

  /** There may be something to run: the store has news. */
  goOn(): void {
    if (!this.closed) this.attempt(() => this.run());
  }

  /** Takes one message that arrived while nothing ran, then runs steps until nothing is left to run. */
  wake(message: ToWorker): void {
    if (this.closed) {
      this.dropMatchers(message);
      return;
    }
    this.attempt(() => {
      this.handle(message);
      this.run();
    });
  }

  private attempt(work: () => void): void {
    try {
      work();
      this.postKvEvents();
      this.postDiskPages();
    } catch (error) {
      // A step that fails is handled below. This is a fault of the device or of this program, and nothing can go on.
      this.close();
      const { kind, message } = asFastgenError(error);
      this.post({ type: "failed", kind, message });
    }
  }

  /** Runs steps until nothing is left to run. */
  private run(): void {
    if (this.running) return;
    this.running = true;
    while (!this.closed && this.step());
    this.running = false;
  }

  private handle(message: ToWorker): void {
    const { scheduler } = this;
    switch (message.type) {
      case "add":
        for (const request of message.requests) scheduler.add(request);
        break;
      case "matchers":
        for (const [i, id] of message.ids.entries()) scheduler.setMatcher(id, message.matchers[i]!);
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
      case "command":
        this.control.take(message.id, message.command);
        break;
      case "profile_start":
        this.profiling.start(message.order);
        break;
      case "profile_stop":
        this.profiling.stop();
        break;
      case "close":
        this.close();
        this.post({ type: "closed" });
        break;
    }
  }

  /** Frees what belongs to the worker of a message that came after the end. */
  private dropMatchers(message: ToWorker): void {
    for (const matcher of matchersIn(message)) this.grammars.open(matcher).free();
  }

  private readMail(): void {
    for (let mail = receiveMessageOnPort(this.port); mail && !this.closed; mail = receiveMessageOnPort(this.port)) {
      this.handle(mail.message);
    }
  }

  /** The library may make host memory in the background: its pages are used as they come. */
  private countHostPages(): void {
    if (this.hostPages.complete) {
      clearInterval(this.hostPagesTimer);
      return;
    }
    const message = this.hostPages.update(this.engine.progress().hostPages, performance.now());
    this.scheduler.setHostPages(this.hostPages.count);
    if (message !== null) this.post({ type: "warning", message });
  }

  /** Reads mail, submits steps until enough are in flight, and waits for the oldest. False when nothing runs. */
  private step(): boolean {
    const { scheduler } = this;
    this.readMail();
    for (const message of this.scheduler.disk?.update() ?? []) this.post({ type: "warning", message });
    // Before the stats that count them.
    this.postDiskPages();
    this.awaitGrammars();
    // While no sequence waits, the next step is planned as late as possible: requests that arrive meanwhile are then in it.
    const slack = scheduler.stats().waiting === 0 ? this.pacer.slack(performance.now()) : 0;
    if (slack > 0 && !this.closed) {
      Atomics.wait(this.alarm, 0, 0, slack);
      this.readMail();
    }
    if (this.closed) return false;
    this.countHostPages();
    // With weights that are not whole, nothing can be computed.
    if (this.control.refusal && !scheduler.frozen) scheduler.endAll(this.control.refusal);
    while (!this.closed && scheduler.stepsInFlight < FG.STEPS_IN_FLIGHT && this.submit()) this.awaitGrammars();
    if (this.closed) return false;
    if (scheduler.stepsInFlight > 0) {
      this.commitOldest();
      this.post(scheduler.takeMessage());
      this.postKvEvents();
      return true;
    }
    if (scheduler.hasNews) this.post(scheduler.takeMessage());
    const copy = (copies: Int32Array<ArrayBuffer>) => this.engine.copyPages(copies);
    if (!scheduler.frozen && scheduler.disk?.idle(this.plan, copy)) return true;
    this.control.settle();
    return scheduler.activeCount > 0;
  }

  /** Reads mail while the newest step can still use a grammar that is being compiled, and the next need not be planned yet. */
  private awaitGrammars(): void {
    while (!this.closed && this.scheduler.awaitsGrammars) {
      const slack = this.pacer.slack(performance.now());
      if (slack === 0) return;
      Atomics.wait(this.alarm, 0, 0, Math.min(slack, GRAMMAR_INTERVAL));
      this.readMail();
    }
  }

  /** Plans a step and submits it. False when nothing can run now. */
  private submit(): boolean {
    const { engine, scheduler, plan } = this;
    const planned = this.profiling.now();
    if (!scheduler.plan(plan)) {
      if (scheduler.stepsInFlight === 0 && scheduler.activeCount > 0 && !scheduler.hasOutcomes) {
        throw new FastgenError("internal", `${scheduler.activeCount} sequences wait and none can run`);
      }
      return false;
    }
    const submitting = this.profiling.now();
    if (submitStep(engine, scheduler, plan)) {
      this.pacer.submitted(plan.tokenCount, performance.now());
      this.profiling.submitted(planned, submitting, plan.copyCount);
    }
    return true;
  }

  private commitOldest(): void {
    let result: ReturnType<LibraryEngine["wait"]> | FastgenError;
    const waiting = this.profiling.now();
    if (this.scheduler.stepsInFlight === 1) this.scheduler.closeMasks();
    try {
      result = this.engine.wait();
      this.pacer.finished(result.runSeconds * 1000, performance.now());
    } catch (thrown) {
      this.pacer.finished(null, performance.now());
      result = asFastgenError(thrown);
      // After a fault of the device no later step can be right.
      if (result.kind === "device") throw result;
    }
    const waited = this.profiling.now();
    this.scheduler.commit(result);
    this.profiling.committed(waiting, waited);
  }

  private close(): void {
    this.closed = true;
    this.control.close();
    clearInterval(this.hostPagesTimer);
    // Its threads use the engine's memory.
    this.store?.close();
    // No step runs any more: nobody else uses the matchers.
    this.engine.close();
    this.scheduler.close();
  }

  private postKvEvents(): void {
    const batch = this.kvEvents?.take();
    if (batch) this.port.postMessage({ type: "kv_events", batch } satisfies FromWorker, [batch.buffer as ArrayBuffer]);
  }

  private postDiskPages(): void {
    const change = this.scheduler.disk?.takeChange();
    if (change) this.post({ type: "disk_pages", change });
  }

  private post(message: FromWorker): void {
    this.port.postMessage(message);
  }
}

/** What a message hands over to the worker. */
function matchersIn(message: ToWorker): number[] {
  if (message.type === "matchers") return message.matchers;
  const grammars = message.type === "add" ? message.requests.map(({ grammar }) => grammar) : [];
  return grammars.flatMap((grammar) => grammar?.matcher ?? []);
}

function grammarsOf({ grammarLibrary }: EngineConfig): Grammars {
  let followerFunctions: Uint8Array<ArrayBuffer> | null = null;
  return {
    open(pointer) {
      Llguidance.open(grammarLibrary ?? undefined);
      return new Matcher(pointer);
    },
    get fill() {
      return Matcher.fill;
    },
    get check() {
      return Matcher.check;
    },
    follow: (matcher, position, checks) => new Follower(matcher, position, checks),
    get followerFunctions() {
      followerFunctions ??= Follower.functions();
      return followerFunctions;
    },
  };
}

/** Opens the library and loads the weights, reporting progress. Null when `stopped` became true meanwhile. */
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

function openStore(
  config: EngineConfig,
  place: KvCacheDirConfig,
  engine: LibraryEngine,
  capacity: EngineCapacity,
  onNews: () => void,
): KvCacheDir {
  return new KvCacheDir({
    place,
    source: setupSource(config, capacity),
    ranks: config.devices.length,
    partBytes: capacity.pageBytes,
    hostPage: (page) => engine.hostPage(page),
    onNews,
  });
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
    const ready = new EngineWorker(port, engine, config, capacity, grammarsOf(config));
    worker = ready;
    if (config.kvCacheDir) ready.useStore(openStore(config, config.kvCacheDir, engine, capacity, () => ready.goOn()));
    post({ type: "ready", capacity, loadSeconds });
    for (const message of early) worker.wake(message);
  } catch (thrown) {
    const { kind, message } = asFastgenError(thrown);
    post({ type: "failed", kind, message });
  }
}

const port = parentPort;
if (port) port.once("message", (config: EngineConfig) => void main(port, config));
