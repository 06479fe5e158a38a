/** The library with a tiny model of random weights: how it handles requests, whatever the model answers. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { Fastgen, FastgenError, type SamplingParams } from "fastgen";
import { makeTinyModel, TINY_CONTEXT, type TinyModel } from "./fixtures/tiny-model.ts";

let model: TinyModel;
let fastgen: Fastgen;
const load = (options = {}) =>
  Fastgen.load(model.directory, { load_format: "dummy", threads: 1, max_num_seqs: 4, ...options });

beforeAll(async () => {
  model = makeTinyModel();
  fastgen = await load();
});
afterAll(async () => {
  await fastgen.close();
  model.remove();
});

const prompt = [5, 6, 7, 8];
/** Does not end before max_tokens. */
const long: SamplingParams = { temperature: 0, ignore_eos: true };

async function refusal(promise: Promise<unknown>): Promise<FastgenError> {
  const error = await promise.then(
    () => new Error("was accepted"),
    (thrown) => thrown,
  );
  expect(error).toBeInstanceOf(FastgenError);
  return error;
}

/** Waits until nothing runs in the engine: aborted sequences are gone. */
async function idle() {
  for (let i = 0; i < 500; i++) {
    const { running, waiting, swapped } = fastgen.stats;
    if (running + waiting + swapped === 0) return;
    await Bun.sleep(10);
  }
  throw new Error(`still busy: ${JSON.stringify(fastgen.stats)}`);
}

test("reports what was loaded", () => {
  expect(fastgen.model).toMatchObject({ max_model_len: TINY_CONTEXT, vocab_size: model.vocabSize, dtype: "float32" });
  expect(fastgen.capacity.pages).toBeGreaterThan(0);
  expect(fastgen.alive).toBe(true);
});

test("iterating and awaiting give the same result; usage is counted", async () => {
  const params = { ...long, max_tokens: 20, logprobs: 2 };
  const whole = await fastgen.generate(prompt, params);
  const generation = await fastgen.start(Int32Array.from(prompt), params);
  expect([...generation.prompt_token_ids]).toEqual(prompt);
  let text = "";
  const ids: number[] = [];
  let finish: string | null = null;
  for await (const chunk of generation) {
    expect(finish).toBeNull();
    text += chunk.text;
    ids.push(...chunk.token_ids);
    expect(chunk.logprobs).toHaveLength(chunk.token_ids.length);
    finish = chunk.finish_reason;
  }
  const [choice] = whole.choices;
  expect({ text, ids, finish }).toEqual({ text: choice!.text, ids: choice!.token_ids, finish: "length" });
  expect(generation.usage).toMatchObject({ prompt_tokens: 4, completion_tokens: 20 });
  expect(choice!.token_ids).toHaveLength(20);
  expect(fastgen.detokenize(ids)).toBe(text);
  for (const [i, position] of choice!.logprobs!.entries()) {
    expect(position.id).toBe(ids[i]!);
    expect(position.top).toHaveLength(2);
    expect(position.top[0]!.logprob).toBeCloseTo(position.logprob, 5);
    expect(position.token).toBe(fastgen.tokenText(position.id));
  }
  expect(await generation.completion()).toMatchObject({ choices: whole.choices });
});

test("choice i uses seed + i, and is the same alone as together with others", async () => {
  const params = { temperature: 1.5, max_tokens: 12, ignore_eos: true };
  const three = await fastgen.generate(prompt, { ...params, n: 3, seed: 7 });
  expect(three.choices.map((choice) => choice.index)).toEqual([0, 1, 2]);
  for (const [i, choice] of three.choices.entries()) {
    const alone = await fastgen.generate(prompt, { ...params, seed: 7 + i });
    expect(alone.choices[0]!.token_ids).toEqual(choice.token_ids);
  }
  expect(three.usage.completion_tokens).toBe(36);
});

