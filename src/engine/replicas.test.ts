/** Several engines as one: where requests go, what all are told, and what one's failure means. */
import { afterEach, expect, test } from "bun:test";
import type { Worker } from "node:worker_threads";
import { GREEDY } from "../engine-config.ts";
import { FastgenError } from "../errors.ts";
import { failure } from "../testing.ts";
import type { SequenceEvent } from "./front.ts";
import { DiskListing } from "./offload/disk-listing.ts";
import { PAGE_TOKENS } from "./pages/page-cache.ts";
import { digestKey, PromptDigests } from "./pages/page-digest.ts";
import { type Command, type ControlState, type EngineRequest, NO_STATS, PLAIN } from "./protocol.ts";
import { type Engine, Replicas } from "./replicas.ts";
import { engineTest, SMALL_ENGINE } from "./testing/small-engine.ts";

function request(prompt: Int32Array, more: Partial<EngineRequest> = {}): EngineRequest {
  return {
    id: 0,
    prompt,
    sampling: GREEDY,
    maxTokens: 8,
    minTokens: 0,
    stopIds: new Int32Array(0),
    logprobs: -1,
    promptLogprobs: -1,
    ...PLAIN,
    ...more,
  };
}

/** Whole pages of one value each, and a last token. */
const pages = (...values: number[]) =>
  Int32Array.from([...values.flatMap((value) => new Array(PAGE_TOKENS).fill(value)), 1]);

/** An engine that only notes what it is asked for. */
class FakeEngine implements Engine {
  readonly capacity = {
    pages: 100,
    hostPages: 0,
    pageBytes: 1,
    weightBytes: 1,
    graphs: 0,
    threads: 1,
    follows: false,
    deviceName: "fake",
  };
  readonly loadSeconds = 1;
  stats = { ...NO_STATS };
  state: ControlState = { weightVersion: "0", sleeping: false, weightsProblem: null, refusal: null };
  alive = true;
  failure: string | null = null;
  load = 0;
  onStep: Engine["onStep"] = null;
  readonly commands: Command[] = [];
  readonly prompts: Int32Array[] = [];
  /** What the next command fails with, or the next one of a type. */
  refuses: FastgenError | null = null;
  refusesType: Command["type"] | null = null;
  private readonly end = Promise.withResolvers<FastgenError>();
  readonly failed = this.end.promise;

  add(requests: EngineRequest[]): number[] {
    if (!this.alive) throw new FastgenError("unavailable", this.failure!);
    this.prompts.push(...requests.map(({ prompt }) => prompt));
    for (const { prompt } of requests) this.load += prompt.length;
    return requests.map((_, i) => i);
  }
  async command(command: Command): Promise<void> {
    this.commands.push(command);
    const error = this.refusesType === null || this.refusesType === command.type ? this.refuses : null;
    if (error) this.refuses = null;
    if (error) throw error;
    if (command.type === "update") this.state = { ...this.state, weightVersion: command.version };
    if (command.type === "sleep" || command.type === "wake")
      this.state = { ...this.state, sleeping: command.type === "sleep" };
  }
  die(): void {
    this.alive = false;
    this.failure = "it died";
    this.end.resolve(new FastgenError("device", "it died"));
  }
  giveMatchers(): void {}
  abort(): void {}
  pause(): void {}
  resume(): void {}
  onDelivered = null;
  async recordProfile(): Promise<void> {}
  stopProfile(): void {}
  async close(): Promise<void> {}
}

function fakes(count: number, onFailure?: (message: string) => void) {
  const engines = Array.from({ length: count }, () => new FakeEngine());
  return { engines, replicas: new Replicas(engines, true, onFailure) };
}

const place = (replicas: Replicas, prompt: Int32Array, more?: Partial<EngineRequest>) =>
  replicas.add([request(prompt, more)], () => {}).index;

const update = (version: string): Command => ({ type: "update", tensors: [], version, clearCache: null });
const sleep = (level: 1 | 2): Command => ({ type: "sleep", level, mode: "keep" });

test("requests spread over the engines by what each has to do", () => {
  const { engines, replicas } = fakes(4);
  for (let i = 0; i < 40; i++) place(replicas, pages(i, i + 1, i + 2));
  expect(engines.map(({ prompts }) => prompts.length)).toEqual([10, 10, 10, 10]);
  engines[2]!.load = 0;
  expect(place(replicas, pages(1000))).toBe(2);
});

