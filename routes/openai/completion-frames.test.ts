/** Frames of pieces that a run makes seldom: of several tokens, without text, of a choice whose prompt is another. */
import { expect, test } from "bun:test";
import type { Chunk, PositionLogprobs } from "../../src/types.ts";
import type { Run } from "../run.ts";
import { CompletionFrames, type Fields } from "./completion-frames.ts";

const PROMPTS = [[1], [2, 3]];

function frames(fields: Partial<Fields> = {}) {
  const run = {
    n: 2,
    weightVersion: "0",
    generations: PROMPTS.map((prompt_token_ids) => ({ prompt_token_ids })),
    generationOf: (index: number) => ({ prompt_token_ids: PROMPTS[Math.floor(index / 2)]! }),
  } as unknown as Run;
  const made = new CompletionFrames({ id: "x" }, run, fields as Fields, null);
  return (chunk: Partial<Chunk>) => {
    const whole = {
      index: 0,
      text: "",
      token_ids: [],
      logprobs: null,
      finish_reason: null,
      stop_reason: null,
      weight_versions: [{ start: 0, version: "0" }],
      ...chunk,
    };
    const text = made.chunk(whole as Chunk);
    return text
      .split("\n\n")
      .slice(0, -1)
      .map((frame) => JSON.parse(frame.slice("data: ".length)));
  };
}

function position(token: string, text_offset: number): PositionLogprobs {
  return { id: 9, token, bytes: [], logprob: -1, top: [], rank: 1, text_offset };
}

test("a piece counts as many tokens as it has, of its own choice and beside its own prompt", () => {
  const write = frames({ stream_options: { continuous_usage_stats: true } });
  const usageOf = (chunk: Partial<Chunk>) => write(chunk).at(-1).usage;
  expect(usageOf({ index: 0, text: "ab", token_ids: [1, 2] })).toMatchObject({
    prompt_tokens: 1,
    completion_tokens: 2,
  });
  expect(usageOf({ index: 3, text: "a", token_ids: [1] })).toMatchObject({ prompt_tokens: 2, completion_tokens: 1 });
  // A piece whose text is held back counts too, with the next frame.
  expect(write({ index: 3, token_ids: [2, 3] })).toEqual([]);
  expect(usageOf({ index: 3, text: "b", token_ids: [4] })).toMatchObject({ completion_tokens: 4, total_tokens: 6 });
});

test("a piece without text has a frame where it brings ids or log probabilities", () => {
  const [, ids] = frames({ return_token_ids: true })({ token_ids: [7] });
  expect(ids.choices[0]).toMatchObject({ text: "", token_ids: [7] });
  const [scored] = frames()({ token_ids: [7], logprobs: [position("a", 0)] });
  expect(scored.choices[0].logprobs).toMatchObject({ tokens: ["a"], token_logprobs: [-1] });
});

test("every choice begins with the ids of its own prompt, and its last piece has its own", () => {
  const write = frames({ return_token_ids: true });
  const last = { text: "a", token_ids: [7], finish_reason: "stop" as const };
  for (const [index, prompt] of [PROMPTS[0], PROMPTS[0], PROMPTS[1], PROMPTS[1]].entries()) {
    const [opening, end] = write({ index, ...last });
    expect(opening.choices[0]).toMatchObject({ index, prompt_token_ids: prompt });
    expect(end.choices[0]).toMatchObject({ index, token_ids: [7], finish_reason: "stop" });
  }
});

test("tokens of a stop string that was cut off stand at the end of the text, in characters", () => {
  const write = frames();
  expect(
    write({ text: "👋", token_ids: [1], logprobs: [position("👋", 0)] })[0].choices[0].logprobs.text_offset,
  ).toEqual([0]);
  const cut = [position("b", 1), position("E", 2), position("ND", 3)];
  const [end] = write({ text: "b", token_ids: [2, 3, 4], logprobs: cut, finish_reason: "stop", stop_reason: "END" });
  expect(end.choices[0]).toMatchObject({ stop_reason: "END", logprobs: { text_offset: [1, 2, 2] } });
});
