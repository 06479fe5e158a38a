/** Thinking is switched and bounded by many names. */
import { afterAll, expect, test } from "bun:test";
import type { Conversation } from "../../src/types.ts";
import { FakeFastgen, json, startServer } from "../testing.ts";
import { reasoningOf } from "./thinking.ts";

const fake = new FakeFastgen({ answer: "abc" });
const server = await startServer(fake);
afterAll(() => server.stop());
const asked = () => fake.calls.at(-1)!;
const chat = (body: object) =>
  server.post("/v1/chat/completions", { messages: [{ role: "user", content: "Hi" }], ...body });

test("a budget has many names, of which the outermost counts; -1 is none", () => {
  const budget = (fields: Parameters<typeof reasoningOf>[0]) => reasoningOf(fields).thinkingBudget;
  expect(budget({})).toBeNull();
  expect(budget({ thinking_token_budget: -1 })).toBeNull();
  expect(budget({ thinking_token_budget: 0 })).toBe(0);
  expect(budget({ thinking_budget: 1 })).toBe(1);
  expect(budget({ thinking_budget_tokens: 2 })).toBe(2);
  expect(budget({ reasoning_budget: 3 })).toBe(3);
  expect(budget({ thinking: { type: "enabled", budget_tokens: 4 } })).toBe(4);
  expect(budget({ reasoning: { max_tokens: 5 } })).toBe(5);
  expect(budget({ reasoning_budget: 3, thinking: { budget_tokens: 4 }, reasoning: { max_tokens: 5 } })).toBe(3);
  expect(budget({ thinking: true, reasoning: { max_tokens: 5 } })).toBe(5);
});

test("reasoning is left out where either field says so", () => {
  const included = (fields: Parameters<typeof reasoningOf>[0]) => reasoningOf(fields).includeReasoning;
  expect(included({})).toBe(true);
  expect(included({ include_reasoning: false })).toBe(false);
  expect(included({ reasoning: { exclude: true } })).toBe(false);
  expect(included({ reasoning: { effort: "low" } })).toBe(true);
});

test.each([
  [{ enable_thinking: true }, { enable_thinking: true }],
  [{ enable_thinking: false }, { enable_thinking: false }],
  [{ thinking: false }, { enable_thinking: false }],
  [{ thinking: { type: "enabled" } }, { enable_thinking: true }],
  [{ thinking: { type: "disabled", budget_tokens: null } }, { enable_thinking: false }],
  [{ thinking: { type: "adaptive" } }, undefined],
  [{ think: false }, { enable_thinking: false }],
  [{ think: "low" }, { enable_thinking: true, reasoning_effort: "low" }],
  [{ reasoning: { enabled: false } }, { enable_thinking: false }],
  [{ reasoning: { effort: "high", summary: "auto" } }, { enable_thinking: true, reasoning_effort: "high" }],
  [{ reasoning: { effort: "none" } }, { enable_thinking: false, reasoning_effort: "none" }],
  [{ reasoning: {}, thinking: {} }, undefined],
  [{ reasoning_effort: "default" }, undefined],
  [{ reasoning_effort: "auto", enable_thinking: false }, { enable_thinking: false }],
  [
    { enable_thinking: false, reasoning_effort: "high" },
    { enable_thinking: false, reasoning_effort: "high" },
  ],
  [{ enable_thinking: false, chat_template_kwargs: { enable_thinking: true } }, { enable_thinking: true }],
])("thinking by whatever name: %j", async (body, kwargs) => {
  expect((await chat(body)).status).toBe(200);
  expect((asked().prompt as Conversation).chat_template_kwargs).toEqual(kwargs);
});

test("what these names hold is checked as the body's own fields are", async () => {
  const param = async (body: object) => (await json(await chat(body))).error?.param;
  expect(await param({ reasoning: { mode: "pro" } })).toBe("reasoning.mode");
  expect(await param({ thinking: { clear_thinking: true } })).toBe("thinking.clear_thinking");
  expect(await param({ thinking: "enabled" })).toBe("thinking");
  expect(await param({ think: 1 })).toBe("think");
  expect(await param({ reasoning_effort: "huge" })).toBe("reasoning_effort");
});
