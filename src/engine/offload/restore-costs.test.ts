import { expect, test } from "bun:test";
import { PAGE_TOKENS } from "../pages/page-cache.ts";
import { RestoreCosts } from "./restore-costs.ts";

test("pages are restored until both costs are known, and then where that is cheaper", () => {
  const costs = new RestoreCosts(2 * PAGE_TOKENS);
  expect(costs.pays()).toBe(true);
  costs.restored(10, 1);
  expect(costs.pays()).toBe(true);
  costs.computed(2 * PAGE_TOKENS, 1);
  expect(costs.pays()).toBe(true);
  for (let i = 0; i < 50; i++) costs.restored(1, 1);
  expect(costs.pays()).toBe(false);
  for (let i = 0; i < 50; i++) costs.computed(2 * PAGE_TOKENS, 2.9);
  expect(costs.pays()).toBe(false);
  for (let i = 0; i < 50; i++) costs.computed(2 * PAGE_TOKENS, 3.1);
  expect(costs.pays()).toBe(true);
});

test("until a page has been restored, what it costs to save one stands for it", () => {
  const costs = new RestoreCosts(PAGE_TOKENS);
  costs.computed(PAGE_TOKENS, 1);
  costs.saved(2, 4);
  expect(costs.pays()).toBe(false);
  costs.restored(2, 1);
  expect(costs.pays()).toBe(true);
  costs.saved(1, 100);
  expect(costs.pays()).toBe(true);
});

test("steps with few tokens say nothing of the cost of a token, and no copies nothing of that of a page", () => {
  const costs = new RestoreCosts(4 * PAGE_TOKENS);
  costs.restored(1, 1);
  costs.computed(1, 0.001);
  costs.computed(2 * PAGE_TOKENS, 4);
  costs.restored(0, 0);
  costs.saved(0, 0);
  expect(costs.pays()).toBe(true);
});

test("while computing is cheaper, copies are tried again from time to time, so that a slow moment is not for ever", () => {
  const costs = new RestoreCosts(PAGE_TOKENS);
  costs.restored(1, 2);
  costs.saved(1, 2);
  costs.computed(PAGE_TOKENS, 1);
  // Steps of one token count as well: there may be no others.
  for (let i = 0; i < 1022; i++) costs.computed(1, 0.1);
  expect(costs.pays()).toBe(false);
  costs.computed(1, 0.1);
  expect(costs.pays()).toBe(true);
  costs.restored(1, 2);
  for (let i = 0; i < 1023; i++) costs.computed(1, 0.1);
  expect(costs.pays()).toBe(false);
  costs.computed(1, 0.1);
  costs.restored(1, 0.1);
  expect(costs.pays()).toBe(true);
});
