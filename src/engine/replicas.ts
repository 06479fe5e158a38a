/**
 * Several engines with the same weights, as the main thread sees them: data parallelism. Each has a thread, an instance of the
 * library and devices of its own. A request is one engine's from its beginning to its end, whatever its number of choices.
 * What is told to all is done by all. An engine that fails ends its own sequences; the others go on.
 */
import type { EngineCapacity, EngineConfig } from "../engine-config.ts";
import { asFastgenError, FastgenError } from "../errors.ts";
import { MAX_INDEXED_PAGES } from "../limits.ts";
import { EngineFront, type SequenceListener, type StartOptions } from "./front.ts";
import { DiskListing } from "./offload/disk-listing.ts";
import { PAGE_TOKENS } from "./pages/page-cache.ts";
import { digestKey, PromptDigests } from "./pages/page-digest.ts";
import { PrefixIndex, pageKeys } from "./prefix-index.ts";
import { type Command, type ControlState, type EngineRequest, type EngineStats, UPDATING, WOKEN } from "./protocol.ts";
import { route } from "./routing.ts";

/** One of the engines. */
export type Engine = Pick<
  EngineFront,
  | "capacity"
  | "loadSeconds"
  | "stats"
  | "state"
  | "alive"
  | "failure"
  | "failed"
  | "load"
  | "onStep"
  | "add"
  | "giveMatchers"
  | "abort"
  | "pause"
  | "resume"
  | "command"
  | "recordProfile"
  | "stopProfile"
  | "onDelivered"
  | "close"
>;

/** Where a request's sequences are. */
export interface Placement {
  engine: Engine;
  /** Which of the engines that is. */
  index: number;
  /** By request: its id in that engine. */
  ids: number[];
}

const MIXED =
  "the engines have different weights, because an update of them succeeded on some alone; nothing is generated before one has succeeded on all";

/** The end of a sentence that names engines which have gone to sleep at level 2 where others could not. */
const DROPPED =
  "slept and dropped the weights: sleep again, or wake all up (POST /wake_up) and bring new weights (POST /update_weights)";

export class Replicas {
  /** What each engine holds at least. */
  readonly capacity: EngineCapacity;
  readonly loadSeconds: number;
  /** Resolves with the last reason once every engine has failed by itself, and never otherwise. */
  readonly failed: Promise<FastgenError>;
  /** As of the newest command. */
  state: ControlState;
  private updating = false;
  /** The newest update that succeeded anywhere did not succeed everywhere. Versions may be the same all the same. */
  private isMixed = false;
  /** How often all were told to wake. */
  private wakes = 0;
  private readonly indexes: PrefixIndex[];
  private last: number;

  /**
   * @param engines at least one
   * @param prefixCaching whether they find prompts again; else requests go where the least is to do
   * @param onFailure hears of an engine that fails while others go on
   * @param disks by engine: the pages that it has on disk
   */
  constructor(
    readonly engines: readonly Engine[],
    private readonly prefixCaching: boolean,
    onFailure: (message: string) => void = () => {},
    private readonly disks: readonly DiskListing[] = engines.map(() => new DiskListing()),
  ) {
    const fewest = (a: Engine, b: Engine) => (b.capacity.pages < a.capacity.pages ? b : a);
    this.capacity = engines.reduce(fewest).capacity;
    this.loadSeconds = Math.max(...engines.map(({ loadSeconds }) => loadSeconds));
    this.state = engines[0]!.state;
    this.last = engines.length - 1;
    this.indexes = engines.map(
      ({ capacity: { pages, hostPages } }) => new PrefixIndex(Math.min(pages + hostPages, MAX_INDEXED_PAGES)),
    );
    const failures = engines.map(async (engine) => {
      const error = await engine.failed;
      this.agree();
      if (this.alive) onFailure(`${error.message}; start the server again to have it back`);
      return error;
    });
    this.failed = Promise.all(failures).then((errors) => errors.at(-1)!);
  }

