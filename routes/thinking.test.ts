import { expect, test } from "bun:test";
import { reasoningOf } from "./thinking.ts";

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