test("a prompt goes where its beginning was sent to, and its choices stay together", () => {
  const { engines, replicas } = fakes(3);
  const first = [1, 2, 3].map((value) => place(replicas, pages(value, value, value)));
  expect(first.toSorted()).toEqual([0, 1, 2]);
  expect([3, 2, 1, 1, 3].map((value) => place(replicas, pages(value, value, 9)))).toEqual(
    [3, 2, 1, 1, 3].map((value) => first[value - 1]!),
  );
  const one = request(pages(2, 2, 2, 7));
  const { index, ids } = replicas.add([one, { ...one }, { ...one }], () => {});
  expect([index, ids]).toEqual([first[1]!, [0, 1, 2]]);
  expect(engines[index]!.prompts.slice(-3)).toEqual([one.prompt, one.prompt, one.prompt]);
});

test("other salts, prompts that are scored whole, and engines that keep no pages do not look for prefixes", () => {
  const { engines, replicas } = fakes(2);
  expect(place(replicas, pages(1, 1))).toBe(0);
  engines[0]!.load = engines[1]!.load + 1;
  expect(place(replicas, pages(1, 1), { cacheSalt: "a" })).toBe(1);
  engines[0]!.load = engines[1]!.load + 1;
  expect(place(replicas, pages(1, 1), { promptLogprobs: 0 })).toBe(1);
  engines[0]!.load = engines[1]!.load + 1;
  expect(place(replicas, pages(1, 1), { promptLogprobs: 0, scoreFrom: 70 })).toBe(0);
  const without = new Replicas([new FakeEngine(), new FakeEngine()], false);
  expect([place(without, pages(1, 1)), place(without, pages(1, 1))]).toEqual([0, 1]);
});

/** An engine's disk that holds the first pages of a prompt, beginning with page `from`. */
function disk(prompt: Int32Array, to: number, { from = 0, salt = "" } = {}): DiskListing {
  const digests = new PromptDigests(prompt, salt);
  const added = Array.from({ length: to - from }, (_, i) => digestKey(digests.at(from + i)));
  const listing = new DiskListing();
  listing.change({ cleared: false, added: Float64Array.from(added), removed: new Float64Array(0) });
  return listing;
}

test("a prompt goes to the engine that has its beginning on disk", () => {
  const [one, other] = [pages(1, 2, 3), pages(4, 5, 6)];
  const engines = [0, 1, 2].map(() => new FakeEngine());
  const disks = [disk(one, 2), disk(other, 2), disk(one, 3)];
  const replicas = new Replicas(engines, true, undefined, disks);
  expect([one, other, one].map((prompt) => place(replicas, prompt))).toEqual([2, 1, 2]);
  // Not with another salt, nor what is scored whole: then the one with the least to do is taken.
  engines[2]!.load += PAGE_TOKENS;
  expect(place(replicas, one, { cacheSalt: "a" })).toBe(0);
  expect(place(replicas, one, { promptLogprobs: 0 })).toBe(1);
});

test("pages on disk count behind those that were sent, and not behind one that is nowhere", async () => {
  const prompt = pages(1, 2, 3, 4);
  const engines = [new FakeEngine(), new FakeEngine()];
  // The first page of the prompt is missing on the second one's disk.
  const replicas = new Replicas(engines, true, undefined, [disk(prompt, 2), disk(prompt, 4, { from: 1 })]);
  expect(place(replicas, prompt)).toBe(0);
  engines[0]!.load = 0;
  await replicas.command({ type: "clear_cache" });
  // Where that page was sent to, the others are of use.
  engines[0]!.load = 1_000_000;
  expect(place(replicas, pages(1))).toBe(1);
  engines[0]!.load = 0;
  expect(place(replicas, prompt)).toBe(1);
  engines[1]!.load = 0;
  // Memory forgets when it sleeps, the disk does not.
  await replicas.command(sleep(1));
  expect(place(replicas, prompt)).toBe(0);
});

test.each<[string, Command, boolean]>([
  ["an emptied cache", { type: "clear_cache" }, true],
  ["other weights", update("1"), true],
  ["other weights whose pages stay", { ...update("1"), clearCache: false } as Command, false],
  ["a pause", { type: "hold", mode: "keep", clearCache: true }, true],
  ["a pause that keeps the pages", { type: "hold", mode: "keep", clearCache: false }, false],
  ["sleep", sleep(1), true],
  ["a ping", { type: "ping" }, false],
])("%s: is what was sent before forgotten?", async (_, command, forgets) => {
  const { engines, replicas } = fakes(2);
  place(replicas, pages(1, 1));
  await replicas.command(command);
  engines[0]!.load = engines[1]!.load + 1;
  expect(place(replicas, pages(1, 1))).toBe(forgets ? 1 : 0);
});

