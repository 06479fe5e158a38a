import { describe, expect, test } from "bun:test";
import { FastgenError } from "../errors.ts";
import { parseConfigJson } from "./config-json.ts";

const parse = (text: string) => parseConfigJson("some.json", text);

test("numbers that Python writes and JSON lacks", () => {
  const json = parse('{"a": NaN, "b": [Infinity, -Infinity, {"c": NaN}], "d": 1e999, "e": null, "f": 1}');
  expect(json).toEqual({ a: NaN, b: [Infinity, -Infinity, { c: NaN }], d: Infinity, e: null, f: 1 });
});

test("strings keep these words", () => {
  const strings = { NaN: "NaN", b: 'say "NaN", Infinity', c: "\\", d: "-Infinity\\" };
  expect(parse(`${JSON.stringify(strings).slice(0, -1)}, "x": NaN}`)).toEqual({ ...strings, x: NaN });
});

test("only whole words are numbers", () => {
  for (const value of ["-NaN", "1NaN", "NaN1", "+Infinity", "Infinity2", "nan", "infinity", "--Infinity", "NaNNaN"]) {
    expect(() => parse(`{"a": ${value}}`)).toThrow(/some.json is not valid JSON/);
  }
});

describe("a file that is something else is named for what it is", () => {
  const cases: [string, string, RegExp][] = [
    ["nothing", "", /is empty, so it is not valid JSON: replace it/],
    ["only spaces", " \n\t", /is empty, so it is not valid JSON: replace it/],
    ["a web page", "\n<!DOCTYPE html><html>", /is a web page: .*resolve\/main/],
    ["a list", "[]", /is not an object/],
    ["cut short", '{"a": 1', /is not valid JSON \(.*\): correct or replace it/],
  ];
  for (const [name, text, message] of cases) {
    test(name, () => {
      expect(() => parse(text)).toThrow(message);
      expect(() => parse(text)).toThrow(FastgenError);
    });
  }

  test("in a message of bounded length", () => {
    expect(() => parse(`{"a": ${"x".repeat(1_000_000)}}`)).toThrow(/^.{1,500}$/s);
  });
});
