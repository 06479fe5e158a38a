/** The worker's commands, over the fake library: when they are carried out, and what becomes of the sequences. */
import { expect, test } from "bun:test";
import { MessageChannel } from "node:worker_threads";
import type { EngineCapacity } from "../engine-config.ts";
import { FastgenError } from "../errors.ts";
import { PAGE_TOKENS } from "./pages/page-cache.ts";
import { type Command, type EngineRequest, FINISH, type FromWorker, type HoldMode } from "./protocol.ts";
import { FakeLibrary, WEIGHTS_APART } from "./testing/fake-library.ts";
import { nextToken } from "./testing/fake-model.ts";
import { prompt, request, VOCAB } from "./testing/scheduler-rig.ts";
import { EngineWorker, type LoadedEngine } from "./worker.ts";

const CONFIG = {
  maxSeqs: 2,
  maxStepTokens: 128,
  maxContext: 640,
  pages: 24,
  hostPages: 4,
  prefixCaching: true,
  kvBytes: 1,
};

/** A worker whose mail is what `mail` does at each step, by the step's number. */
function start(mail: Record<number, () => void> = {}) {
  const library = new FakeLibrary({ ...CONFIG, vocabSize: VOCAB });
  /** What a load makes of itself: refuse it, break off, take so many looks. */
  const loading = { refusal: null as Error | null, failure: null as Error | null, looks: 0 };
  const calls: string[] = [];
  let steps = 0;
  let closed = false;
  let looks = 0;
  const engine: LoadedEngine = {
    load() {
      expect(library.isBusy).toBe(false);
      if (loading.refusal) throw loading.refusal;
      calls.push("load");
      looks = loading.looks;
    },
    progress: () => {
      if (closed) throw new Error("the engine is closed");
      return { done: 1, total: 1, finished: looks-- <= 0, hostPages: CONFIG.hostPages };
    },
    ready() {
      if (loading.failure) throw loading.failure;
      library.weights++;
      return {} as EngineCapacity;
    },
    sleep: (level) => {
      expect(library.isBusy).toBe(false);
      calls.push(`sleep ${level}`);
    },
    wake: ({ weights, kvCache }) => {
      expect(library.isBusy).toBe(false);
      calls.push(`wake ${weights} ${kvCache}`);
    },
    copyPages: (copies) => library.copy(copies),
    submit: (plan) => library.submit(plan),
    refusedSlot: -1,
    giveMask: () => {},
    giveMaskSource: () => {},
    giveFollower: () => {},
    wait: () => {
      mail[steps++]?.();
      return library.wait();
    },
    traceStart() {},
    traceStop() {},
    close() {
      closed = true;
    },
  };
  const { port1, port2 } = new MessageChannel();
  const news: FromWorker[] = [];
  port1.postMessage = (message: FromWorker) => void news.push(message);
  const noGrammars = () => {
    throw new Error("no grammars here");
  };
  const capacity = { ...CONFIG, follows: false };
  const worker = new EngineWorker(port1, engine, { ...CONFIG, shape: { vocabSize: VOCAB } }, capacity, {
    open: noGrammars,
    fill: 0,
    check: 0,
    follow: noGrammars,
    followerFunctions: new Uint8Array(0),
  });
  const tell = (id: number, command: Command) => worker.wake({ type: "command", id, command });
  const answers = () => news.flatMap((one) => (one.type === "done" ? [one] : []));
  return {
    worker,
    library,
    loading,
    calls,
    news,
    tell,
    /** Mail that arrives while steps run. */
    mailOf: (id: number, command: Command) => () => port2.postMessage({ type: "command", id, command }),
    add: (...requests: EngineRequest[]) => worker.wake({ type: "add", requests }),
    answers,
    answered: () => answers().map(({ id }) => id),
    /** A request's tokens with the version of their weights, and how it ended. */
    got(id: number) {
      const tokens: number[] = [];
      const versions: string[] = [];
      let finish = "";
      for (const message of news) {
        if (message.type !== "step") continue;
        for (const [i, of] of message.requestIds.entries()) {
          if (of !== id) continue;
          if (message.tokens[i]! >= 0) {
            tokens.push(message.tokens[i]!);
            versions.push(message.weightVersion);
          }
          if (message.finish[i] !== 0) finish = FINISH[message.finish[i]!]!;
        }
      }
      return { tokens, versions, finish };
    },
    errors: () => news.flatMap((one) => (one.type === "step" && one.errors ? [...one.errors.values()] : [])),
    async until(condition: () => boolean) {
      while (!condition()) await Bun.sleep(1);
    },
    close() {
      worker.wake({ type: "close" });
      port1.close();
      port2.close();
    },
  };
}

