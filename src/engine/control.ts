/**
 * What the worker does beside steps: it holds generation, gives the library other weights, lets it sleep, and empties the
 * cache. A command that needs the steps in flight to end is carried out by settle(), and all sequences stay where they are
 * until then.
 */
import { asFastgenError, FastgenError } from "../errors.ts";
import type { LibraryEngine } from "../ffi/engine.ts";
import { type Command, type FromWorker, type HoldMode, UPDATING, WOKEN } from "./protocol.ts";
import type { Scheduler } from "./scheduler/scheduler.ts";

/** Milliseconds between two looks at weights that load. They are in use at most so much later. */
export const PROGRESS_INTERVAL = 10;

type CommandOf<Type extends Command["type"]> = Extract<Command, { type: Type }>;

/** What waits for the end of what runs, or of an update. */
interface Waiting {
  id: number;
  command: CommandOf<"hold"> | CommandOf<"sleep"> | CommandOf<"ready_to_sleep"> | CommandOf<"wake">;
}

const REFUSAL =
  "the weights are incomplete, because an update of them broke off; nothing is generated before a whole set has been loaded";

const GONE =
  "the weights are gone, because a sleep of level 2 dropped them: wake them up (POST /wake_up) if they still sleep, then bring new ones (POST /update_weights)";

export class EngineControl {
  /** The hold in force; null = none. */
  private hold: CommandOf<"hold"> | null = null;
  /** It could sleep, and waits for the word; null = it does not. */
  private readyToSleep: CommandOf<"ready_to_sleep"> | null = null;
  private waiting: Waiting[] = [];
  private update: { id: number; command: CommandOf<"update">; begun: boolean } | null = null;
  private readonly asleep = { weights: false, kvCache: false };
  /** The weights that sleep, or slept, have no values. */
  private dropped = false;
  /** An update broke off. */
  private incomplete = false;
  private closed = false;

  /** `run` is called when steps may run again after a time without messages. */
  constructor(
    private readonly engine: Pick<LibraryEngine, "load" | "progress" | "ready" | "sleep" | "wake">,
    private readonly scheduler: Scheduler,
    private readonly post: (message: FromWorker) => void,
    private readonly run: () => void,
  ) {}

  /** Why nothing can be computed, or null. */
  get refusal(): FastgenError | null {
    return this.incomplete && !this.update ? new FastgenError("unavailable", REFUSAL) : null;
  }

  /** What is wrong with the weights, or null. */
  private get problem(): string | null {
    return this.refusal?.message ?? (this.dropped ? GONE : null);
  }

  private get sleeping(): boolean {
    return this.asleep.weights || this.asleep.kvCache;
  }

  take(id: number, command: Command): void {
    try {
      // What is answered later is answered by settle() or load().
      if (this.begin(id, command)) this.answer(id);
    } catch (thrown) {
      this.answer(id, asFastgenError(thrown));
    }
    this.apply();
    this.settle();
  }

  /** True when it has been carried out. */
  private begin(id: number, command: Command): boolean {
    const { scheduler, asleep } = this;
    switch (command.type) {
      case "hold":
      case "sleep":
      case "ready_to_sleep":
        if (command.type === "hold") this.hold = command;
        if (command.mode === "abort") scheduler.endAll(null);
        this.waiting.push({ id, command });
        return false;
      case "release":
        this.hold = null;
        this.callOff("hold", "generation was resumed before the pause had begun");
        return true;
      case "ping":
        return true;
      case "clear_cache":
        scheduler.clearCache(false);
        return true;
      case "update":
        if (this.update) throw new FastgenError("overloaded", UPDATING);
        if (asleep.weights || this.readyToSleep || this.waiting.some(({ command }) => command.type.endsWith("sleep"))) {
          throw new FastgenError("invalid_request", "the weights sleep: wake them up first");
        }
        this.update = { id, command, begun: false };
        return false;
      case "wake":
        this.callOff("sleep", WOKEN);
        this.callOff("ready_to_sleep", WOKEN);
        this.readyToSleep = null;
        if (!this.sleeping) return true;
        this.waiting.push({ id, command });
        return false;
    }
  }

  /** Ends the waiting of commands of one type. */
  private callOff(type: Waiting["command"]["type"], why: string): void {
    const off = this.waiting.filter(({ command }) => command.type === type);
    this.waiting = this.waiting.filter(({ command }) => command.type !== type);
    for (const { id } of off) this.answer(id, new FastgenError("aborted", why));
  }

