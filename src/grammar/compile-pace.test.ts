import { expect, test } from "bun:test";
import { CompilePace } from "./compile-pace.ts";

test("compiles rest while the prompts behind them are long enough, until an answer begins or the time is up", () => {
  const pace = new CompilePace<string>(1000);
  expect(pace.rest(0)).toBe(0);
  pace.compiled("a", 600, 5);
  expect(pace.rest(5)).toBe(0);
  pace.compiled("b", 400, 10);
  expect(pace.rest(12)).toBe(48);
  expect(pace.rest(60)).toBe(0);
  pace.begun("a");
  pace.begun("a");
  expect(pace.rest(12)).toBe(0);
  pace.compiled("c", 599, 100);
  expect(pace.rest(100)).toBe(0);
  pace.compiled("d", 1, 100);
  expect(pace.rest(100)).toBe(50);
  pace.begun("of nobody");
  expect(pace.rest(100)).toBe(50);
});

test("without a limit nothing rests", () => {
  const pace = new CompilePace<string>(Number.POSITIVE_INFINITY);
  pace.compiled("a", 1e9, 0);
  expect(pace.rest(0)).toBe(0);
});