test("a stop string ends the output: text before it, ids and logprobs up to it", async () => {
  const params = { temperature: 1.5, seed: 1, ignore_eos: true, max_tokens: 60, logprobs: 0 };
  const [free] = (await fastgen.generate(prompt, params)).choices;
  const pieces = free!.token_ids.map((id) => fastgen.tokenText(id));
  // A stop string from the middle of the output that spans two tokens.
  const at = pieces.findIndex((piece, i) => i > 10 && /^[\w ]{2,}$/.test(piece) && /^[\w ]{2,}$/.test(pieces[i + 1]!));
  expect(at).toBeGreaterThan(0);
  const stop = pieces[at]!.slice(-1) + pieces[at + 1]!.slice(0, 1);
  const first = free!.text.indexOf(stop);
  const [stopped] = (await fastgen.generate(prompt, { ...params, stop: ["\u0000never", stop] })).choices;
  expect(stopped).toMatchObject({ text: free!.text.slice(0, first), finish_reason: "stop", stop_reason: stop });
  expect(stopped!.token_ids).toEqual(free!.token_ids.slice(0, stopped!.token_ids.length));
  expect(fastgen.detokenize(stopped!.token_ids)).toContain(stop);
  expect(fastgen.detokenize(stopped!.token_ids.slice(0, -1))).not.toContain(stop);
  expect(stopped!.logprobs).toHaveLength(stopped!.token_ids.length);
  const kept = await fastgen.generate(prompt, { ...params, stop, include_stop_str_in_output: true });
  expect(kept.choices[0]!.text).toBe(free!.text.slice(0, first + stop.length));
  const later = await fastgen.generate(prompt, { ...params, stop, min_tokens: 60 });
  expect(later.choices[0]).toMatchObject({ text: free!.text, finish_reason: "length", stop_reason: null });
});

test("a stop id ends the output and is its stop_reason", async () => {
  const [free] = (await fastgen.generate(prompt, { ...long, max_tokens: 10 })).choices;
  const id = free!.token_ids[4]!;
  const upTo = free!.token_ids.indexOf(id) + 1;
  const [stopped] = (await fastgen.generate(prompt, { ...long, max_tokens: 10, stop_token_ids: [id] })).choices;
  expect(stopped).toMatchObject({ token_ids: free!.token_ids.slice(0, upTo), finish_reason: "stop", stop_reason: id });
  expect(stopped!.text).toBe(fastgen.detokenize(free!.token_ids.slice(0, upTo - 1)));
});

test("prompt_logprobs, also when nothing is generated", async () => {
  const { prompt_logprobs, choices } = await fastgen.generate(prompt, { max_tokens: 0, prompt_logprobs: 1 });
  expect(prompt_logprobs).toHaveLength(prompt.length);
  expect(prompt_logprobs![0]).toBeNull();
  expect(prompt_logprobs!.slice(1).map((position) => position!.id)).toEqual(prompt.slice(1));
  expect(choices[0]).toMatchObject({ token_ids: [], text: "", finish_reason: "length" });
  const nothing = await fastgen.generate(prompt, { max_tokens: 0 });
  expect(nothing.choices[0]).toMatchObject({ token_ids: [], finish_reason: "length" });
});

test("impossible requests are refused, and the error names the field", async () => {
  const over = new Array(TINY_CONTEXT).fill(5);
  const cases: [Parameters<Fastgen["generate"]>, string][] = [
    [[over], "prompt"],
    [[[]], "prompt"],
    [[[model.vocabSize]], "prompt"],
    [[[1.5]], "prompt"],
    [[{ messages: [{ role: "user", content: "word ".repeat(2000) }] }], "messages"],
    [[prompt, { max_tokens: TINY_CONTEXT }], "max_tokens"],
    [[prompt, { temperature: -1 }], "temperature"],
    [[prompt, { stop_token_ids: [model.vocabSize] }], "stop_token_ids"],
  ];
  for (const [args, param] of cases) {
    const error = await refusal(fastgen.generate(...args));
    expect({ kind: error.kind, param: error.param }).toEqual({ kind: "invalid_request", param });
  }
  const tooLong = await refusal(fastgen.generate(over));
  expect(tooLong.message).toMatch(new RegExp(`context length is ${TINY_CONTEXT} tokens.*${TINY_CONTEXT} tokens long`));
});

