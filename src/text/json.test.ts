import { expect, test } from "bun:test";
import { Float } from "./jinja/values.ts";
import { parseJson } from "./json.ts";

test("numbers that JavaScript would change are kept, all others are as in JSON.parse", () => {
  expect(parseJson("[1.0, -2e3, 1E+2, 0.5, 1e-7, 12, -0.0]")).toEqual([
    new Float(1),
    new Float(-2000),
    new Float(100),
    0.5,
    1e-7,
    12,
    new Float(-0),
  ]);
  expect(parseJson("[12345678901234567890, -9007199254740993, 9007199254740991]")).toEqual([
    12345678901234567890n,
    -9007199254740993n,
    9007199254740991,
  ]);
  expect(parseJson('{"a": {"b": "1.0"}, "c": [true, null]}')).toEqual({ a: { b: "1.0" }, c: [true, null] });
});

test("what is no JSON is an error", () => {
  expect(() => parseJson("{1.0}")).toThrow(SyntaxError);
  expect(() => parseJson("")).toThrow(SyntaxError);
});
