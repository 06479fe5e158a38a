/** Every sampling parameter arrives at the engine where it belongs. */
import { expect, test } from "bun:test";
import { PLAIN } from "../engine/protocol.ts";
import { GREEDY } from "../engine-config.ts";
import type { SamplingParams } from "../params.ts";
import { engineRequests, resolveParams } from "./request.ts";

const limits = { vocabSize: 100, maxContext: 64, stopIds: [2, 3] };
const prompt = Int32Array.of(5, 6, 7);

const engineRequest = (params: SamplingParams, defaults: SamplingParams = {}) =>
  engineRequests(resolveParams(params, defaults), prompt, limits, "prompt")[0]!;

test("each field by itself", () => {
  const { sampling, ...request } = engineRequest({
    temperature: 0.25,
    top_p: 0.5,
    top_k: 7,
    min_p: 0.125,
    repetition_penalty: 1.5,
    presence_penalty: 0.75,
    frequency_penalty: -0.5,
    logit_bias: { 9: 2.5, 40: -100 },
    seed: 77,
    max_tokens: 20,
    min_tokens: 4,
    stop_token_ids: [11],
    logprobs: 3,
    logprobs_mode: "processed_logprobs",
    prompt_logprobs: 2,
  });
  expect(sampling).toEqual({
    temperature: 0.25,
    topP: 0.5,
    topK: 7,
    minP: 0.125,
    repetitionPenalty: 1.5,
    presencePenalty: 0.75,
    frequencyPenalty: -0.5,
    biasIds: Int32Array.of(9, 40),
    bias: Float32Array.of(2.5, -100),
    processedLogprobs: true,
    seed: 77n,
  });
  expect(request).toEqual({
    id: 0,
    prompt,
    maxTokens: 20,
    minTokens: 4,
    stopIds: Int32Array.of(2, 3, 11),
    logprobs: 3,
    promptLogprobs: 2,
    ...PLAIN,
  });
});

test("what was not asked for changes nothing", () => {
  const { sampling, logprobs, promptLogprobs, minTokens } = engineRequest({ temperature: 0, seed: 0 });
  expect({ ...sampling }).toMatchObject({ ...GREEDY, seed: 0n });
  expect([logprobs, promptLogprobs, minTokens]).toEqual([-1, -1, 0]);
});

test("top_k: off in either spelling, and never more than there are tokens", () => {
  expect([-1, 0, 1, 100, 101, 1_000_000].map((top_k) => engineRequest({ top_k }).sampling.topK)).toEqual([
    0, 0, 1, 100, 100, 100,
  ]);
});

test("null is an explicit value: it puts the model's default aside", () => {
  expect(engineRequest({ max_tokens: null }, { max_tokens: 5 }).maxTokens).toBe(61);
  expect(engineRequest({ max_tokens: undefined }, { max_tokens: 5 }).maxTokens).toBe(5);
  expect(engineRequest({}, { seed: 9 }).sampling.seed).toBe(9n);
});