test("aborting rejects and frees the sequence; leaving the loop frees it too", async () => {
  /** Tokens that were generated meanwhile: far fewer than the sequences would give if they went on to their ends. */
  const generated = async (body: () => Promise<void>) => {
    const before = fastgen.stats.generated_tokens;
    await body();
    await idle();
    return fastgen.stats.generated_tokens - before;
  };
  // Many more than run at once: a second's work, of which next to nothing is done.
  const many = { ...long, n: 64 };
  const whole = many.n * (TINY_CONTEXT - prompt.length);
  const aborting = new AbortController();
  const signalled = await generated(async () => {
    const generation = await fastgen.start(prompt, many, { signal: aborting.signal });
    const first = await generation[Symbol.asyncIterator]().next();
    expect(first.done).toBe(false);
    aborting.abort();
    expect((await refusal(generation.completion())).kind).toBe("aborted");
  });
  expect(signalled).toBeLessThan(whole / 2);
  const left = await generated(async () => {
    for await (const chunk of await fastgen.start(prompt, many)) if (chunk.token_ids.length > 0) break;
  });
  expect(left).toBeLessThan(whole / 2);
  const byHand = await generated(async () => {
    const generation = await fastgen.start(prompt, many);
    generation.abort();
    expect((await refusal(generation.completion())).kind).toBe("aborted");
  });
  expect(byHand).toBeLessThan(whole / 2);
  const before = AbortSignal.abort();
  expect((await refusal(fastgen.start(prompt, long, { signal: before }))).kind).toBe("aborted");
});

test("many prompts: results come as they finish, and a failing one disturbs no other", async () => {
  const inputs = [prompt, [99_999_999], { prompt: "hello", params: { max_tokens: 3 } }, prompt];
  const results = new Map<number, unknown>();
  for await (const result of fastgen.generateAll(inputs, { ...long, max_tokens: 9 })) {
    results.set(result.index, result.error ?? result.completion.choices[0]!.token_ids.length);
  }
  expect(results.get(1)).toBeInstanceOf(FastgenError);
  expect([results.get(0), results.get(2), results.get(3)]).toEqual([9, 3, 9]);
});

test("an endless input is read only as slots free up", async () => {
  let read = 0;
  function* endless() {
    for (;;) {
      read++;
      yield prompt;
    }
  }
  let done = 0;
  for await (const { completion } of fastgen.generateAll(endless(), { ...long, max_tokens: 2 })) {
    expect(completion!.choices[0]!.token_ids).toHaveLength(2);
    if (++done === 30) break;
  }
  expect(read).toBeLessThan(30 + 4 * 4);
  await idle();
});

test("more requests than slots give the same results as one by one", async () => {
  const prompts = Array.from({ length: 12 }, (_, i) =>
    Array.from({ length: 1 + 7 * i }, (_, k) => 5 + ((i * 31 + k * 7) % 50)),
  );
  const params = { ...long, max_tokens: 16 };
  const alone: number[][] = [];
  for (const one of prompts) alone.push((await fastgen.generate(one, params)).choices[0]!.token_ids);
  const together = await Promise.all(prompts.map((one) => fastgen.generate(one, params)));
  expect(together.map(({ choices }) => choices[0]!.token_ids)).toEqual(alone);
});