  /** While no step is in flight. */
  private isReady({ command }: Waiting): boolean {
    // Neither can be while weights are read.
    if (command.type !== "hold" && this.update) return false;
    return command.type === "wake" || command.mode !== "wait" || !this.scheduler.hasEarlier;
  }

  private apply(): void {
    const { scheduler } = this;
    const holds: HoldMode[] = this.waiting.flatMap(({ command }) => (command.type === "wake" ? [] : command.mode));
    if (this.hold) holds.push(this.hold.mode);
    if (this.readyToSleep) holds.push(this.readyToSleep.mode);
    const stands = holds.some((mode) => mode !== "wait");
    scheduler.frozen = stands || this.update !== null || this.sleeping || this.dropped;
    scheduler.takeIn(!holds.includes("wait"));
  }

  /** Does what can be done now. Call it whenever no step is in flight. */
  settle(): void {
    const { scheduler, update } = this;
    if (scheduler.stepsInFlight > 0) return;
    const ready = this.waiting.filter((one) => this.isReady(one));
    for (const one of ready) {
      this.waiting.splice(this.waiting.indexOf(one), 1);
      this.carryOut(one);
    }
    if (ready.length > 0) this.apply();
    if (!update || update.begun) return;
    update.begun = true;
    void this.load(update.id, update.command);
  }

  /** What the command has waited for has ended. */
  private carryOut({ id, command }: Waiting): void {
    const { engine, scheduler } = this;
    let failure: FastgenError | undefined;
    try {
      if (command.type === "hold") {
        if (command.clearCache) scheduler.clearCache(true);
      } else if (command.type === "wake") {
        this.wake(command);
      } else if (command.type === "ready_to_sleep") {
        this.readyToSleep = command;
      } else {
        this.readyToSleep = null;
        scheduler.disk?.loseMemory();
        engine.sleep(command.level);
        scheduler.clearCache(true, true);
        this.asleep.weights = this.asleep.kvCache = true;
        this.dropped ||= command.level === 2;
      }
    } catch (thrown) {
      failure = asFastgenError(thrown);
    }
    this.answer(id, failure);
  }

  /** Wakes what is to wake of what sleeps. */
  private wake(wanted: CommandOf<"wake">): void {
    const { asleep } = this;
    const [weights, kvCache] = [wanted.weights && asleep.weights, wanted.kvCache && asleep.kvCache];
    if (!weights && !kvCache) return;
    this.engine.wake({ weights, kvCache });
    if (weights) asleep.weights = false;
    if (kvCache) asleep.kvCache = false;
  }

  private async load(id: number, { tensors, version, clearCache }: CommandOf<"update">): Promise<void> {
    const { engine, scheduler } = this;
    let failure: FastgenError | undefined;
    try {
      begin(engine, tensors);
      scheduler.disk?.weightsChange();
      if (clearCache ?? this.hold?.clearCache ?? true) scheduler.clearCache(true);
      this.incomplete = true;
      while (!engine.progress().finished) {
        await Bun.sleep(PROGRESS_INTERVAL);
        if (this.closed) return;
      }
      engine.ready();
      this.incomplete = this.dropped = false;
      scheduler.weightVersion = version;
    } catch (thrown) {
      failure = asFastgenError(thrown);
    }
    this.update = null;
    this.apply();
    this.answer(id, failure);
    this.run();
  }

  private answer(id: number, error?: FastgenError): void {
    if (this.scheduler.hasOutcomes) this.post(this.scheduler.takeMessage());
    const failure = error ? { kind: error.kind, message: error.message } : null;
    const { problem, sleeping } = this;
    // While something sleeps or is held, requests wait for what the trainer does next. Afterwards nothing says that weights will come.
    const waits = problem === GONE && (sleeping || this.hold !== null);
    const refusal = waits ? null : problem;
    const state = { weightVersion: this.scheduler.weightVersion, weightsProblem: problem, refusal, sleeping };
    this.post({ type: "done", id, error: failure, state });
  }

  /** The engine is closed: nothing more is done with it. */
  close(): void {
    this.closed = true;
  }
}

/** Begins to load. What does not fit is the caller's fault, and has changed nothing. */
function begin(engine: Pick<LibraryEngine, "load">, tensors: CommandOf<"update">["tensors"]): void {
  try {
    engine.load(tensors);
  } catch (thrown) {
    const { kind, message } = asFastgenError(thrown);
    throw new FastgenError(kind === "model" ? "invalid_request" : kind, `the weights stay as they are: ${message}`);
  }
}
