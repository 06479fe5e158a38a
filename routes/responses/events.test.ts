import { describe, expect, test } from "bun:test";
import { samplingSchema } from "../../src/params.ts";
import { CALLS, SCRIPT_USAGE, type Script, scriptedEvents } from "../conversation/scripted.ts";
import { Service } from "../service.ts";
import type { ResponseAnswer } from "./answer.ts";
import { ResponseFrames } from "./events.ts";
import { ResponseEnvelope } from "./response.ts";
import type { ResponseFields } from "./schema.ts";
import { Tools } from "./tools.ts";

const service = new Service({ servedModelName: "served" });

function eventsOf(script: Script, fields: Record<string, unknown> = {}, onEnd = (_: ResponseAnswer) => {}) {
  const asked = fields as ResponseFields;
  const envelope = new ResponseEnvelope(service, asked, fields, new Tools(asked, false), samplingSchema.parse({}));
  return scriptedEvents(script, (conversation) => new ResponseFrames(envelope, conversation, onEnd));
}

const withoutNumbers = (events: ReturnType<typeof eventsOf>) =>
  events.map(({ name }) => name.replace(/^response\./, ""));

describe("an answer with reasoning, text and calls", () => {
  const events = eventsOf(CALLS);

  test("its events, in order and numbered", () => {
    expect(withoutNumbers(events)).toEqual([
      "created",
      "in_progress",
      "output_item.added",
      "content_part.added",
      "reasoning_text.delta",
      "reasoning_text.delta",
      "reasoning_text.done",
      "content_part.done",
      "output_item.done",
      "output_item.added",
      "content_part.added",
      "output_text.delta",
      "output_text.delta",
      "output_text.done",
      "content_part.done",
      "output_item.done",
      "output_item.added",
      "function_call_arguments.delta",
      "function_call_arguments.delta",
      "function_call_arguments.done",
      "output_item.done",
      "output_item.added",
      "function_call_arguments.delta",
      "function_call_arguments.done",
      "output_item.done",
      "completed",
    ]);
    for (const [i, { name, data }] of events.entries()) {
      expect(data.type).toBe(name);
      expect(data.sequence_number).toBe(i);
    }
  });

  test("the response at the end has the items that were told", () => {
    const { response } = events.at(-1)!.data;
    const done = events.filter(({ name }) => name === "response.output_item.done").map(({ data }) => data.item);
    expect(response.output).toEqual(done);
    expect(response.output).toMatchObject([
      { type: "reasoning", summary: [], content: [{ type: "reasoning_text", text: "I should look." }] },
      { type: "message", role: "assistant", content: [{ type: "output_text", text: 'Let me see "now".' }] },
      { type: "function_call", call_id: "call_1", name: "weather", arguments: '{"city":"Bonn"}', status: "completed" },
      { type: "function_call", call_id: "call_2", name: "clock", arguments: "{}", status: "completed" },
    ]);
    expect(response.usage).toEqual({
      input_tokens: SCRIPT_USAGE.prompt_tokens,
      input_tokens_details: { cached_tokens: 4, cache_write_tokens: 0 },
      output_tokens: 7,
      output_tokens_details: { reasoning_tokens: 3 },
      total_tokens: 17,
    });
    const created = events[0]!.data.response;
    expect([created.status, created.output, created.usage]).toEqual(["in_progress", [], null]);
    expect(created.id).toBe(response.id);
  });

  test("pieces name their item and its place; an item begins empty", () => {
    for (const { name, data } of events) {
      if (!/\.(delta|done|added)$/.test(name)) continue;
      const item = events.at(-1)!.data.response.output[data.output_index];
      expect(data.item_id ?? data.item.id).toBe(item.id);
      if (name.includes("text.") || name.includes("part.")) expect(data.content_index).toBe(0);
    }
    const added = events.filter(({ name }) => name === "response.output_item.added").map(({ data }) => data.item);
    expect(added).toMatchObject([
      { type: "reasoning", status: "in_progress", summary: [], content: [] },
      { type: "message", status: "in_progress", content: [] },
      { type: "function_call", status: "in_progress", arguments: "", name: "weather", call_id: "call_1" },
      { type: "function_call", status: "in_progress", arguments: "", name: "clock", call_id: "call_2" },
    ]);
    const deltas = (kind: string) =>
      events.filter(({ name }) => name === `response.${kind}.delta`).map(({ data }) => data.delta);
    expect(deltas("reasoning_text")).toEqual(["I should ", "look."]);
    expect(deltas("output_text")).toEqual(["Let me ", 'see "now".']);
    expect(deltas("function_call_arguments")).toEqual(['{"city":', '"Bonn"}', "{}"]);
  });
});

test("a call of a tool in a namespace is told by both names", () => {
  const tools = [{ type: "namespace", name: "agents", tools: [{ type: "function", name: "close" }] }];
  const pieces: Script["pieces"] = [
    [
      { type: "call", index: 0, id: "call_1", name: "agents__close" },
      { type: "arguments", index: 0, text: "{}" },
    ],
  ];
  const events = eventsOf({ pieces, finish: "tool_calls" }, { tools });
  const item = { type: "function_call", namespace: "agents", name: "close" };
  expect(events.at(-1)!.data.response).toMatchObject({ output: [item], tools });
  expect(events.find(({ name }) => name.endsWith("arguments.done"))!.data.name).toBe("close");
});

test("where a summary is asked for, the reasoning stands in its place", () => {
  const events = eventsOf(CALLS, { reasoning: { summary: "auto" } });
  expect(withoutNumbers(events).slice(2, 9)).toEqual([
    "output_item.added",
    "reasoning_summary_part.added",
    "reasoning_summary_text.delta",
    "reasoning_summary_text.delta",
    "reasoning_summary_text.done",
    "reasoning_summary_part.done",
    "output_item.done",
  ]);
  expect(events.slice(3, 8).map(({ data }) => data.summary_index)).toEqual([0, 0, 0, 0, 0]);
  const { response } = events.at(-1)!.data;
  expect(response.reasoning.summary).toBe("auto");
  expect(response.output[0].summary).toEqual([{ type: "summary_text", text: "I should look." }]);
  expect(response.output[0]).not.toHaveProperty("content");
});

test("what was cut off is incomplete: the response, and its last item alone", () => {
  let kept: object | null = null;
  const events = eventsOf({ pieces: CALLS.pieces.slice(0, 6), finish: "length" }, {}, (answer) => {
    kept = answer.forStore();
  });
  const { name, data } = events.at(-1)!;
  expect(name).toBe("response.incomplete");
  expect(data.response).toMatchObject({ status: "incomplete", incomplete_details: { reason: "max_output_tokens" } });
  expect(data.response.completed_at).toBeNull();
  const statuses = data.response.output.map(({ status }: { status: string }) => status);
  expect(statuses).toEqual(["completed", "completed", "incomplete"]);
  expect(kept!).toEqual(data.response);
});

test("an answer without anything is an empty message", () => {
  const events = eventsOf({ pieces: [[]], finish: "stop" });
  expect(withoutNumbers(events)).toEqual([
    "created",
    "in_progress",
    "output_item.added",
    "content_part.added",
    "output_text.done",
    "content_part.done",
    "output_item.done",
    "completed",
  ]);
  expect(events.at(-1)!.data.response.output).toMatchObject([{ content: [{ type: "output_text", text: "" }] }]);
});