test("all engines do what they are told, and then have one state", async () => {
  const { engines, replicas } = fakes(3);
  await replicas.command(update("7"));
  await replicas.command(sleep(1));
  expect(replicas.state).toEqual({ weightVersion: "7", sleeping: true, weightsProblem: null, refusal: null });
  await replicas.command({ type: "wake", weights: true, kvCache: true });
  expect(replicas.state.sleeping).toBe(false);
  for (const { commands } of engines) expect(commands.map(({ type }) => type)).toEqual(["update", "sleep", "wake"]);
});

test("where one engine cannot sleep, none does", async () => {
  const { engines, replicas } = fakes(3);
  engines[1]!.refuses = new FastgenError("out_of_memory", "no room");
  const error = await replicas.command(sleep(1)).catch((error) => error);
  expect(error).toMatchObject({ kind: "out_of_memory", message: "engine 1: no room" });
  expect(engines.map(({ state }) => state.sleeping)).toEqual([false, false, false]);
  expect(replicas.state.sleeping).toBe(false);
});

test("where one engine cannot sleep and others have dropped their weights, the error says so and what to do", async () => {
  const { engines, replicas } = fakes(4);
  engines[1]!.refuses = new FastgenError("device", "no");
  engines[1]!.refusesType = "sleep";
  const error = await replicas.command(sleep(2)).catch((error) => error);
  expect(error).toMatchObject({
    kind: "device",
    message:
      "engine 1: no; engines 0, 2 and 3 slept and dropped the weights: sleep again, or wake all up (POST /wake_up) and bring new weights (POST /update_weights)",
  });
  // Waking them would bring nothing back.
  for (const { commands } of engines) expect(commands.map(({ type }) => type)).toEqual(["ready_to_sleep", "sleep"]);
});

test("no engine drops its weights where another cannot sleep, or all are woken up before they could", async () => {
  const { engines, replicas } = fakes(3);
  engines[1]!.refuses = new FastgenError("aborted", "woken up");
  await expect(replicas.command(sleep(2))).rejects.toThrow("engine 1: woken up");
  const slept = replicas.command({ type: "sleep", level: 2, mode: "wait" }).catch((error) => error);
  await replicas.command({ type: "wake", weights: true, kvCache: true });
  expect(await slept).toMatchObject({ kind: "aborted", message: "the engine was woken up before it slept" });
  for (const { commands } of engines) {
    expect(commands).toEqual([
      { type: "ready_to_sleep", mode: "keep" },
      { type: "ready_to_sleep", mode: "wait" },
      { type: "wake", weights: true, kvCache: true },
    ]);
  }
  await replicas.command({ type: "sleep", level: 2, mode: "wait" });
  expect(engines[0]!.commands.at(-1)).toEqual({ type: "sleep", level: 2, mode: "keep" });
  // One engine waits for no other.
  const alone = fakes(1);
  await alone.replicas.command({ type: "sleep", level: 2, mode: "wait" });
  expect(alone.engines[0]!.commands).toEqual([{ type: "sleep", level: 2, mode: "wait" }]);
});

test("what all engines refuse is refused in their words", async () => {
  const { engines, replicas } = fakes(2);
  for (const engine of engines) engine.refuses = new FastgenError("invalid_request", "the weights stay as they are");
  const error = await replicas.command(update("1")).catch((error) => error);
  expect(error).toMatchObject({ kind: "invalid_request", message: "the weights stay as they are" });
  expect(replicas.state).toEqual({ weightVersion: "0", sleeping: false, weightsProblem: null, refusal: null });
});

test("nothing is generated with different weights, until an update has succeeded everywhere", async () => {
  const { engines, replicas } = fakes(2);
  engines[1]!.refuses = new FastgenError("internal", "the file cannot be read");
  await expect(replicas.command(update("1"))).rejects.toThrow("engine 1: the file cannot be read");
  expect(failure(() => place(replicas, pages(1)))).toMatchObject({ kind: "unavailable" });
  expect(failure(() => place(replicas, pages(1))).message).toContain("different weights");
  await replicas.command(update("2"));
  expect(replicas.state).toEqual({ weightVersion: "2", sleeping: false, weightsProblem: null, refusal: null });
  place(replicas, pages(1));
});