const hold = (mode: HoldMode, clearCache = true): Command => ({ type: "hold", mode, clearCache });
const update = (version: string, clearCache: boolean | null = null): Command => ({
  type: "update",
  tensors: [],
  version,
  clearCache,
});
const RELEASE: Command = { type: "release" };

/** What follows `tokens` under the weights `after`, where the KV of the first `old` of them is of the weights `before`. */
function follow(tokens: readonly number[], count: number, weights: { before: number; after: number; old: number }) {
  const all = [...tokens];
  for (let i = 0; i < count; i++) {
    const written = all.map((token, at) => token + VOCAB * (at < weights.old ? weights.before : weights.after));
    all.push(nextToken(written, written.length, 0n, VOCAB));
  }
  return all.slice(tokens.length);
}

test("mode keep: the steps in flight end, then nothing runs; all goes on where it was", async () => {
  const long = request(prompt(70), 40);
  const w = start({ 9: () => held() });
  const held = w.mailOf(1, hold("keep", false));
  w.add(long);
  const before = w.got(long.id).tokens.length;
  expect(w.answered()).toEqual([1]);
  expect(before).toBeGreaterThan(2);
  expect(before).toBeLessThan(40);
  const late = request(prompt(20, 1), 3);
  w.add(late);
  expect(w.got(late.id).tokens).toEqual([]);
  const computed = w.library.computedTokens;
  w.tell(2, RELEASE);
  expect(w.got(long.id)).toMatchObject({ finish: "length", tokens: follow(prompt(70), 40, NEW(0)) });
  expect(w.got(late.id).finish).toBe("length");
  // The sequence has kept its pages: what is computed is what was missing.
  expect(w.library.computedTokens - computed).toBe(40 - before + 20 + 2);
  w.close();
});

const NEW = (after: number) => ({ before: 0, after, old: 0 });

test("mode keep with an empty cache: what runs is computed again, to the same end", () => {
  const long = request(prompt(70), 40);
  const w = start({ 9: () => held() });
  const held = w.mailOf(1, hold("keep"));
  w.add(long);
  const before = w.got(long.id).tokens.length;
  const computed = w.library.computedTokens;
  w.tell(2, RELEASE);
  expect(w.got(long.id).tokens).toEqual(follow(prompt(70), 40, NEW(0)));
  expect(w.library.computedTokens - computed).toBe(70 + before + 40 - before - 1);
  w.close();
});

test("mode wait: what was there ends, what comes later waits, whatever runs first otherwise", async () => {
  const [one, two, three] = [request(prompt(20), 30), request(prompt(20, 1), 5), request(prompt(20, 2), 50)];
  const late = request(prompt(20, 3), 5, { priority: -1 });
  const w = start({ 3: () => held(), 5: () => w.worker.wake({ type: "add", requests: [late] }) });
  const held = w.mailOf(1, hold("wait"));
  w.add(one, two, three);
  expect([one, two, three].map(({ id }) => w.got(id).finish)).toEqual(["length", "length", "length"]);
  expect(w.answered()).toEqual([1]);
  expect(w.got(late.id)).toMatchObject({ tokens: [], finish: "" });
  // A second one has nothing to wait for. What waits can be ended.
  w.tell(2, hold("wait"));
  const never = request(prompt(9), 5);
  w.add(never);
  w.worker.wake({ type: "abort", ids: [never.id] });
  expect(w.answered()).toEqual([1, 2]);
  expect(w.got(never.id)).toMatchObject({ tokens: [], finish: "abort" });
  const computed = w.library.computedTokens;
  w.tell(3, RELEASE);
  // A prompt of 20 tokens, and all that was sampled but the last token.
  expect(w.library.computedTokens - computed).toBe(20 + 5 - 1);
  expect(w.got(late.id).finish).toBe("length");
  w.close();
});

