import { expect, test } from "bun:test";
import { statusText } from "./status-line.ts";

test("the rate is that of the time since the last drawing", () => {
  const before = { running: 9, waiting: 9, generated_tokens: 1000, pages_used: 9, pages: 200 };
  const now = { running: 3, waiting: 1, generated_tokens: 1602, pages_used: 25, pages: 200 };
  expect(statusText(before, now, 0.5)).toBe("3 running, 1 waiting, 1,204 tokens/s, 13 % of the KV cache");
});
