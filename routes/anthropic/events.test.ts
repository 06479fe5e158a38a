import { expect, test } from "bun:test";
import { CALLS, type Script, scriptedEvents } from "../conversation/scripted.ts";
import { Service } from "../service.ts";
import { MessageFrames } from "./events.ts";

const service = new Service({ servedModelName: "served" });
const eventsOf = (script: Script) =>
  scriptedEvents(script, (conversation) => new MessageFrames(service, conversation, {}));
const usage = {
  input_tokens: 6,
  cache_creation_input_tokens: 0,
  cache_read_input_tokens: 4,
  output_tokens: 7,
  output_tokens_details: { thinking_tokens: 3 },
};

test("thinking, text and calls are content blocks, one after the other", () => {
  const events = eventsOf(CALLS);
  const start = (index: number, content_block: object) => ({ type: "content_block_start", index, content_block });
  const delta = (index: number, fields: object) => ({ type: "content_block_delta", index, delta: fields });
  const stop = (index: number) => ({ type: "content_block_stop", index });
  expect(events.map(({ data }) => data)).toEqual([
    {
      type: "message_start",
      message: {
        id: expect.stringMatching(/^msg_[0-9a-f]{32}$/),
        type: "message",
        role: "assistant",
        model: "served",
        content: [],
        stop_reason: null,
        stop_sequence: null,
        stop_details: null,
        usage,
        weight_version: "0",
      },
    },
    { type: "ping" },
    start(0, { type: "thinking", thinking: "", signature: "" }),
    delta(0, { type: "thinking_delta", thinking: "I should " }),
    delta(0, { type: "thinking_delta", thinking: "look." }),
    delta(0, { type: "signature_delta", signature: "" }),
    stop(0),
    start(1, { type: "text", text: "", citations: null }),
    delta(1, { type: "text_delta", text: "Let me " }),
    delta(1, { type: "text_delta", text: 'see "now".' }),
    stop(1),
    start(2, { type: "tool_use", id: "call_1", name: "weather", input: {} }),
    delta(2, { type: "input_json_delta", partial_json: '{"city":' }),
    delta(2, { type: "input_json_delta", partial_json: '"Bonn"}' }),
    stop(2),
    start(3, { type: "tool_use", id: "call_2", name: "clock", input: {} }),
    delta(3, { type: "input_json_delta", partial_json: "{}" }),
    stop(3),
    {
      type: "message_delta",
      delta: { stop_reason: "tool_use", stop_sequence: null, stop_details: null },
      usage,
      weight_version: "0",
    },
    { type: "message_stop" },
  ]);
  for (const { name, data } of events) expect(data.type).toBe(name);
});

test.each([
  [{ finish: "stop" as const }, "end_turn", null],
  [{ finish: "stop" as const, stop_reason: "###" }, "stop_sequence", "###"],
  [{ finish: "length" as const }, "max_tokens", null],
])("%j ends with %s", (end, stop_reason, stop_sequence) => {
  const { data } = eventsOf({ pieces: [[{ type: "text", text: "a" }]], ...end }).at(-2)!;
  expect(data.delta).toMatchObject({ stop_reason, stop_sequence });
});

test("an answer without anything has no blocks", () => {
  const names = eventsOf({ pieces: [[]], finish: "stop" }).map(({ name }) => name);
  expect(names).toEqual(["message_start", "ping", "message_delta", "message_stop"]);
});
