import { expect, test } from "bun:test";
import { FastgenError } from "../errors.ts";
import type { SamplingParams } from "../params.ts";
import { checkPrompt, checkTextLength, engineRequests, resolveParams } from "./request.ts";

const limits = { vocabSize: 100, maxContext: 32, stopIds: [2, 3] };
const prompt = Int32Array.of(5, 6, 7);

function requests(params: SamplingParams, ids = prompt) {
  return engineRequests(resolveParams(params, {}), ids, limits, "prompt");
}

function refusal(body: () => unknown): FastgenError {
  try {
    body();
  } catch (error) {
    if (error instanceof FastgenError && error.kind === "invalid_request") return error;
    throw error;
  }
  throw new Error("was accepted");
}

test("defaults give way to explicit values, falsy ones included", () => {
  const defaults = { temperature: 0.6, top_p: 0.9 };
  expect(resolveParams({}, defaults)).toMatchObject({ temperature: 0.6, top_p: 0.9 });
  expect(resolveParams({ temperature: 0, top_p: undefined }, defaults)).toMatchObject({ temperature: 0, top_p: 0.9 });
});

test("a wrong or unknown parameter is refused by name", () => {
  expect(refusal(() => resolveParams({ temperature: -1 }, {})).param).toBe("temperature");
  expect(refusal(() => resolveParams({ temperature: Number.NaN }, {})).param).toBe("temperature");
  expect(refusal(() => resolveParams({ stop: ["a", "x".repeat(1000)] }, {})).param).toBe("stop[1]");
  const unknown = refusal(() => resolveParams({ best_of: 3 } as SamplingParams, {}));
  expect(unknown.param).toBe("best_of");
  expect(unknown.message).toContain("best_of");
});

test("numbers are float32: one too small for it is 0, or stays above 0 where it must be", () => {
  const { sampling } = requests({ temperature: 0.7, min_p: 0.1, presence_penalty: -1.9, logit_bias: { 4: 0.3 } })[0]!;
  expect(sampling).toMatchObject({
    temperature: Math.fround(0.7),
    minP: Math.fround(0.1),
    presencePenalty: Math.fround(-1.9),
    bias: Float32Array.of(0.3),
  });
  for (const tiny of [1e-46, 2 ** -149, 2 ** -127]) {
    const small = { temperature: tiny, min_p: tiny, frequency_penalty: -tiny, top_p: tiny, repetition_penalty: tiny };
    expect(requests(small)[0]!.sampling).toMatchObject({
      temperature: 0,
      minP: 0,
      frequencyPenalty: 0,
      topP: 2 ** -126,
      repetitionPenalty: 2 ** -126,
    });
  }
  expect(requests({ top_p: 1 - 2 ** -30 })[0]!.sampling.topP).toBe(1);
});

test("ids outside the vocabulary are refused", () => {
  expect(refusal(() => requests({ stop_token_ids: [100] })).param).toBe("stop_token_ids");
  expect(refusal(() => requests({ logit_bias: { 4000000000: 1 } })).param).toBe("logit_bias");
  for (const bad of [[-1], [100], [1.5], [Number.NaN], []]) {
    expect(refusal(() => checkPrompt(bad, limits, "prompt")).param).toBe("prompt");
  }
});

test("max_tokens null reaches to the end of the context; a request over it is refused with both numbers", () => {
  expect(requests({})[0]!.maxTokens).toBe(29);
  expect(requests({ max_tokens: 29 })[0]!.maxTokens).toBe(29);
  const tooMany = refusal(() => requests({ max_tokens: 30 }));
  expect(tooMany.param).toBe("max_tokens");
  expect(tooMany.message).toContain("at most 29");
  const tooLong = refusal(() => requests({}, new Int32Array(32).fill(1)));
  expect(tooLong.param).toBe("prompt");
  expect(tooLong.message).toStartWith(
    "This model's maximum context length is 32 tokens. However, the prompt is 32 tokens",
  );
  for (const error of [tooMany, tooLong]) {
    expect(error.message).toStartWith("This model's maximum context length is 32 tokens. ");
    expect(error.code).toBe("context_length_exceeded");
  }
  expect(requests({ max_tokens: 0, prompt_logprobs: 0 }, new Int32Array(32).fill(1))[0]!.maxTokens).toBe(0);
  expect(refusal(() => requests({ max_tokens: 3, min_tokens: 4 })).param).toBe("min_tokens");
});

test("scores begin with a token of the prompt after the first", () => {
  const from = (firstScored: number | undefined) =>
    engineRequests(resolveParams({}, {}), Int32Array.of(1, 2, 3), limits, "prompt", false, { firstScored })[0]!
      .scoreFrom;
  expect([from(undefined), from(1), from(2)]).toEqual([0, 0, 1]);
  for (const wrong of [0, 3, 1.5, -1]) expect(refusal(() => from(wrong)).param).toBe("first_scored_token");
  expect(requests({ prompt_logprobs: 0 }, Int32Array.of(1))[0]!.scoreFrom).toBe(0);
});

test("choices differ by their seed only, and the first one reports the prompt", () => {
  const [a, b] = requests({ n: 2, seed: -2, prompt_logprobs: 3, logprobs: 0 });
  expect([a!.sampling.seed, b!.sampling.seed]).toEqual([2n ** 64n - 2n, 2n ** 64n - 1n]);
  expect([a!.promptLogprobs, b!.promptLogprobs, a!.logprobs]).toEqual([3, -1, 0]);
  for (const random of [{}, { seed: null }, { seed: -1 }, { seed: -1n }]) {
    expect(requests(random)[0]!.sampling.seed).not.toBe(requests(random)[0]!.sampling.seed);
  }
});

