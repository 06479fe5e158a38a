import { expect, test } from "bun:test";
import type { PositionLogprobs } from "../../src/types.ts";
import { Blocks } from "./blocks.ts";
import type { AnswerPart, AnswerPiece } from "./conversation.ts";

const position = (token: string): PositionLogprobs => ({
  id: 0,
  token,
  bytes: [],
  logprob: -1,
  top: [],
  rank: 1,
  text_offset: 0,
});

function piece(parts: AnswerPart[], logprobs: PositionLogprobs[] | null = null): AnswerPiece {
  const end = { finish_reason: null, stop_reason: null };
  const chunk = { index: 0, text: "", token_ids: [], logprobs, ...end, weight_versions: [] };
  return { index: 0, parts, chunk, finish_reason: null };
}

const text = (words: string): AnswerPart => ({ type: "text", text: words });

test("parts of a kind are one block; every call is a block of its own; one is open at a time", () => {
  const heard: string[] = [];
  const blocks = new Blocks({
    opened: ({ kind, index }) => heard.push(`opened ${index} ${kind}`),
    grew: ({ index }, added) => heard.push(`grew ${index} ${added}`),
    closed: ({ index, state, text }) => heard.push(`closed ${index} ${state} ${text}`),
  });
  blocks.push(
    piece([
      { type: "reasoning", text: "a" },
      { type: "reasoning", text: "b" },
    ]),
  );
  blocks.push(piece([text("c"), { type: "call", index: 0, id: "x", name: "f" }]));
  blocks.push(
    piece([
      { type: "arguments", index: 0, text: "{}" },
      { type: "call", index: 1, id: "y", name: "g" },
    ]),
  );
  blocks.end(true);
  blocks.end(true);
  expect(heard).toEqual([
    "opened 0 reasoning",
    "grew 0 a",
    "grew 0 b",
    "closed 0 complete ab",
    "opened 1 text",
    "grew 1 c",
    "closed 1 complete c",
    "opened 2 call",
    "grew 2 {}",
    "closed 2 complete {}",
    "opened 3 call",
    "closed 3 cut ",
  ]);
  expect(blocks.list.map(({ id, name }) => [id, name])).toEqual([
    ["", ""],
    ["", ""],
    ["x", "f"],
    ["y", "g"],
  ]);
});

test("log probabilities stand with the text that their tokens bring, those of reasoning nowhere", () => {
  const heard: string[][] = [];
  const blocks = new Blocks({
    opened() {},
    grew: (_block, _text, logprobs) => heard.push(logprobs.map(({ token }) => token)),
    closed() {},
  });
  blocks.push(piece([{ type: "reasoning", text: "a" }], [position("a")]));
  blocks.push(piece([], [position("half")]));
  blocks.push(piece([text("b")], [position("rest")]));
  blocks.push(piece([text("c"), text("d")], [position("c")]));
  expect(heard).toEqual([[], ["half", "rest"], ["c"], []]);
  expect(blocks.list[1]!.logprobs).toHaveLength(3);
});

test("blocks keep log probabilities up to a bound, or none", () => {
  const blocks = new Blocks(null, 2);
  for (const token of ["a", "b"]) blocks.push(piece([text(token)], [position(token)]));
  expect(blocks.list[0]!.logprobs).toHaveLength(2);
  blocks.push(piece([text("c")], [position("c")]));
  blocks.push(piece([text("d")], [position("d")]));
  expect(blocks.list[0]!).toMatchObject({ text: "abcd", logprobs: [] });
});