test("a pause that still waits is told of a resume; a keep in its place needs no end", () => {
  const one = request(prompt(20), 500);
  const w = start({ 3: () => held(), 6: () => released(), 9: () => again(), 12: () => kept() });
  const held = w.mailOf(1, hold("wait"));
  const released = w.mailOf(2, RELEASE);
  const again = w.mailOf(3, hold("wait"));
  const kept = w.mailOf(4, hold("keep"));
  w.add(one);
  expect(w.answers().map(({ id, error }) => [id, error?.kind ?? null])).toEqual([
    [1, "aborted"],
    [2, null],
    [4, null],
  ]);
  expect(w.got(one.id).finish).toBe("");
  w.tell(5, RELEASE);
  // What has waited since then is told too.
  expect(
    w
      .answers()
      .slice(3)
      .map(({ id, error }) => [id, error?.kind ?? null]),
  ).toEqual([
    [3, "aborted"],
    [5, null],
  ]);
  expect(w.got(one.id).finish).toBe("length");
  w.close();
});

test("mode abort: all end at once with what they have, before the pause is told of; what comes later waits", () => {
  const [one, two, three] = [request(prompt(20), 500), request(prompt(20, 1), 500), request(prompt(20, 2), 50)];
  const w = start({ 5: () => held() });
  const held = w.mailOf(1, hold("abort"));
  w.add(one, two, three);
  expect([one, two, three].map(({ id }) => w.got(id).finish)).toEqual(["abort", "abort", "abort"]);
  expect(w.got(one.id).tokens).toEqual(follow(prompt(20), w.got(one.id).tokens.length, NEW(0)));
  expect(w.news.at(-1)).toMatchObject({ type: "done", id: 1, error: null });
  const late = request(prompt(20), 5);
  w.add(late);
  expect(w.got(late.id).finish).toBe("");
  // The same of what is held.
  w.tell(2, hold("abort"));
  expect(w.got(late.id).finish).toBe("abort");
  expect(w.news.at(-1)).toMatchObject({ type: "done", id: 2, error: null });
  const last = request(prompt(20), 5);
  w.add(last);
  w.tell(3, RELEASE);
  expect(w.got(last.id).finish).toBe("length");
  w.close();
});

test("an update in mid-answer: tokens before it are the old weights', all after it the new ones'", async () => {
  const [long, other] = [request(prompt(100), 40), request(prompt(100, 1), 40)];
  const w = start({ 9: () => updated() });
  const updated = w.mailOf(1, update("second"));
  w.loading.looks = 3;
  w.add(long, other);
  // It loads. What comes meanwhile waits, and finds none of the pages of before.
  const same = request(prompt(100), 5);
  w.add(same);
  expect([w.calls, w.answered(), w.got(same.id).tokens]).toEqual([["load"], [], []]);
  await w.until(() => w.got(same.id).finish !== "");
  expect(w.answers()).toMatchObject([{ id: 1, error: null, state: { weightVersion: "second", refusal: null } }]);
  for (const { id, prompt } of [long, other]) {
    const { tokens, versions } = w.got(id);
    const before = versions.indexOf("second");
    expect(before).toBeGreaterThan(0);
    expect(versions).toEqual(versions.map((_, i) => (i < before ? "0" : "second")));
    const expected = follow([...prompt], before, NEW(0));
    expect(tokens).toEqual([...expected, ...follow([...prompt, ...expected], 40 - before, NEW(1))]);
  }
  expect(w.got(same.id).tokens).toEqual(follow(prompt(100), 5, NEW(1)));
  w.close();
});

test("an update that leaves the cache: what runs goes on from its old pages", async () => {
  const long = request(prompt(100), 40);
  const w = start({ 9: () => held() });
  const held = w.mailOf(1, hold("keep", false));
  w.add(long);
  const before = w.got(long.id).tokens.length;
  w.tell(2, update("1"));
  await w.until(() => w.answered().length === 2);
  w.tell(3, RELEASE);
  const { tokens } = w.got(long.id);
  const known = [...prompt(100), ...tokens.slice(0, before)];
  expect(tokens.slice(before)).toEqual(follow(known, 40 - before, { before: 0, after: 1, old: known.length - 1 }));
  w.close();
});

test("pages of old weights are never found, on the device or the host, by any salt", async () => {
  const w = start();
  const salted = { cacheSalt: "salt" };
  // More pages than the device has: some go to the host.
  for (let i = 0; i < 8; i++)
    w.add(request(prompt(PAGE_TOKENS * 4 + 1, i), 1), request(prompt(PAGE_TOKENS * 2, i), 1, salted));
  w.tell(1, update("1"));
  await w.until(() => w.answered().length === 1);
  const { computedTokens } = w.library;
  const again = Array.from({ length: 8 }, (_, i) => request(prompt(PAGE_TOKENS * 4 + 1, i), 3, i % 2 ? salted : {}));
  w.add(...again);
  for (const [i, { id }] of again.entries()) {
    expect(w.got(id).tokens).toEqual(follow(prompt(PAGE_TOKENS * 4 + 1, i), 3, NEW(1)));
  }
  expect(w.library.computedTokens - computedTokens).toBe(8 * (PAGE_TOKENS * 4 + 1 + 2));
  expect(w.library.pagesReturned).toBe(0);
  w.close();
});

