import { expect, test } from "bun:test";
import { MAX_MESSAGES } from "../../src/limits.ts";
import { Turns } from "./turns.ts";

test("reasoning, text and calls of one turn are one message", () => {
  const turns = new Turns("input");
  turns.say("user", ["Hi"]);
  turns.reason("h");
  turns.reason("m");
  turns.answer(["Let me look."]);
  turns.call({ id: "1", name: "f", arguments: "{}" });
  turns.call({ id: "2", name: "g", arguments: "{}" });
  turns.result("2", ["two"]);
  turns.result("1", ["o", "ne"]);
  turns.answer(["Done."]);
  const call = (id: string, name: string) => ({ id, type: "function", function: { name, arguments: "{}" } });
  expect(turns.messages).toEqual([
    { role: "user", content: "Hi" },
    {
      role: "assistant",
      content: "Let me look.",
      reasoning_content: "hm",
      tool_calls: [call("1", "f"), call("2", "g")],
    },
    { role: "tool", tool_call_id: "2", name: "g", content: "two" },
    {
      role: "tool",
      tool_call_id: "1",
      name: "f",
      content: [
        { type: "text", text: "o" },
        { type: "text", text: "ne" },
      ],
    },
    { role: "assistant", content: "Done." },
  ]);
});

test("a call after a result is a turn of its own", () => {
  const turns = new Turns("input");
  turns.call({ id: "1", name: "f", arguments: {} });
  turns.result("1", ["one"]);
  turns.call({ id: "2", name: "g", arguments: {} });
  expect(turns.messages.map(({ role }) => role)).toEqual(["assistant", "tool", "assistant"]);
});

test("a result of a call that is not there is refused", () => {
  const turns = new Turns("input");
  turns.call({ id: "1", name: "f", arguments: {} });
  expect(() => turns.result("2", ["two"])).toThrow("input has the result of a call '2' that does not come before it");
});

test("reasoning and text after a call begin a new turn", () => {
  const turns = new Turns("input");
  turns.answer(["a"]);
  turns.reason("b");
  turns.call({ id: "1", name: "f", arguments: {} });
  turns.answer(["c"]);
  expect(
    turns.messages.map(({ content, reasoning_content, tool_calls }) => [content, reasoning_content, !!tool_calls]),
  ).toEqual([
    ["a", undefined, false],
    ["", "b", true],
    ["c", undefined, false],
  ]);
});

test("what the system says at the start is one message; what it says later stays where it is", () => {
  const turns = new Turns("input");
  turns.say("system", ["a"]);
  turns.say("developer", ["b", "c"]);
  turns.say("user", ["d"]);
  turns.say("system", ["e"]);
  expect(turns.messages).toEqual([
    { role: "system", content: "a\nb\nc" },
    { role: "user", content: "d" },
    { role: "system", content: "e" },
  ]);
});

test("a conversation is bounded", () => {
  const turns = new Turns("input");
  for (let i = 0; i < MAX_MESSAGES; i++) turns.say("user", ["a"]);
  expect(() => turns.say("user", ["a"])).toThrow("more than");
});
