/**
 * What the worker does beside steps: it holds generation, gives the library other weights, and empties the cache. A command
 * that needs the steps in flight to end is carried out by settle(), and all sequences stay where they are until then.
 */
import { asFastgenError, FastgenError } from "../errors.ts";
import type { LibraryEngine } from "../ffi/engine.ts";
import type { Command, FromWorker } from "./protocol.ts";
import type { Scheduler } from "./scheduler.ts";

/** Milliseconds between two looks at weights that load. They are in use at most so much later. */
export const PROGRESS_INTERVAL = 10;

type Hold = Extract<Command, { type: "hold" }>;
type Update = Extract<Command, { type: "update" }>;

const REFUSAL =
  "the weights are incomplete, because an update of them broke off; nothing is generated before a whole set has been loaded";

export class EngineControl {
  /** The hold in force; null = none. */
  private hold: Hold | null = null;
  /** Holds that have not been answered: what they wait for has not ended. */
  private waiting: { id: number; hold: Hold }[] = [];
  private update: { id: number; command: Update; begun: boolean } | null = null;
  private incomplete = false;
  private closed = false;

  /** `run` is called when steps may run again after a time without messages. */
  constructor(
    private readonly engine: Pick<LibraryEngine, "load" | "progress" | "ready">,
    private readonly scheduler: Scheduler,
    private readonly post: (message: FromWorker) => void,
    private readonly run: () => void,
  ) {}

  /** Why nothing can be computed, or null. */
  get refusal(): FastgenError | null {
    return this.incomplete && !this.update ? new FastgenError("unavailable", REFUSAL) : null;
  }

  take(id: number, command: Command): void {
    const { scheduler } = this;
    switch (command.type) {
      case "hold":
        if (command.mode === "abort") scheduler.endAll(null);
        this.hold = command;
        this.waiting.push({ id, hold: command });
        break;
      case "release": {
        this.hold = null;
        const early = new FastgenError("aborted", "generation was resumed before the pause had begun");
        for (const { id } of this.waiting.splice(0)) this.answer(id, early);
        this.answer(id);
        break;
      }
      case "clear_cache":
        scheduler.clearCache(false);
        this.answer(id);
        break;
      case "update":
        if (this.update) {
          this.answer(id, new FastgenError("overloaded", "the weights are being updated; wait for the end of that"));
        } else this.update = { id, command, begun: false };
        break;
    }
    this.apply();
    this.settle();
  }

  private apply(): void {
    const { scheduler, hold } = this;
    scheduler.frozen = this.update !== null || (hold !== null && hold.mode !== "wait");
    if (hold?.mode === "wait") scheduler.closeQueue();
    else scheduler.openQueue();
  }

  /** Does what can be done now. Call it whenever no step is in flight. */
  settle(): void {
    const { scheduler, update } = this;
    if (scheduler.stepsInFlight > 0) return;
    this.waiting = this.waiting.filter(({ id, hold }) => {
      if (scheduler.frozen ? hold.mode === "wait" : scheduler.hasEarlier) return true;
      if (hold.clearCache) scheduler.clearCache(true);
      this.answer(id);
      return false;
    });
    if (!update || update.begun) return;
    update.begun = true;
    void this.load(update.id, update.command);
  }

  private async load(id: number, { tensors, version, clearCache }: Update): Promise<void> {
    const { engine, scheduler } = this;
    let failure: FastgenError | undefined;
    try {
      // What it refuses here has changed nothing.
      engine.load(tensors);
      if (clearCache ?? this.hold?.clearCache ?? true) scheduler.clearCache(true);
      this.incomplete = true;
      while (!engine.progress().finished) {
        await Bun.sleep(PROGRESS_INTERVAL);
        if (this.closed) return;
      }
      engine.ready();
      this.incomplete = false;
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
    const weights = { version: this.scheduler.weightVersion, refusal: this.refusal?.message ?? null };
    this.post({ type: "done", id, error: failure, weights });
  }

  /** The engine is closed: nothing more is done with it. */
  close(): void {
    this.closed = true;
  }
}
