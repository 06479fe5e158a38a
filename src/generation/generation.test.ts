/** One generation against an engine that says what the test says. */
import { expect, test } from "bun:test";
import type { SequenceEvent } from "../engine/front.ts";
import { emptyLogprobs } from "../engine/sequences/sequence.ts";
import { FastgenError } from "../errors.ts";
import { MAX_UNREAD_BYTES } from "../limits.ts";
import type { SamplingParams } from "../params.ts";
import { resolveParams } from "../request/request.ts";
import { TOKEN_EVENT } from "../testing.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type { GenerationObserver } from "../types.ts";
import { RunningGeneration } from "./generation.ts";

/** One token, one character: its id's. */
const tokenizer = {
  tokenText: (id: number) => String.fromCharCode(id),
  tokenBytes: (id: number) => Buffer.from(String.fromCharCode(id)),
  detokenizer: () => ({ pushOne: (id: number) => String.fromCharCode(id), flush: () => "", breaksOff: () => false }),
} as unknown as Tokenizer;

const EOS = 4;

function start(params: SamplingParams = {}, stream = false, observer?: GenerationObserver, firstScored = 1) {
  const calls: [what: string, choices: number | number[]][] = [];
  const generation = new RunningGeneration({
    prompt: Int32Array.of(1, 2, 3),
    promptText: null,
    stopTexts: new Map(),
    shownIds: new Set(),
    params: resolveParams(params, {}),
    firstScored,
    seeds: [],
    tokenizer,
    modelStopIds: new Set([EOS]),
    stream,
    observer,
    engine: () => 0,
    abortChoice: (choice) => calls.push(["abort", choice]),
    pause: (choices) => calls.push(["pause", choices]),
    resume: (choices) => calls.push(["resume", choices]),
  });
  const say = (choice: number, token: number, more: Partial<SequenceEvent> = {}) =>
    generation.accept(choice, {
      ...TOKEN_EVENT,
      token,
      ...more,
    });
  return { generation, calls, say };
}

const LOGPROBS = { n: 2, logprobs: 20 };
const A = 97;

/** More tokens than may be unread. */
const MANY = MAX_UNREAD_BYTES / 1000;

/** One token with all its alternatives. */
function loud() {
  const logprobs = emptyLogprobs(1, 20);
  logprobs.ids[0] = A;
  return { logprobs };
}

test("a stream pauses when much is unread, and goes on when half of that is read", async () => {
  const { generation, calls, say } = start(LOGPROBS, true);
  const pieces = generation[Symbol.asyncIterator]();
  let tokens = 0;
  while (calls.length === 0 && tokens < MANY) say(tokens++ % 2, A, loud());
  expect(calls).toEqual([["pause", [0, 1]]]);
  // A token and its alternatives are about 3 KB.
  expect(tokens).toBeLessThan(MAX_UNREAD_BYTES / 2000);
  // What was on its way still comes, and the pause is asked for once.
  say(0, A, loud());
  say(1, A, { ...loud(), finish: "length" });
  expect(calls).toHaveLength(1);
  const first = await pieces.next();
  expect(first.value!.index).toBe(0);
  const second = await pieces.next();
  expect(first.value!.token_ids.length + second.value!.token_ids.length).toBe(tokens + 2);
  // The choice that has ended needs no more.
  expect(calls.slice(1)).toEqual([["resume", [0]]]);
  say(0, A, { finish: "length" });
  expect((await pieces.next()).value!.finish_reason).toBe("length");
  expect((await pieces.next()).done).toBe(true);
});

test("a stream keeps no whole; without it nothing pauses", async () => {
  const stream = start(LOGPROBS, true);
  stream.say(0, A, loud());
  const error = await stream.generation.completion().catch((thrown) => thrown);
  expect(error).toBeInstanceOf(FastgenError);
  const whole = start({ logprobs: 20 });
  const tokens = Math.ceil(MAX_UNREAD_BYTES / 1000);
  for (let i = 0; i < tokens; i++) whole.say(0, A, { ...loud(), finish: i === tokens - 1 ? "length" : "" });
  expect(whole.calls).toEqual([]);
  expect((await whole.generation.completion()).choices[0]!.logprobs).toHaveLength(tokens);
});

test("an ended stream is neither paused nor resumed", async () => {
  const { generation, calls, say } = start(LOGPROBS, true);
  for (let i = 0; calls.length === 0 && i < MANY; i++) say(0, A, loud());
  generation.abort();
  generation.abort();
  expect(calls.slice(1)).toEqual([
    ["abort", 0],
    ["abort", 1],
  ]);
  const pieces = generation[Symbol.asyncIterator]();
  expect((await pieces.next()).done).toBe(false);
  expect(await pieces.next().catch(({ kind }) => kind)).toBe("aborted");
  expect(calls).toHaveLength(3);
});