test("the log probabilities of a prompt are all of one set of weights", async () => {
  const scored = request(prompt(300), 2, { promptLogprobs: 0 });
  const w = start({ 0: () => updated() });
  const updated = w.mailOf(1, update("1"));
  w.add(scored);
  await w.until(() => w.got(scored.id).finish !== "");
  // A step takes 128 tokens: some were scored before the update. All are computed again.
  expect(w.library.computedTokens).toBeGreaterThanOrEqual(300 + 128);
  const found = w.news.flatMap((one) =>
    one.type === "step" && one.promptLogprobs ? [...one.promptLogprobs.values()] : [],
  );
  expect(found.map(({ ids }) => [...ids])).toEqual([prompt(300).slice(1)]);
  expect(Math.max(...found[0]!.logprobs)).toBeLessThan(-WEIGHTS_APART + 1);
  w.close();
});

test("weights that do not fit change nothing, and what runs goes on", async () => {
  const long = request(prompt(20), 60);
  const w = start({ 5: () => updated() });
  const updated = w.mailOf(1, update("1"));
  w.loading.refusal = new FastgenError("model", "q of layer 1 is missing");
  w.add(long);
  await w.until(() => w.got(long.id).finish !== "");
  expect(w.answers()).toMatchObject([
    {
      error: { kind: "invalid_request", message: expect.stringContaining("q of layer 1") },
      state: { weightVersion: "0" },
    },
  ]);
  expect(w.got(long.id)).toMatchObject({ finish: "length", tokens: follow(prompt(20), 60, NEW(0)) });
  w.close();
});

test("an update that breaks off leaves everything refused until another one succeeds", async () => {
  const [kept, waiting] = [request(prompt(20), 60), request(prompt(20, 1), 5)];
  const w = start({ 5: () => held() });
  const held = w.mailOf(1, hold("keep"));
  w.add(kept);
  w.loading.failure = new FastgenError("model", "the file ends early");
  w.tell(2, update("1"));
  await w.until(() => w.answered().length === 2);
  expect(w.answers().at(-1)).toMatchObject({
    error: { kind: "model" },
    state: { refusal: expect.stringContaining("incomplete"), weightVersion: "0" },
  });
  // Whoever is kept waits for another try.
  expect(w.got(kept.id).finish).toBe("");
  w.loading.failure = null;
  w.tell(3, update("2"));
  await w.until(() => w.answered().length === 3);
  expect(w.answers().at(-1)).toMatchObject({ error: null, state: { refusal: null, weightVersion: "2" } });
  w.tell(4, RELEASE);
  expect(w.got(kept.id).finish).toBe("length");
  // Nothing holds: what is there fails.
  w.loading.failure = new FastgenError("model", "the file ends early");
  w.loading.looks = 2;
  w.tell(5, update("3"));
  w.add(waiting);
  await w.until(() => w.got(waiting.id).finish !== "");
  expect(w.got(waiting.id)).toMatchObject({ tokens: [], finish: "error" });
  expect(w.errors()).toMatchObject([{ kind: "unavailable", message: expect.stringContaining("incomplete") }]);
  w.close();
});

test("one update at a time", async () => {
  const w = start();
  w.loading.looks = 2;
  w.tell(1, update("1"));
  w.tell(2, update("2"));
  await w.until(() => w.answered().length === 2);
  expect(w.answers()).toMatchObject([
    { id: 2, error: { kind: "overloaded" } },
    { id: 1, error: null },
  ]);
  w.close();
});