test("seeds are exact over the whole range of 64 bits, and nothing beyond it is one", () => {
  for (const seed of [2n ** 63n - 1n, -(2n ** 63n), 2n ** 53n + 1n, 5n]) {
    expect(requests({ seed })[0]!.sampling.seed).toBe(BigInt.asUintN(64, seed));
  }
  for (const seed of [2n ** 63n, -(2n ** 63n) - 1n, 2 ** 60, 1.5, Number.NaN, "1"]) {
    const error = refusal(() => requests({ seed } as SamplingParams));
    expect([error.param, error.message]).toEqual(["seed", "seed must be a whole number from -2^63 to 2^63 - 1"]);
  }
});

test("messages are sentences about the field", () => {
  const says = (params: object) => refusal(() => resolveParams(params as SamplingParams, {})).message;
  expect(says({ temperature: "hot" })).toBe('temperature must be a number, not "hot"');
  expect(says({ temperature: JSON.parse("1e400") })).toBe("temperature must be a number, not one beyond 1.8e308");
  expect(says({ top_p: -0.5 })).toBe("top_p must be at least 0, not -0.5");
  expect(says({ repetition_penalty: 0 })).toBe("repetition_penalty must be above 0, not 0");
  expect(says({ top_p: 1.5 })).toBe("top_p must be at most 1, not 1.5");
  expect(says({ n: 1.5 })).toBe("n must be a whole number, not 1.5");
  expect(says({ ignore_eos: "yes" })).toBe('ignore_eos must be true or false, not "yes"');
  expect(says({ stop: ["a", ""] })).toBe("stop[1] must not be empty");
  expect(says({ stop: ["a", 5] })).toBe("stop[1] must be a string, not 5");
  expect(says({ logit_bias: { a: 1 } })).toBe("logit_bias.a must be a token id");
  expect(says({ temprature: 1 })).toBe("temprature is an unknown or unsupported field; leave it out");
});

test("ids: allowed ones and those whose log probabilities are reported are the model's", () => {
  const [one, two] = requests({ allowed_token_ids: [5, 99], n: 2 });
  expect(one!.allowed).toEqual(Uint32Array.of(1 << 5, 0, 0, 1 << 3));
  expect(two!.allowed).toBe(one!.allowed);
  for (const none of [null, []]) expect(requests({ allowed_token_ids: none })[0]!.allowed).toBeNull();
  expect(refusal(() => requests({ allowed_token_ids: [100] })).param).toBe("allowed_token_ids");
  expect(requests({ logprobs: 0, logprob_token_ids: [7] })[0]!.logprobIds).toEqual(Int32Array.of(7));
  expect(refusal(() => requests({ logprobs: 0, logprob_token_ids: [100] })).param).toBe("logprob_token_ids");
  expect(refusal(() => requests({ logprob_token_ids: [7] })).message).toContain("needs logprobs");
  const both = { logprobs: 0, prompt_logprobs: 0, logprob_token_ids: [7] };
  expect(refusal(() => requests(both)).param).toBe("logprob_token_ids");
});

test("ignore_eos sets the model's stop ids aside, not the caller's", () => {
  expect([...requests({ stop_token_ids: [9, 2] })[0]!.stopIds]).toEqual([2, 3, 9]);
  expect([...requests({ stop_token_ids: [9], ignore_eos: true })[0]!.stopIds]).toEqual([9]);
});

test("a text that no tokenisation could fit is refused before it is tokenised", () => {
  const longest = 10;
  const most = limits.maxContext * longest * 3;
  checkTextLength("x".repeat(most), longest, limits, "prompt");
  const error = refusal(() => checkTextLength("x".repeat(most + 1), longest, limits, "prompt"));
  expect(error).toMatchObject({ param: "prompt", code: "context_length_exceeded" });
  expect(error.message).toStartWith("This model's maximum context length is 32 tokens. ");
});

test("max_tokens that nobody asked for is cut to the context, one that was asked for is refused", () => {
  const params = resolveParams({ max_tokens: 30 }, {});
  expect(engineRequests(params, prompt, limits, "prompt", true)[0]!.maxTokens).toBe(29);
  expect(refusal(() => engineRequests(params, prompt, limits, "prompt")).param).toBe("max_tokens");
});

test("each choice gets a matcher of its own, and none is made for a request that is refused", () => {
  let made = 0;
  const grammar = { newMatcher: () => ++made, after: [Int32Array.of(7)] };
  const thinking = { budget: 5, isBegin: [], end: Int32Array.of(7), isEnd: [Int32Array.of(7)] };
  const withGrammar = (params: SamplingParams) =>
    engineRequests(resolveParams(params, {}), prompt, limits, "prompt", false, { grammar, thinking });
  for (const wrong of [{ max_tokens: 100 }, { stop_token_ids: [100] }, { logit_bias: { 100: 1 } }]) {
    expect(refusal(() => withGrammar({ n: 2, ...wrong })).kind).toBe("invalid_request");
  }
  expect(made).toBe(0);
  const all = withGrammar({ n: 3 });
  expect(all.map((one) => one.grammar)).toEqual([1, 2, 3].map((matcher) => ({ matcher, after: grammar.after })));
  expect(all.every((one) => one.thinking === thinking)).toBe(true);
  expect(requests({}).map((one) => [one.grammar, one.thinking])).toEqual([[null, null]]);
});
