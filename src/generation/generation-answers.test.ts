/** One request's tokens on their way to text, pieces and results, without an engine: the events are the test's. */
import { beforeAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { SequenceEvent } from "../engine/front.ts";
import type { TokenLogprobs } from "../engine/protocol.ts";
import { FastgenError } from "../errors.ts";
import type { SamplingParams } from "../params.ts";
import { resolveParams } from "../request/request.ts";
import { TOKEN_EVENT } from "../testing.ts";
import { Tokenizer } from "../text/tokenizer.ts";
import type { Chunk } from "../types.ts";
import { appendChunk, RunningGeneration } from "./generation.ts";

/** Ids 0 to 255 are bytes; these come after them. */
const [EOS, HELLO] = [256, 257];
const PROMPT = Int32Array.of(72, 105, 33);

let tokenizer: Tokenizer;
beforeAll(async () => {
  const bytes = Array.from({ length: 256 }, (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, "0")}>`);
  const vocab = Object.fromEntries([...bytes, "</s>", "Hello"].map((token, id) => [token, id]));
  const eos = { id: EOS, content: "</s>", special: true, single_word: false, lstrip: false, rstrip: false };
  tokenizer = await Tokenizer.load({
    tokenizer: JSON.stringify({
      added_tokens: [{ ...eos, normalized: false }],
      decoder: { type: "Sequence", decoders: [{ type: "ByteFallback" }, { type: "Fuse" }] },
      model: { type: "BPE", vocab, merges: [], byte_fallback: true },
    }),
  });
});

function setUp(params: SamplingParams = {}) {
  const aborted: number[] = [];
  const setup = {
    prompt: PROMPT,
    promptText: null,
    stopTexts: new Map<number, string>(),
    params: resolveParams(params, {}),
    firstScored: 1,
    seeds: [],
    tokenizer,
    shownIds: new Set<number>(),
    modelStopIds: new Set([EOS]),
    stream: false,
    engine: () => 0,
    abortChoice: (choice: number) => aborted.push(choice),
    pause() {},
    resume() {},
  };
  const generation = new RunningGeneration(setup);
  /** Gives choice `index` its next token, or an end without one. */
  const give = (index: number, token: number, more: Partial<SequenceEvent> = {}) =>
    generation.accept(index, {
      ...TOKEN_EVENT,
      token,
      ...more,
    });
  /** The UTF-8 of a text, a token a byte; the last one ends the choice with `finish`. */
  const say = (index: number, text: string, finish: SequenceEvent["finish"] = "") => {
    const bytes = Buffer.from(text);
    for (const [i, byte] of bytes.entries()) give(index, byte, i + 1 === bytes.length ? { finish } : {});
  };
  return { generation, aborted, give, say };
}

async function outcome(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => "fulfilled",
    (error) => error,
  );
}

/** All pieces, joined by choice. */
async function join(pieces: AsyncIterable<Chunk>): Promise<Chunk[]> {
  const whole: Chunk[] = [];
  for await (const piece of pieces) {
    const before = whole[piece.index];
    if (before) appendChunk(before, piece);
    else whole[piece.index] = structuredClone(piece);
  }
  return whole;
}

test("a text: ids, usage, finish reason; awaited and iterated alike", async () => {
  const { generation, say } = setUp();
  const iterated = join(generation);
  const awaited = generation.completion();
  expect(generation.ended).toBe(false);
  say(0, "Hi 👋!", "length");
  expect(generation.ended).toBe(true);
  const { choices, usage, prompt_token_ids, prompt_logprobs } = await awaited;
  expect(choices).toEqual([
    {
      index: 0,
      text: "Hi 👋!",
      token_ids: [...Buffer.from("Hi 👋!")],
      logprobs: null,
      finish_reason: "length",
      stop_reason: null,
      weight_versions: [{ start: 0, version: "0" }],
    },
  ]);
  expect(await iterated).toEqual(choices);
  expect(usage).toEqual({ prompt_tokens: 3, completion_tokens: 8, cached_tokens: 0 });
  expect(prompt_token_ids).toEqual([72, 105, 33]);
  expect(prompt_logprobs).toBeNull();
  expect(await generation.completion()).toMatchObject({ choices });
});

test("what the engine is told to end has what was there; the other choices go on", async () => {
  const { generation, give, say } = setUp({ n: 2 });
  say(0, "Hel");
  give(0, 0xf0);
  give(0, -1, { finish: "abort" });
  say(1, "whole", "stop");
  const { choices } = await generation.completion();
  expect(choices.map(({ text, finish_reason }) => [text, finish_reason])).toEqual([
    ["Hel\ufffd", "abort"],
    ["whole", "stop"],
  ]);
});

test("a choice tells which weights made which of its tokens, and so does each piece", async () => {
  const { generation, give } = setUp({ n: 2 });
  const pieces: unknown[] = [];
  const reading = (async () => {
    for await (const { index, weight_versions } of generation) pieces.push([index, weight_versions]);
  })();
  give(0, 65, { weightVersion: "7" });
  await Bun.sleep(0);
  give(0, 66, { weightVersion: "7" });
  give(0, 67, { weightVersion: "8" });
  await Bun.sleep(0);
  give(0, -1, { weightVersion: "9", finish: "length" });
  give(1, -1, { weightVersion: "9", finish: "length" });
  await reading;
  const spans = [
    { start: 0, version: "7" },
    { start: 2, version: "8" },
  ];
  const nothing = [{ start: 0, version: "9" }];
  expect(pieces).toEqual([
    [0, spans.slice(0, 1)],
    [0, spans],
    [0, spans],
    [1, nothing],
  ]);
  const { choices } = await generation.completion();
  expect(choices.map(({ weight_versions }) => weight_versions)).toEqual([spans, nothing]);
});

describe("what is held back", () => {
  test("half a character, which is U+FFFD when the output ends in it", async () => {
    const { generation, give } = setUp();
    give(0, 0xf0);
    give(0, 0x9f);
    give(0, 0x91, { finish: "length" });
    expect((await generation.completion()).choices[0]!.text).toBe("\ufffd");
  });

  test("the start of a stop string, then half a character: both come out in their order", async () => {
    const { generation, say, give } = setUp({ stop: "STOP" });
    say(0, "aSTO");
    give(0, 0xc3, { finish: "length" });
    expect((await generation.completion()).choices[0]!.text).toBe("aSTO\ufffd");
  });

  test("also when the end comes without a token", async () => {
    const { generation, say, give } = setUp({ stop: "STOP" });
    say(0, "aST");
    give(0, -1, { finish: "length" });
    const { choices, usage } = await generation.completion();
    expect(choices[0]).toMatchObject({ text: "aST", finish_reason: "length" });
    expect(usage.completion_tokens).toBe(3);
  });

  test("and when a stop id ends it", async () => {
    const { generation, say, give } = setUp({ stop: "STOP" });
    say(0, "aST");
    give(0, 0xe2);
    give(0, EOS, { finish: "stop" });
    expect((await generation.completion()).choices[0]!.text).toBe("aST\ufffd");
  });
});

describe("stop strings", () => {
  test("end the choice, and its sequence in the engine at once", async () => {
    const { generation, aborted, say } = setUp({ stop: ["\n\n", "END"] });
    say(0, "one END");
    expect(aborted).toEqual([0]);
    expect(generation.ended).toBe(true);
    const { choices } = await generation.completion();
    expect(choices[0]).toMatchObject({ text: "one ", finish_reason: "stop", stop_reason: "END" });
    expect(choices[0]!.token_ids).toHaveLength(7);
  });

  test("what the engine sends after one is dropped", async () => {
    const { generation, aborted, say, give } = setUp({ n: 2, stop: "." });
    say(0, "a.bc");
    give(0, -1, { finish: "abort" });
    expect(generation.ended).toBe(false);
    say(1, "xyz", "length");
    const { choices, usage } = await generation.completion();
    expect(choices.map(({ text }) => text)).toEqual(["a", "xyz"]);
    expect(usage.completion_tokens).toBe(5);
    expect(aborted).toEqual([0]);
  });

  test("a sequence that has ended by itself is not aborted", async () => {
    const { generation, aborted, say } = setUp({ stop: "." });
    say(0, "a.", "length");
    expect((await generation.completion()).choices[0]).toMatchObject({ text: "a", finish_reason: "stop" });
    expect(aborted).toEqual([]);
  });

  test("are kept where that is asked for", async () => {
    const { generation, say } = setUp({ stop: "END", include_stop_str_in_output: true });
    say(0, "one END");
    expect((await generation.completion()).choices[0]).toMatchObject({ text: "one END", stop_reason: "END" });
  });

  test("do not count before min_tokens, nor does what came then begin one", async () => {
    const { generation, say } = setUp({ stop: "ab", min_tokens: 3 });
    say(0, "aba");
    expect(generation.ended).toBe(false);
    say(0, "b");
    // The third token was past every stop string: the one that begins in it does not end in the fourth.
    expect(generation.ended).toBe(false);
    say(0, "ab");
    expect((await generation.completion()).choices[0]).toMatchObject({ text: "abab", stop_reason: "ab" });
  });

  test("count from the token on that min_tokens allows", async () => {
    const { generation, say } = setUp({ stop: "b", min_tokens: 1 });
    say(0, "bb");
    expect((await generation.completion()).choices[0]).toMatchObject({ text: "b", token_ids: [98, 98] });
  });
});

describe("stop ids", () => {
  const end = async (params: SamplingParams, token: number) => {
    const { generation, aborted, say, give } = setUp(params);
    say(0, "ok");
    give(0, token, { finish: "stop" });
    expect(aborted).toEqual([]);
    const { text, token_ids, finish_reason, stop_reason } = (await generation.completion()).choices[0]!;
    expect(finish_reason).toBe("stop");
    expect(token_ids).toEqual([111, 107, token]);
    expect(generation.usage.completion_tokens).toBe(3);
    return [text, stop_reason];
  };

  test("the model's is no stop_reason, the caller's is; neither is shown", async () => {
    expect(await end({}, EOS)).toEqual(["ok", null]);
    expect(await end({ stop_token_ids: [HELLO] }, HELLO)).toEqual(["ok", HELLO]);
    // With ignore_eos, only the caller can have asked for it.
    expect(await end({ stop_token_ids: [EOS], ignore_eos: true }, EOS)).toEqual(["ok", EOS]);
  });

  test("their text is shown where stop strings are", async () => {
    const include = { include_stop_str_in_output: true };
    expect(await end({ ...include, stop_token_ids: [HELLO] }, HELLO)).toEqual(["okHello", HELLO]);
    expect(await end(include, EOS)).toEqual(["ok", null]);
    expect(await end({ ...include, skip_special_tokens: false }, EOS)).toEqual(["ok</s>", null]);
    // It is no stop string, nor the end of one, whatever its text.
    expect(await end({ ...include, stop: "kHello", stop_token_ids: [HELLO] }, HELLO)).toEqual(["okHello", HELLO]);
  });
});

test("special tokens are left out unless asked for", async () => {
  for (const [skip_special_tokens, text] of [
    [true, "ab"],
    [false, "a</s>b"],
  ] as const) {
    const { generation, say, give } = setUp({ skip_special_tokens });
    say(0, "a");
    give(0, EOS);
    say(0, "b", "length");
    expect((await generation.completion()).choices[0]!.text).toBe(text);
  }
});

describe("log probabilities", () => {
  const logprobs = (ids: number[], topN: number): TokenLogprobs => ({
    ids: Int32Array.from(ids),
    logprobs: Float32Array.from(ids, (id) => -id),
    ranks: Int32Array.from(ids, (id) => id + 1),
    topN,
    topIds: Int32Array.from({ length: ids.length * topN }, (_, i) => 65 + i),
    topLogprobs: Float32Array.from({ length: ids.length * topN }, (_, i) => -1 - i),
  });
  const one = (id: number, token: string, bytes: number[], logprob: number) => ({ id, token, bytes, logprob });

  test("of the output, in step with the ids", async () => {
    const { generation, give } = setUp({ logprobs: 2 });
    give(0, HELLO, { logprobs: logprobs([HELLO], 2) });
    give(0, 0xff, { logprobs: logprobs([0xff], 2), finish: "length" });
    expect((await generation.completion()).choices[0]!.logprobs).toEqual([
      {
        ...one(HELLO, "Hello", [72, 101, 108, 108, 111], -HELLO),
        top: [one(65, "A", [65], -1), one(66, "B", [66], -2)],
        rank: HELLO + 1,
        text_offset: 0,
      },
      {
        ...one(0xff, "\ufffd", [0xff], -255),
        top: [one(65, "A", [65], -1), one(66, "B", [66], -2)],
        rank: 256,
        text_offset: 5,
      },
    ]);
  });

  test("also for a token whose text is held back, or that is a stop id", async () => {
    const { generation, give } = setUp({ logprobs: 0 });
    give(0, 0xc3, { logprobs: logprobs([0xc3], 0) });
    give(0, EOS, { logprobs: logprobs([EOS], 0), finish: "stop" });
    expect((await generation.completion()).choices[0]!.logprobs!.map(({ id }) => id)).toEqual([0xc3, EOS]);
  });

  test("of the prompt: none for its first token, the others each with their own alternatives", async () => {
    const { generation, give } = setUp({ prompt_logprobs: 1 });
    give(0, 65, { promptLogprobs: logprobs([105, 33], 1), finish: "length" });
    const { prompt_logprobs, choices } = await generation.completion();
    expect(prompt_logprobs).toEqual([
      null,
      { ...one(105, "i", [105], -105), top: [one(65, "A", [65], -1)], rank: 106, text_offset: 1 },
      { ...one(33, "!", [33], -33), top: [one(66, "B", [66], -2)], rank: 34, text_offset: 2 },
    ]);
    expect(choices[0]!.logprobs).toBeNull();
  });
});

test("token 0 is a token", async () => {
  const { generation, give } = setUp();
  give(0, 0);
  give(0, 0, { finish: "length" });
  expect((await generation.completion()).choices[0]).toMatchObject({ text: "\0\0", token_ids: [0, 0] });
});

test("cached tokens are counted once, whichever choice the news is of", async () => {
  const { generation, say, give } = setUp({ n: 2 });
  give(1, 65, { cachedTokens: 2, finish: "length" });
  expect(generation.usage.cached_tokens).toBe(0);
  give(0, 65, { cachedTokens: 3 });
  say(0, "b", "length");
  expect((await generation.completion()).usage).toEqual({
    prompt_tokens: 3,
    completion_tokens: 3,
    cached_tokens: 3,
  });
});

describe("choices", () => {
  test("end each by itself; the whole ends with the last", async () => {
    const { generation, say } = setUp({ n: 3 });
    let ends = 0;
    generation.onEnd(() => ends++);
    say(2, "c", "length");
    say(0, "a", "length");
    expect([generation.ended, ends]).toEqual([false, 0]);
    say(1, "b", "length");
    expect([generation.ended, ends]).toEqual([true, 1]);
    const { choices } = await generation.completion();
    expect(choices.map(({ index, text, finish_reason }) => [index, text, finish_reason])).toEqual([
      [0, "a", "length"],
      [1, "b", "length"],
      [2, "c", "length"],
    ]);
  });

  test("pieces come in the order of the news; those that nobody took are joined, end and reason included", async () => {
    const { generation, say } = setUp({ n: 2, stop: "." });
    say(1, "x");
    say(0, "a");
    say(1, "yz.");
    const pieces = generation[Symbol.asyncIterator]();
    expect((await pieces.next()).value).toMatchObject({
      index: 1,
      text: "xyz",
      token_ids: [120, 121, 122, 46],
      finish_reason: "stop",
      stop_reason: ".",
    });
    expect((await pieces.next()).value).toMatchObject({ index: 0, text: "a", finish_reason: null });
    const waiting = pieces.next();
    say(0, "b", "length");
    expect((await waiting).value).toMatchObject({ index: 0, text: "b", token_ids: [98], finish_reason: "length" });
    expect((await pieces.next()).done).toBe(true);
  });
});

describe("failure", () => {
  const broken = new FastgenError("device", "the device is gone");

  test("of one choice gives up the others that run, and no others", async () => {
    const { generation, aborted, say, give } = setUp({ n: 3 });
    const awaited = outcome(generation.completion());
    say(0, "done", "length");
    say(1, "b");
    give(2, -1, { finish: "error", error: broken });
    // The engine has ended choice 2 itself; to give it up once more is allowed.
    expect(aborted.filter((choice) => choice !== 2)).toEqual([1]);
    expect(generation.ended).toBe(true);
    expect(await awaited).toBe(broken);
    expect(await outcome(generation.completion())).toBe(broken);
  });

  test("is told after the pieces before it; the first one stays", async () => {
    const { generation, say, give } = setUp();
    say(0, "ab");
    give(0, -1, { finish: "error", error: broken });
    generation.fail(new FastgenError("internal", "later"));
    generation.abort();
    const pieces = generation[Symbol.asyncIterator]();
    expect((await pieces.next()).value).toMatchObject({ text: "ab" });
    expect(await outcome(pieces.next())).toBe(broken);
  });

  test("wakes everybody who waits", async () => {
    const { generation } = setUp();
    const waiting = [generation.completion(), generation.completion(), join(generation)].map(outcome);
    generation.fail(broken);
    expect(await Promise.all(waiting)).toEqual([broken, broken, broken]);
  });

  test("an engine that ends a sequence with an error that it does not tell is an abort", async () => {
    const { generation, give } = setUp();
    give(0, -1, { finish: "error" });
    expect(await outcome(generation.completion())).toMatchObject({ kind: "aborted" });
  });

  test("news after it changes nothing", async () => {
    const { generation, say } = setUp({ n: 2 });
    generation.fail(broken);
    say(0, "late", "length");
    expect(generation.usage.completion_tokens).toBe(0);
    expect(await outcome(join(generation))).toBe(broken);
  });
});

describe("abort", () => {
  test("gives up every choice that runs and calls back once", async () => {
    const { generation, aborted, say } = setUp({ n: 3 });
    let ends = 0;
    generation.onEnd(() => ends++);
    say(1, "b", "length");
    generation.abort();
    generation.abort();
    expect([aborted, ends]).toEqual([[0, 2], 1]);
    expect(await outcome(generation.completion())).toMatchObject({ kind: "aborted" });
    // Whoever comes later is called at once.
    generation.onEnd(() => ends++);
    expect(ends).toBe(2);
  });

  test("after the end does nothing", async () => {
    const { generation, aborted, say } = setUp();
    say(0, "a", "length");
    generation.abort();
    expect(aborted).toEqual([]);
    expect((await generation.completion()).choices[0]!.text).toBe("a");
  });

  test("is what leaving the loop early does, and reading to the end does not", async () => {
    const early = setUp({ n: 2 });
    early.say(0, "a");
    for await (const _ of early.generation) break;
    expect(early.aborted).toEqual([0, 1]);
    const whole = setUp();
    whole.say(0, "a", "length");
    for await (const _ of whole.generation);
    expect(whole.aborted).toEqual([]);
    expect((await whole.generation.completion()).choices[0]!.text).toBe("a");
  });
});

/** What should come of a choice's bytes, worked out from the whole. */
function expected(
  bytes: number[],
  stops: string[],
  minTokens: number,
): { text: string; stop: string | null; ids: number } {
  let shown = "";
  let pending: number[] = [];
  let from = 0;
  for (const [i, byte] of bytes.entries()) {
    pending.push(byte);
    const piece = new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(pending), { stream: true });
    if (piece === "") continue;
    pending = [];
    for (const unit of piece) {
      shown += unit;
      if (i < minTokens) {
        from = shown.length;
        continue;
      }
      const ends = stops.filter((stop) => shown.slice(from).endsWith(stop)).sort((a, b) => b.length - a.length);
      if (ends[0] !== undefined) return { text: shown.slice(0, -ends[0].length), stop: ends[0], ids: i + 1 };
    }
  }
  if (pending.length > 0) shown += "\ufffd";
  return { text: shown, stop: null, ids: bytes.length };
}

test("any choices, stop strings and readers: each choice is what its bytes say, and pieces add up to it", async () => {
  const texts = fc.string({ unit: fc.constantFrom("a", "b", "ab", "é", "👋", "\n"), maxLength: 12 });
  const stops = fc.array(fc.constantFrom("ab", "aba", "bb", "é", "👋a", "\n"), { maxLength: 2 });
  let stopped = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(texts, { minLength: 1, maxLength: 3 }),
      stops,
      fc.nat(3),
      fc.infiniteStream(fc.nat(5)),
      async (choices, stop, min_tokens, random) => {
        const { generation, aborted, give } = setUp({ n: choices.length, stop, min_tokens });
        const bytes = choices.map((text) => [...Buffer.from(`${text}.`)]);
        const at = choices.map(() => 0);
        const taken: Chunk[] = [];
        const read = (async () => {
          for await (const piece of generation) {
            taken.push(piece);
            // A reader that lags behind now and then.
            for (let i = random.next().value; i > 0; i--) await null;
          }
        })();
        for (let left = bytes.flat().length; left > 0; left--) {
          let index = random.next().value % bytes.length;
          while (at[index] === bytes[index]!.length) index = (index + 1) % bytes.length;
          const token = bytes[index]![at[index]!++]!;
          give(index, token, { finish: at[index] === bytes[index]!.length ? "length" : "" });
          if (random.next().value === 0) await null;
        }
        await read;
        const whole = (await generation.completion()).choices;
        const joined = await join(
          (async function* () {
            yield* taken;
          })(),
        );
        expect(joined).toEqual(whole);
        for (const [index, choice] of whole.entries()) {
          const want = expected(bytes[index]!, stop, min_tokens);
          expect([choice.text, choice.stop_reason]).toEqual([want.text, want.stop]);
          expect(choice.token_ids).toEqual(bytes[index]!.slice(0, want.ids));
          expect(choice.finish_reason).toBe(want.stop === null ? "length" : "stop");
          // The engine is told of a stop string unless it has ended the sequence itself.
          expect(aborted.includes(index)).toBe(want.stop !== null && want.ids < bytes[index]!.length);
          if (want.stop !== null) stopped++;
        }
        expect(generation.usage.completion_tokens).toBe(
          whole.reduce((sum, { token_ids }) => sum + token_ids.length, 0),
        );
      },
    ),
    { numRuns: 300 },
  );
  expect(stopped).toBeGreaterThan(30);
});

test("a grammar's last token is shown, and is no stop_reason; one that cannot go on says why", async () => {
  const { generation, give, say } = setUp({ n: 3 });
  say(0, "{}", "stop");
  say(1, "{");
  give(1, -1, { finish: "length", reason: "no token is left" });
  say(2, "[]");
  give(2, -1, { finish: "stop" });
  const { choices } = await generation.completion();
  expect(choices.map(({ text, finish_reason, stop_reason }) => [text, finish_reason, stop_reason])).toEqual([
    ["{}", "stop", null],
    ["{", "length", "no token is left"],
    ["[]", "stop", null],
  ]);
});