test("sleep: requests wait until all is awake; those that were kept are computed again", () => {
  const long = request(prompt(70), 40);
  const w = start({ 9: () => slept() });
  const slept = w.mailOf(1, { type: "sleep", level: 1, mode: "keep" });
  w.add(long);
  expect(w.calls).toEqual(["sleep 1"]);
  expect(w.answers().at(-1)).toMatchObject({ error: null, state: { sleeping: true } });
  // What is forgotten is read back as garbage.
  new Int32Array((w.library as unknown as { kv: Int32Array }).kv.buffer).fill(-7);
  w.tell(2, { type: "wake", weights: true, kvCache: false });
  w.tell(3, RELEASE);
  expect(w.answers().at(-1)).toMatchObject({ error: null, state: { sleeping: true } });
  expect(w.got(long.id).finish).toBe("");
  w.tell(4, { type: "wake", weights: true, kvCache: true });
  expect(w.answers().at(-1)).toMatchObject({ error: null, state: { sleeping: false } });
  expect(w.got(long.id).tokens).toEqual(follow(prompt(70), 40, NEW(0)));
  w.close();
});

test("sleep level 2: weights are updated while the cache sleeps, and nothing runs before", async () => {
  const [ended, next] = [request(prompt(20), 500), request(prompt(20), 4)];
  const w = start({ 9: () => slept() });
  const slept = w.mailOf(1, { type: "sleep", level: 2, mode: "abort" });
  w.add(ended);
  expect(w.got(ended.id).finish).toBe("abort");
  w.add(next);
  w.tell(2, update("1"));
  expect(w.answers().at(-1)).toMatchObject({
    id: 2,
    state: { sleeping: true, weightsProblem: expect.stringContaining("the weights are gone"), refusal: null },
    error: { kind: "invalid_request", message: expect.stringContaining("wake") },
  });
  w.tell(3, { type: "wake", weights: true, kvCache: true });
  // Once nothing sleeps or is held, new requests are refused; those that are there wait.
  const gone = expect.stringContaining("the weights are gone");
  const state = (refusal: unknown) => ({ error: null, state: { sleeping: false, weightsProblem: gone, refusal } });
  expect(w.answers().at(-1)).toMatchObject({ id: 3, ...state(gone) });
  w.tell(5, { type: "hold", mode: "keep", clearCache: false });
  expect(w.answers().at(-1)).toMatchObject({ id: 5, ...state(null) });
  w.tell(6, RELEASE);
  expect(w.answers().at(-1)).toMatchObject({ id: 6, ...state(gone) });
  expect(w.got(next.id).finish).toBe("");
  w.tell(4, update("1"));
  await w.until(() => w.got(next.id).finish !== "");
  expect(w.got(next.id)).toMatchObject({ tokens: follow(prompt(20), 4, NEW(1)), finish: "length" });
  expect(w.answers().at(-1)).toMatchObject({ id: 4, state: { weightsProblem: null, refusal: null } });
  w.close();
});

const WAKE: Command = { type: "wake", weights: true, kvCache: true };
const outcomes = (w: ReturnType<typeof start>) => w.answers().map(({ id, error }) => [id, error?.kind ?? null]);

test("what is awake needs no waking: steps that run are not disturbed, and only what sleeps is woken", () => {
  const one = request(prompt(20), 30);
  const w = start({ 5: () => woken() });
  const woken = w.mailOf(1, WAKE);
  w.add(one);
  expect(w.got(one.id).finish).toBe("length");
  w.tell(2, { type: "sleep", level: 1, mode: "keep" });
  w.tell(3, { type: "wake", weights: true, kvCache: false });
  w.tell(4, WAKE);
  expect(outcomes(w)).toEqual([1, 2, 3, 4].map((id) => [id, null]));
  expect(w.calls).toEqual(["sleep 1", "wake true false", "wake false true"]);
  w.close();
});

test("a wake calls off the sleep that still waits, and a resume does not", () => {
  const one = request(prompt(20), 100);
  const w = start({ 3: () => slept(), 6: () => woken(), 9: () => again(), 12: () => released() });
  const slept = w.mailOf(1, { type: "sleep", level: 1, mode: "wait" });
  const woken = w.mailOf(2, WAKE);
  const again = w.mailOf(3, { type: "sleep", level: 1, mode: "wait" });
  const released = w.mailOf(4, RELEASE);
  w.add(one);
  expect(w.got(one.id).finish).toBe("length");
  expect(outcomes(w)).toEqual([
    [1, "aborted"],
    [2, null],
    [4, null],
    [3, null],
  ]);
  expect(w.calls).toEqual(["sleep 1"]);
  expect(w.answers().at(-1)).toMatchObject({ state: { sleeping: true } });
  w.close();
});

