import { expect, test } from "bun:test";
import fc from "fast-check";
import { fieldText } from "./json-field.ts";

test("a field's JSON is given out as it was written, spaces around it aside", () => {
  const text = '{ "a" : {"body":1} , "x":"body", "body" :\n {"n": 1.0, "s":"}\\"]" } , "z":[ "body" ] }';
  expect(fieldText(text, "body")).toBe('{"n": 1.0, "s":"}\\"]" }');
  expect(fieldText(text, "x")).toBe('"body"');
  expect(fieldText(text, "z")).toBe('[ "body" ]');
  expect(fieldText(text, "none")).toBeUndefined();
  expect(fieldText("{}", "body")).toBeUndefined();
});

test("in any object it means what JSON.parse makes of it", () => {
  const key = fc.constantFrom("body", "a", 'b"', "\\", "n");
  fc.assert(
    fc.property(fc.array(fc.tuple(key, fc.jsonValue())), fc.constantFrom(0, 1, 2), (fields, spaces) => {
      const members = fields.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value, null, spaces)}`);
      const text = `{${members.join(spaces ? " , " : ",")}}`;
      const expected = JSON.parse(text).body;
      const found = fieldText(text, "body");
      expect(found === undefined ? undefined : JSON.parse(found)).toEqual(expected);
    }),
  );
});
