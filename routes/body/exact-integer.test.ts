import { expect, test } from "bun:test";
import fc from "fast-check";
import { exactInteger } from "./exact-integer.ts";

test("the field's own integer, wherever else its name or digits stand", () => {
  const text = String.raw`{"a":"\"seed\": 1","b":{"seed":2},"c":[{"seed":3}],"seed" :
    12345678901234567891,"d":"seed","e":["seed",4]}`;
  expect(exactInteger(text, "seed")).toBe(12345678901234567891n);
  expect(exactInteger(text, "d")).toBeUndefined();
});

test("the last one counts, and a name may be written with escapes", () => {
  expect(exactInteger('{"seed":1,"seed":-2}', "seed")).toBe(-2n);
  expect(exactInteger('{"se\\u0065d":9007199254740993}', "seed")).toBe(9007199254740993n);
  expect(exactInteger('{"seed":1,"seed":null}', "seed")).toBeUndefined();
});

test("no fraction, no exponent, and nothing longer than 64 bits", () => {
  for (const number of ["1.5", "1e3", "12345678901234567890.0", "1".repeat(1_000_000), '"5"', "null", "[5]"]) {
    expect(exactInteger(`{"seed":${number}}`, "seed")).toBeUndefined();
  }
});

test("in any object", () => {
  const key = fc.constantFrom("seed", "a", 'b"', "\\");
  fc.assert(
    fc.property(fc.dictionary(key, fc.jsonValue()), fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n), (body, seed) => {
      const text = `{"a\\\\":${JSON.stringify(body)},"seed":${seed},"z":${JSON.stringify(body)}}`;
      expect(exactInteger(text, "seed")).toBe(seed);
    }),
  );
});

test("the field of an object in a field", () => {
  const text = '{"seed":1,"a":{"seed":2},"inner" : {"b":{"seed":3},"seed":9007199254740993,"c":"}"},"d":{"seed":4}}';
  expect(exactInteger(text, "seed", "inner")).toBe(9007199254740993n);
  expect(exactInteger('{"inner":{"a":1},"b":{"seed":2},"seed":3}', "seed", "inner")).toBeUndefined();
  expect(exactInteger('{"a":"inner","b":{"inner":{"seed":2}},"seed":3}', "seed", "inner")).toBeUndefined();
});