test("a stop string ends the choice, once, and the engine's sequence with it", async () => {
  const { generation, calls, say } = start({ stop: "bc", n: 2 });
  say(0, A);
  say(0, A + 1);
  say(0, A + 2);
  expect(calls).toEqual([["abort", 0]]);
  // What the engine had on its way is dropped.
  say(0, A);
  say(0, -1, { finish: "abort" });
  say(1, EOS, { finish: "stop" });
  const { choices, usage } = await generation.completion();
  expect(choices[0]).toMatchObject({
    text: "a",
    finish_reason: "stop",
    stop_reason: "bc",
    token_ids: [A, A + 1, A + 2],
  });
  expect(choices[1]).toMatchObject({ text: "", finish_reason: "stop", stop_reason: null, token_ids: [EOS] });
  expect(usage).toEqual({ prompt_tokens: 3, completion_tokens: 4, cached_tokens: 0 });
  expect(calls).toHaveLength(1);
});

test("min_tokens holds stop strings back", async () => {
  const { generation, say } = start({ stop: "b", min_tokens: 2 });
  say(0, A + 1);
  say(0, A + 1);
  expect(generation.ended).toBe(false);
  say(0, A + 1);
  expect((await generation.completion()).choices[0]!.text).toBe("bb");
});

test("prompt log probabilities are made when they are asked for", async () => {
  const { generation, say } = start({ prompt_logprobs: 1 });
  expect(generation.prompt_logprobs).toBeNull();
  const promptLogprobs = emptyLogprobs(2, 1);
  promptLogprobs.ids.set([2, 3]);
  say(0, A, { promptLogprobs, finish: "length" });
  const completion = await generation.completion();
  for (const positions of [completion.prompt_logprobs!, [...generation.prompt_logprobs!]]) {
    expect(positions.map((position) => position?.id ?? null)).toEqual([null, 2, 3]);
    expect(positions[1]!.top).toHaveLength(1);
  }
  expect(completion.prompt_logprobs).toBe(completion.prompt_logprobs);
});

test("prompt tokens before the first that is scored have no log probabilities", () => {
  const { generation, say } = start({ prompt_logprobs: 0 }, false, undefined, 2);
  const promptLogprobs = emptyLogprobs(2, 0);
  promptLogprobs.ids.set([0, 3]);
  say(0, A, { promptLogprobs, finish: "length" });
  expect([...generation.prompt_logprobs!].map((position) => position?.id ?? null)).toEqual([null, null, 3]);
});

test("an error of one choice ends them all, and tells once", async () => {
  const { generation, calls, say } = start({ n: 2 });
  let ends = 0;
  generation.onEnd(() => ends++);
  say(0, -1, { finish: "error", error: new FastgenError("device", "gone") });
  say(1, A);
  expect(ends).toBe(1);
  expect(calls).toEqual([
    ["abort", 0],
    ["abort", 1],
  ]);
  expect(await generation.completion().catch(({ message }) => message)).toBe("gone");
  generation.onEnd(() => ends++);
  expect(ends).toBe(2);
});

test("an observer hears of every token when the engine brings it, though nobody reads, and of each end once", () => {
  const heard: unknown[] = [];
  const observer: GenerationObserver = {
    started: (...what) => heard.push(["started", ...what]),
    token: (...what) => heard.push(["token", ...what]),
    ended: (...what) => heard.push(["ended", ...what]),
  };
  const { generation, calls, say } = start({ n: 3, stop: "b" }, true, observer);
  const begun = { queuedSeconds: 2, prefillSeconds: 3 };
  say(0, A, { time: 10, start: begun });
  say(1, A, { time: 20, start: begun });
  // A stop string ends a sequence that the engine would go on with.
  say(0, A + 1, { time: 30 });
  say(0, A, { time: 40 });
  say(1, A, { time: 50, finish: "length" });
  generation.abort();
  say(2, A, { time: 60, start: begun });
  expect(heard).toEqual([
    ["started", 0, 2, 3, 0],
    ["token", 0, 10],
    ["started", 1, 2, 3, 0],
    ["token", 1, 20],
    ["token", 0, 30],
    ["ended", 0, "stop", 30],
    ["token", 1, 50],
    ["ended", 1, "length", 50],
  ]);
  expect(calls).toEqual([
    ["abort", 0],
    ["abort", 2],
  ]);
});
