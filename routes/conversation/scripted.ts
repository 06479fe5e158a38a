/** A conversation whose answer's parts a test has written, for tests of what routes make of them. */
import type { Chunk } from "../../src/types.ts";
import type { Frames } from "../reply/sse.ts";
import type { AnswerFinish, AnswerPart, Conversation } from "./conversation.ts";

/** The parts of each piece, and the end. */
export interface Script {
  pieces: AnswerPart[][];
  finish: AnswerFinish;
  stop_reason?: string;
}

export const SCRIPT_USAGE = {
  prompt_tokens: 10,
  completion_tokens: 7,
  total_tokens: 17,
  prompt_tokens_details: { cached_tokens: 4 },
  completion_tokens_details: { reasoning_tokens: 3 },
};

/** What a stream of the scripted answer says: the names of its events, and their data. */
export function scriptedEvents(script: Script, framesOf: (conversation: Conversation) => Frames) {
  let next = 0;
  const last = script.pieces.length - 1;
  const read = (chunk: Chunk) => {
    const parts = script.pieces[next]!;
    return { index: 0, parts, chunk, finish_reason: next++ === last ? script.finish : null };
  };
  const usage = () => SCRIPT_USAGE;
  const run = { record: { id: "request-1" }, weightVersion: "0" };
  const frames = framesOf({ read, usage, run } as unknown as Conversation);
  let text = frames.begin?.() ?? "";
  for (const i of script.pieces.keys()) {
    const ended = i === last && script.finish !== "tool_calls";
    text += frames.chunk({
      index: 0,
      text: "",
      token_ids: [0],
      logprobs: null,
      weight_versions: [{ start: 0, version: "0" }],
      finish_reason: ended ? (script.finish as "stop" | "length") : null,
      stop_reason: ended ? (script.stop_reason ?? null) : null,
    });
  }
  text += frames.end();
  // biome-ignore lint/suspicious/noExplicitAny: a test reads whatever the event holds
  const events: { name: string; data: any }[] = [];
  for (const block of text.split("\n\n").slice(0, -1)) {
    const [, name, data] = /^event: (.*)\ndata: (.*)$/.exec(block)!;
    events.push({ name: name!, data: JSON.parse(data!) });
  }
  return events;
}

/** Reasoning, text and two calls, in pieces. */
export const CALLS: Script = {
  pieces: [
    [{ type: "reasoning", text: "I should " }],
    [{ type: "reasoning", text: "look." }],
    [],
    [{ type: "text", text: "Let me " }],
    [
      { type: "text", text: 'see "now".' },
      { type: "call", index: 0, id: "call_1", name: "weather" },
    ],
    [{ type: "arguments", index: 0, text: '{"city":' }],
    [
      { type: "arguments", index: 0, text: '"Bonn"}' },
      { type: "call", index: 1, id: "call_2", name: "clock" },
      { type: "arguments", index: 1, text: "{}" },
    ],
  ],
  finish: "tool_calls",
};