test("weights are different also where their versions have one name", async () => {
  const { engines, replicas } = fakes(2);
  await replicas.command(update("newest"));
  engines[1]!.refuses = new FastgenError("internal", "the file cannot be read");
  await expect(replicas.command(update("newest"))).rejects.toThrow("engine 1: the file cannot be read");
  expect(failure(() => place(replicas, pages(1))).message).toContain("different weights");
  // What no engine takes leaves them as they are.
  for (const engine of engines) engine.refuses = new FastgenError("invalid_request", "no");
  await expect(replicas.command(update("newest"))).rejects.toThrow("no");
  expect(failure(() => place(replicas, pages(1))).message).toContain("different weights");
  await replicas.command(update("newest"));
  place(replicas, pages(1));
  // Of engines with the same weights none has others because one of them refuses what the other refuses too.
  for (const engine of engines) engine.refuses = new FastgenError("invalid_request", "no");
  await expect(replicas.command(update("newest"))).rejects.toThrow("no");
  place(replicas, pages(1));
  // An engine that is gone has no weights.
  engines[1]!.refuses = new FastgenError("internal", "the file cannot be read");
  await expect(replicas.command(update("newest"))).rejects.toThrow("engine 1");
  engines[1]!.die();
  await Bun.sleep(0);
  expect(place(replicas, pages(1))).toBe(0);
});

test("while one update runs in any engine, none takes another", async () => {
  const { engines, replicas } = fakes(2);
  const slow = Promise.withResolvers<void>();
  const command = engines[1]!.command.bind(engines[1]!);
  engines[1]!.command = async (one) => {
    await slow.promise;
    return command(one);
  };
  const first = replicas.command(update("1"));
  await Bun.sleep(0);
  expect(engines.map(({ state }) => state.weightVersion)).toEqual(["1", "0"]);
  await expect(replicas.command(update("2"))).rejects.toThrow("are being updated");
  slow.resolve();
  await first;
  expect(engines.map(({ state }) => state.weightVersion)).toEqual(["1", "1"]);
  await replicas.command(update("2"));
  expect(replicas.state.weightVersion).toBe("2");
});

test("one engine's incomplete weights are refused for all, and go with the engine", async () => {
  const { engines, replicas } = fakes(2);
  engines[0]!.state = { weightVersion: "0", sleeping: false, weightsProblem: "incomplete", refusal: "incomplete" };
  await replicas.command({ type: "ping" });
  expect(failure(() => place(replicas, pages(1))).message).toBe("engine 0: incomplete");
  engines[1]!.state = engines[0]!.state;
  await replicas.command({ type: "ping" });
  expect(failure(() => place(replicas, pages(1))).message).toBe("incomplete");
  engines[1]!.state = { weightVersion: "0", sleeping: false, weightsProblem: null, refusal: null };
  engines[0]!.die();
  await Bun.sleep(0);
  expect(place(replicas, pages(1))).toBe(1);
});

test("an engine that fails is told of, and gets no more requests and commands", async () => {
  const told: string[] = [];
  const { engines, replicas } = fakes(3, (message) => told.push(message));
  place(replicas, pages(5, 5));
  engines[0]!.die();
  await Bun.sleep(0);
  expect(told).toEqual(["it died; start the server again to have it back"]);
  expect(replicas.alive).toBe(true);
  expect([1, 2, 3].map(() => place(replicas, pages(5, 5)))).not.toContain(0);
  await replicas.command({ type: "ping" });
  expect(engines.map(({ commands }) => commands.length)).toEqual([0, 1, 1]);
});

test("an engine that fails while it carries out a command does not count", async () => {
  const { engines, replicas } = fakes(2);
  engines[0]!.command = async () => {
    engines[0]!.die();
    throw new FastgenError("device", "it died");
  };
  await replicas.command(update("1"));
  expect(replicas.state.weightVersion).toBe("1");
});

test("once all have failed, so have the replicas, for the last one's reason", async () => {
  const told: string[] = [];
  const { engines, replicas } = fakes(2, (message) => told.push(message));
  engines[1]!.die();
  engines[0]!.die();
  expect((await replicas.failed).message).toBe("it died");
  expect(replicas.alive).toBe(false);
  expect(told).toEqual([]);
  expect(failure(() => place(replicas, pages(1)))).toMatchObject({ kind: "unavailable", message: "it died" });
});

test("stats are sums; capacity is that of the smallest engine; steps say whose they are", () => {
  const { engines } = fakes(2);
  engines[0]!.stats = { ...NO_STATS, running: 1, pages: 100, generatedTokens: 10, stepTokens: 7 };
  engines[1]!.stats = { ...NO_STATS, running: 2, pages: 90, generatedTokens: 5, stepTokens: 3 };
  engines[1]!.capacity.pages = 90;
  const replicas = new Replicas(engines, true);
  expect(replicas.stats).toEqual({ ...NO_STATS, running: 3, pages: 190, generatedTokens: 15, stepTokens: 7 });
  expect(replicas.capacity.pages).toBe(90);
  const steps: [number, number][] = [];
  replicas.onStep((tokens, engine) => steps.push([tokens, engine]));
  engines[1]!.onStep!(4);
  engines[0]!.onStep!(5);
  expect(steps).toEqual([
    [4, 1],
    [5, 0],
  ]);
});