test("close() rejects what runs, and no more requests are accepted", async () => {
  const other = await load();
  const running = other.generate(prompt, long);
  const all = (async () => {
    for await (const _ of other.generateAll([prompt, prompt], long)) {
    }
  })();
  await Bun.sleep(5);
  const [closed, a, b] = await Promise.allSettled([other.close(), running, all]);
  expect([closed.status, a.status, b.status]).toEqual(["fulfilled", "rejected", "rejected"]);
  expect(other.alive).toBe(false);
  expect((await refusal(other.generate(prompt))).kind).toBe("unavailable");
  await other.close();
});

test("loading reports wrong options, missing models and an abort", async () => {
  expect((await refusal(load({ max_model_len: TINY_CONTEXT + 1 }))).param).toBe("max_model_len");
  expect((await refusal(load({ device: "cuda", chat_template: "x" }))).kind).toBe("device");
  expect((await refusal(Fastgen.load("/nowhere/at/all"))).kind).toBe("model");
  expect((await refusal(load({ signal: AbortSignal.abort() }))).kind).toBe("aborted");
  expect((await refusal(load({ chat_template: "{% if %}" }))).kind).toBe("model");
});

test("the user's sampling defaults are those of requests that set none", async () => {
  expect((await refusal(load({ override_generation_config: { top_p: 2 } }))).param).toBe(
    "override_generation_config.top_p",
  );
  await using greedy = await Fastgen.load(undefined, {
    device: "cpu",
    threads: 1,
    generation_config: "vllm",
    override_generation_config: { max_new_tokens: 3 },
  });
  // The built-in model's own file sets a temperature.
  expect(greedy.default_params).toEqual({ max_tokens: 3 });
  expect((await greedy.generate("Hi", { ignore_eos: true })).choices[0]!.token_ids.length).toBe(3);
});

test("several engines answer as one does, and all are told what one is", async () => {
  await using several = await load({ data_parallel_size: 2, threads: 2 });
  expect(several.capacity.data_parallel_size).toBe(2);
  const params = { ...long, max_tokens: 8, logprobs: 0 };
  const prompts = Array.from({ length: 6 }, (_, i) => [5, 6, 7, i + 1]);
  const answers = async (of: Fastgen) => {
    const all = await Promise.all(prompts.map((one) => of.generate(one, params)));
    return all.map(({ choices }) => choices[0]!.token_ids);
  };
  expect(await answers(several)).toEqual(await answers(fastgen));
  const generated = () => several.engines.map(({ stats }) => stats.generated_tokens);
  expect(generated()).toEqual([24, 24]);
  expect(several.stats.generated_tokens).toBe(48);
  // The choices of one request stay in one engine.
  const { choices } = await several.generate(prompt, { ...params, n: 3 });
  expect(choices).toHaveLength(3);
  expect(generated().toSorted((a, b) => a - b)).toEqual([24, 48]);
  const kept = await Promise.all(prompts.map((one) => several.start(one, { ...params, max_tokens: 40 })));
  await several.pause({ mode: "keep" });
  const stopped = generated();
  await Bun.sleep(20);
  expect(generated()).toEqual(stopped);
  await several.resume();
  for (const one of kept) expect((await one.completion()).usage.completion_tokens).toBe(40);
  await several.sleep({ mode: "wait" });
  expect(several.is_sleeping).toBe(true);
  await several.wakeUp();
  expect(several.is_sleeping).toBe(false);
  let done = 0;
  for await (const { completion } of several.generateAll(prompts, params)) done += Number(completion !== undefined);
  expect(done).toBe(prompts.length);
});

test("a request whose observer fails ends with that error, and the others go on", async () => {
  const observer = {
    started() {},
    token() {
      throw new Error("the observer's bug");
    },
    ended() {},
  };
  const other = fastgen.generate(prompt, { ...long, max_tokens: 20 });
  const error = await refusal(fastgen.generate(prompt, { ...long, max_tokens: 20 }, { observer }));
  expect(error).toMatchObject({ kind: "internal", message: "the observer's bug" });
  expect((await other).choices[0]!.token_ids).toHaveLength(20);
  await idle();
});