  /**
   * Starts all engines side by side, or none: where one cannot start, the others are closed.
   * @throws what EngineFront.start does.
   */
  static async start(configs: readonly EngineConfig[], options: StartOptions = {}): Promise<Replicas> {
    const { onProgress, onWarning = () => {}, onKvEvents } = options;
    const stop = new AbortController();
    const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
    const progress = configs.map(() => ({ done: 0, total: 0 }));
    const disks = configs.map(() => new DiskListing());
    let failure: unknown;
    const starting = configs.map(async (config, i) => {
      const report: StartOptions["onProgress"] = (now) => {
        progress[i] = now;
        const sum = (of: "done" | "total") => progress.reduce((sum, one) => sum + one[of], 0);
        onProgress?.({ stage: "load", done: sum("done"), total: sum("total") });
      };
      const name = configs.length > 1 ? `engine ${i}` : null;
      const warn = (message: string) => onWarning(name === null ? message : `${name}: ${message}`);
      // With one engine there is nothing to choose.
      const onDiskPages: StartOptions["onDiskPages"] =
        configs.length > 1 ? (change) => disks[i]!.change(change) : undefined;
      const told = { onProgress: report, onWarning: warn, onKvEvents, onDiskPages };
      try {
        return await EngineFront.start(config, { ...told, signal, name });
      } catch (error) {
        // The others then end because of this one.
        failure ??= error;
        stop.abort();
        return null;
      }
    });
    const engines = (await Promise.all(starting)).filter((engine) => engine !== null);
    if (engines.length === configs.length) return new Replicas(engines, configs[0]!.prefixCaching, onWarning, disks);
    await Promise.all(engines.map((engine) => engine.close()));
    throw failure;
  }

  /** False once every engine has failed, or close() was called. */
  get alive(): boolean {
    return this.engines.some(({ alive }) => alive);
  }

  /** Sums over the engines; stepTokens is the largest of the newest steps. */
  get stats(): EngineStats {
    if (this.engines.length === 1) return this.engines[0]!.stats;
    const all = this.engines.map(({ stats }) => stats);
    const host = sumOf(all.map((stats) => stats.host));
    const stepTokens = Math.max(...all.map((stats) => stats.stepTokens));
    return { ...sumOf(all.map(({ host: _, ...stats }) => stats)), stepTokens, host };
  }

  /** `listener` is called after every step of an engine with the number of its tokens, and which engine it was. */
  onStep(listener: (tokens: number, engine: number) => void): void {
    for (const [i, engine] of this.engines.entries()) engine.onStep = (tokens) => listener(tokens, i);
  }

  /**
   * Queues the sequences of one request in one engine, as EngineFront.add does.
   * @throws FastgenError "unavailable" when every engine has ended, or the weights are not whole and the same.
   */
  add(requests: EngineRequest[], listener: SequenceListener): Placement {
    const { refusal } = this.state;
    if (this.alive && refusal !== null) throw new FastgenError("unavailable", refusal);
    const index = this.choose(requests[0]!);
    const engine = this.engines[index]!;
    return { engine, index, ids: engine.add(requests, listener) };
  }

  private choose({ prompt, cacheSalt, promptLogprobs, scoreFrom }: EngineRequest): number {
    const alive = this.engines.flatMap(({ alive }, i) => (alive ? [i] : []));
    if (alive.length <= 1) return alive[0] ?? 0;
    const looksUp = this.prefixCaching && !(promptLogprobs >= 0 && scoreFrom === 0);
    const keys = looksUp ? pageKeys(prompt, cacheSalt) : [];
    const digests = new PromptDigests(prompt, cacheSalt);
    const candidates = alive.map((i) => {
      const disk = this.disks[i]!;
      const isOnDisk = (page: number) => disk.size > 0 && disk.has(digestKey(digests.at(page)));
      return { load: this.engines[i]!.load, cachedTokens: PAGE_TOKENS * this.indexes[i]!.match(keys, isOnDisk) };
    });
    this.last = alive[route(candidates, alive.indexOf(this.last))]!;
    this.indexes[this.last]!.add(keys);
    return this.last;
  }

  /**
   * Resolves once all engines have done what they are told. Rejects with FastgenError where one cannot; an engine that fails
   * meanwhile does not count. Of engines that went to sleep at level 1 those wake up again where another could not sleep; at level 2
   * none begins before all can.
   */
  async command(command: Command): Promise<void> {
    if (command.type === "sleep" && command.level === 2 && this.engines.length > 1) return this.sleepTogether(command);
    if (command.type === "wake") this.wakes++;
    if (command.type !== "update") return this.tell(command);
    // An engine that had ended the one would begin with the other, and an engine that had not would refuse it.
    if (this.updating) throw new FastgenError("overloaded", UPDATING);
    this.updating = true;
    try {
      await this.tell(command);
    } finally {
      this.updating = false;
    }
  }