const open: Replicas[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((replicas) => replicas.close()));
});

/** Runs one request to its end; `begun` is called with its first token. */
function run(replicas: Replicas, prompt: Int32Array, maxTokens: number, begun = () => {}) {
  const { promise, resolve } = Promise.withResolvers<{ tokens: number[]; last: SequenceEvent }>();
  const tokens: number[] = [];
  const { index } = replicas.add([request(prompt, { maxTokens })], (_, event) => {
    if (event.token >= 0) tokens.push(event.token);
    if (tokens.length === 1) begun();
    if (event.finish !== "") resolve({ tokens, last: event });
  });
  return { index, ended: promise };
}

engineTest("two engines answer alike; one that fails ends its own sequences, and the other goes on", async () => {
  const told: string[] = [];
  const replicas = await Replicas.start([SMALL_ENGINE, SMALL_ENGINE], { onWarning: (message) => told.push(message) });
  open.push(replicas);
  const same = [1, 2].map(() => run(replicas, pages(3).subarray(0, 40), 20));
  expect(same.map(({ index }) => index)).toEqual([0, 1]);
  const [a, b] = await Promise.all(same.map(({ ended }) => ended));
  expect(a!.tokens).toEqual(b!.tokens);
  expect(a!.tokens).toHaveLength(20);
  expect(replicas.engines.map(({ load }) => load)).toEqual([0, 0]);

  const begun = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const [lost, kept] = begun.map(({ resolve }, i) => run(replicas, pages(i), 600, resolve));
  await Promise.all(begun.map(({ promise }) => promise));
  expect([lost!.index, kept!.index]).toEqual([0, 1]);
  expect(replicas.engines[0]!.load).toBeGreaterThan(PAGE_TOKENS + 1);
  void (replicas.engines[0] as unknown as { worker: Worker }).worker.terminate();
  const error = (await lost!.ended).last;
  expect(error).toMatchObject({ finish: "error", token: -1 });
  expect(error.error!.message).toMatch(/^engine 0 failed: the engine's thread ended/);
  expect(told).toEqual([`${error.error!.message}; start the server again to have it back`]);
  expect((await kept!.ended).tokens).toHaveLength(600);
  expect(run(replicas, pages(0, 0), 4).index).toBe(1);
  await replicas.command({ type: "ping" });
  expect(replicas.alive).toBe(true);
});

engineTest(
  "a sleep of level 2 that is called off while one engine still computes leaves all with their weights",
  async () => {
    const replicas = await Replicas.start([SMALL_ENGINE, SMALL_ENGINE]);
    open.push(replicas);
    const begun = Promise.withResolvers<void>();
    const { index, ended } = run(replicas, pages(1), 600, begun.resolve);
    await begun.promise;
    const slept = replicas.command({ type: "sleep", level: 2, mode: "wait" }).catch((error) => error);
    // The engine that has nothing to do is long ready by then.
    const waiting = run(replicas, pages(2), 4);
    expect(waiting.index).toBe(1 - index);
    await Bun.sleep(20);
    await replicas.command({ type: "wake", weights: true, kvCache: true });
    expect((await slept).message).toEndWith("the engine was woken up before it slept");
    expect(replicas.state).toEqual({ weightVersion: "0", sleeping: false, weightsProblem: null, refusal: null });
    expect((await waiting.ended).tokens).toHaveLength(4);
    expect((await ended).tokens).toHaveLength(600);
    await replicas.command({ type: "sleep", level: 2, mode: "wait" });
    expect(replicas.engines.map(({ state }) => state.sleeping)).toEqual([true, true]);
  },
);

engineTest("where one engine cannot start, none stays, and the error says which", async () => {
  const progress: number[] = [];
  const start = Replicas.start([SMALL_ENGINE, { ...SMALL_ENGINE, kvBytes: 1 }], {
    onProgress: ({ done, total }) => progress.push(done / Math.max(1, total)),
  });
  const error = await start.catch((error) => error);
  expect(error).toBeInstanceOf(FastgenError);
  expect(error.message).toStartWith("engine 1 failed: ");
  for (const share of progress) expect(share).toBeLessThanOrEqual(1);
});