test("ready to sleep: nothing runs until it has slept and is awake again", () => {
  const w = start({ 3: () => ready() });
  const ready = w.mailOf(1, { type: "ready_to_sleep", mode: "wait" });
  const one = request(prompt(20), 30);
  w.add(one);
  expect(w.got(one.id).finish).toBe("length");
  expect([outcomes(w), w.calls]).toEqual([[[1, null]], []]);
  // What comes then waits, and no weights are loaded.
  const later = request(prompt(20), 4);
  w.add(later);
  w.tell(2, update("1"));
  expect(outcomes(w).at(-1)).toEqual([2, "invalid_request"]);
  w.tell(3, { type: "sleep", level: 1, mode: "keep" });
  expect([outcomes(w).at(-1), w.calls]).toEqual([[3, null], ["sleep 1"]]);
  expect(w.got(later.id).tokens).toHaveLength(0);
  w.tell(4, WAKE);
  expect(w.got(later.id).finish).toBe("length");
  w.close();
});

test("a wake ends the wait to be ready for sleep, and being so", () => {
  const w = start({ 3: () => ready(), 6: () => woken() });
  const ready = w.mailOf(1, { type: "ready_to_sleep", mode: "wait" });
  const woken = w.mailOf(2, WAKE);
  const one = request(prompt(20), 30);
  w.add(one);
  expect(outcomes(w)).toEqual([
    [1, "aborted"],
    [2, null],
  ]);
  w.tell(3, { type: "ready_to_sleep", mode: "keep" });
  const later = request(prompt(20), 4);
  w.add(later);
  expect(w.got(later.id).tokens).toHaveLength(0);
  w.tell(4, WAKE);
  expect(w.got(later.id).finish).toBe("length");
  expect(w.calls).toEqual([]);
  w.close();
});

test("sleeping and waking wait for the end of an update, and no update begins once a sleep is to come", async () => {
  const w = start({ 3: () => slept() });
  w.loading.looks = 3;
  w.tell(1, update("1"));
  w.tell(2, { type: "sleep", level: 1, mode: "abort" });
  expect(w.calls).toEqual(["load"]);
  await w.until(() => w.answered().length === 2);
  expect(w.calls).toEqual(["load", "sleep 1"]);
  w.tell(3, { type: "wake", weights: true, kvCache: false });
  w.tell(4, update("2"));
  w.tell(5, WAKE);
  expect(w.answered()).toEqual([1, 2, 3]);
  await w.until(() => w.answered().length === 5);
  expect(w.calls.slice(2)).toEqual(["wake true false", "load", "wake false true"]);
  expect(w.answers().at(-1)).toMatchObject({ state: { sleeping: false, weightVersion: "2" } });
  // The end of what runs is still to come.
  const one = request(prompt(20), 100);
  const slept = () => {
    w.mailOf(6, { type: "sleep", level: 1, mode: "wait" })();
    w.mailOf(7, update("3"))();
  };
  w.add(one);
  expect(outcomes(w)).toEqual([...[1, 2, 3, 4, 5].map((id) => [id, null]), [7, "invalid_request"], [6, null]]);
  w.close();
});

test("what waits in a pause is counted when it comes and when it goes", () => {
  const [one, other] = [request(prompt(20), 5), request(prompt(20), 5)];
  const w = start();
  const waiting = () => w.news.flatMap((message) => (message.type === "step" ? [message.stats.waiting] : [])).at(-1);
  w.tell(1, hold("keep"));
  w.add(one, other);
  expect(waiting()).toBe(2);
  w.worker.wake({ type: "abort", ids: [other.id] });
  expect(waiting()).toBe(1);
  const messages = w.news.length;
  w.tell(2, { type: "ping" });
  expect(w.news.length).toBe(messages + 1);
  w.tell(3, RELEASE);
  expect(waiting()).toBe(0);
  w.close();
});

test("a reset cache is found by nobody, while what runs keeps its pages", () => {
  const [long, again] = [request(prompt(200), 40), request(prompt(200), 3)];
  const w = start({ 9: () => cleared() });
  const cleared = w.mailOf(1, { type: "clear_cache" });
  w.add(long);
  expect(w.library.computedTokens).toBe(200 + 39);
  w.add(again);
  expect(w.library.computedTokens).toBe(200 + 39 + 200 + 2);
  expect(w.got(again.id).finish).toBe("length");
  w.close();
});

test("a close during an update ends it without another look at the library", async () => {
  const w = start();
  w.loading.looks = 1_000;
  w.tell(1, update("1"));
  w.worker.wake({ type: "close" });
  const { length } = w.news;
  await Bun.sleep(25);
  expect(w.news.slice(length)).toEqual([]);
  w.close();
});