  /** Weights that are dropped do not come back: no engine drops its own before all can. */
  private async sleepTogether(command: Extract<Command, { type: "sleep" }>): Promise<void> {
    const { wakes } = this;
    await this.tell({ type: "ready_to_sleep", mode: command.mode });
    if (this.wakes !== wakes) throw new FastgenError("aborted", WOKEN);
    await this.tell({ ...command, mode: "keep" });
  }

  private async tell(command: Command): Promise<void> {
    const asked = this.engines.filter(({ alive }) => alive);
    if (asked.length === 0) return this.engines.at(-1)!.command(command);
    if (forgets(command)) for (const index of this.indexes) index.clear();
    const outcomes = await Promise.allSettled(asked.map((engine) => engine.command(command)));
    const done = asked.filter((_, i) => outcomes[i]!.status === "fulfilled");
    const errors = asked.flatMap((engine, i) => {
      const outcome = outcomes[i]!;
      return outcome.status === "rejected" ? [{ engine, error: asFastgenError(outcome.reason) }] : [];
    });
    const failure = errors.find(({ engine }) => engine.alive) ?? (done.length === 0 ? errors[0] : undefined);
    if (failure && command.type === "sleep" && command.level === 1) {
      await Promise.allSettled(done.map((engine) => engine.command({ type: "wake", weights: true, kvCache: true })));
    }
    if (command.type === "update" && done.length > 0) this.isMixed = failure !== undefined;
    this.agree();
    if (!failure) return;
    if (done.length === 0) throw failure.error;
    const { kind, message } = failure.error;
    const cause = failure.error;
    const what = `engine ${this.engines.indexOf(failure.engine)}: ${message}`;
    // Weights that are dropped do not come back.
    const lost = command.type === "sleep" && command.level === 2 ? `; ${this.namesOf(done)} ${DROPPED}` : "";
    throw new FastgenError(kind, what + lost, { cause });
  }

  /** Takes over what the engines that live have in common. What is wrong with some alone is said of them. */
  private agree(): void {
    const living = this.engines.filter(({ alive }) => alive);
    const first = living[0];
    if (!first) return;
    const mixed = this.isMixed && living.length > 1 ? MIXED : null;
    const whatIsWrong = (key: "weightsProblem" | "refusal") => {
      const some = living.filter(({ state }) => state[key] !== null);
      const text = some[0]?.state[key] ?? mixed;
      return some.length > 0 && some.length < living.length ? `${this.namesOf(some)}: ${text}` : text;
    };
    this.state = {
      weightVersion: first.state.weightVersion,
      sleeping: living.some(({ state }) => state.sleeping),
      weightsProblem: whatIsWrong("weightsProblem"),
      refusal: whatIsWrong("refusal"),
    };
  }

  /** "engine 0", "engines 0 and 2", "engines 0, 1 and 3". */
  private namesOf(some: readonly Engine[]): string {
    const numbers = some.map((engine) => `${this.engines.indexOf(engine)}`);
    const last = numbers.pop()!;
    return numbers.length === 0 ? `engine ${last}` : `engines ${numbers.join(", ")} and ${last}`;
  }

  /** Ends every sequence with an error and frees the engines. */
  async close(): Promise<void> {
    await Promise.all(this.engines.map((engine) => engine.close()));
  }
}

/** The sum of each field. */
function sumOf<T extends { [K in keyof T]: number }>(all: readonly T[]): T {
  const keys = Object.keys(all[0]!) as (keyof T)[];
  const sum = (key: keyof T) => all.reduce((total, one) => total + one[key], 0);
  return Object.fromEntries(keys.map((key) => [key, sum(key)])) as T;
}

/** Whether the pages of before are not found again after this. */
function forgets(command: Command): boolean {
  switch (command.type) {
    case "hold":
    case "update":
      return command.clearCache !== false;
    case "clear_cache":
    case "sleep":
      return true;
    default:
      return false;
  }
}
