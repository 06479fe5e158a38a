/** Schemas: what passes, what is refused and where, and what llguidance alone would have read in another way. */
import { describe, expect, test } from "bun:test";
import { allowed, allows, refusal } from "../structured-testing.ts";

type Schema = Record<string, unknown> | boolean;

describe("follows", () => {
  const object = { type: "object" };
  const cases: [name: string, schema: Schema, good: unknown[], bad: unknown[]][] = [
    ["everything", true, [1, null, "a", [1], { a: {} }], []],
    [
      "notes",
      {
        title: "T",
        description: "d",
        default: 1,
        examples: [1],
        $schema: "x",
        $id: "y",
        deprecated: true,
        readOnly: true,
        "x-order": 1,
        type: "null",
      },
      [null],
      [1],
    ],
    ["a type list", { type: ["string", "null"] }, ["a", null], [1]],
    [
      "enum and const",
      { anyOf: [{ enum: [1, "a", [2], { b: 3 }] }, { const: false }] },
      [1, "a", [2], { b: 3 }, false],
      [2, "b", true],
    ],
    ["an integer's bounds", { type: "integer", exclusiveMinimum: 1, maximum: 3 }, [2, 3], [1, 4, 2.5]],
    [
      "bounds of draft 4",
      { type: "number", minimum: 1, exclusiveMinimum: true, maximum: 3, exclusiveMaximum: true },
      [2],
      [1, 3],
    ],
    ["bounds beyond 64 bits", { type: "integer", minimum: -1e300, maximum: 1e300 }, [0, 123], ["0"]],
    ["int32", { type: "integer", format: "int32" }, [2147483647, -5], [2147483648]],
    ["a format that JSON Schema does not name", { type: "string", format: "topic" }, ["any text at all"], [5]],
    ["an older format's name", { type: "string", format: "url" }, ["https://example.com/a"], ["any text at all"]],
    ["multipleOf", { type: "integer", multipleOf: 3 }, [0, 9, -3], [1]],
    ["lengths in characters", { type: "string", minLength: 2, maxLength: 2 }, ["ab", "é😀"], ["a", "abc"]],
    [
      "a pattern and a format",
      { type: "string", pattern: "^2", format: "date" },
      ["2024-02-29"],
      ["1999-01-01", "2023-02-29", "2x"],
    ],
    [
      "further properties",
      { ...object, properties: { a: { type: "null" } }, additionalProperties: { type: "integer" } },
      [{ a: null, b: 1 }],
      [{ b: "x" }, { a: 1 }],
    ],
    [
      "additionalProperties beside allOf",
      { allOf: [{ properties: { a: true } }], additionalProperties: { type: "null" } },
      [{ a: null }],
      [{ a: 1 }],
    ],
    [
      "patternProperties",
      { ...object, patternProperties: { "^x": { type: "null" } }, additionalProperties: false },
      [{ x1: null }],
      [{ x1: 1 }, { y: null }],
    ],
    [
      "items of draft 7",
      { type: "array", items: [{ type: "null" }], additionalItems: { type: "integer" } },
      [[null, 1]],
      [[1], [null, null]],
    ],
    ["prefixItems", { type: "array", prefixItems: [{ type: "null" }], items: false }, [[], [null]], [[null, null]]],
    [
      "dependentRequired",
      { ...object, properties: { a: true, b: true }, dependentRequired: { b: ["a"] } },
      [{ a: 1 }, { a: 1, b: 2 }],
      [{ b: 2 }],
    ],
    [
      "dependencies of draft 7",
      { ...object, properties: { a: true, b: true }, dependencies: { b: { properties: { a: { type: "null" } } } } },
      [{ a: 1 }, { a: null, b: 2 }],
      [{ a: 1, b: 2 }],
    ],
    [
      "propertyNames of an enum",
      { ...object, propertyNames: { enum: ["a"] }, additionalProperties: { type: "null" } },
      [{}, { a: null }],
      [{ a: 1 }, { b: null }],
    ],
    ["propertyNames of a pattern", { ...object, propertyNames: { pattern: "^a" } }, [{ ab: 1 }], [{ b: 1 }]],
    [
      "propertyNames of a definition, which are then counted",
      {
        ...object,
        propertyNames: { $ref: "#/$defs/k" },
        minProperties: 1,
        $defs: { k: { type: "string", enum: ["a", "b"] } },
      },
      [{ a: 1 }, { a: 1, b: 2 }],
      [{}, { c: 1 }],
    ],
    ["propertyNames of a constant", { ...object, propertyNames: { const: "a" } }, [{}, { a: 1 }], [{ b: 1 }]],
    [
      "propertyNames of several lists",
      { ...object, propertyNames: { anyOf: [{ const: "a" }, { enum: ["b", 1] }] } },
      [{ a: 1, b: 1 }],
      [{ "1": 1 }],
    ],
    [
      "propertyNames of a format",
      { ...object, propertyNames: { type: "string", format: "uuid" }, additionalProperties: { type: "null" } },
      [{ "00000000-0000-0000-0000-00000000000a": null }],
      [{ "00000000-0000-0000-0000-00000000000a": 1 }, { a: null }],
    ],
    [
      "propertyNames of a length",
      { ...object, propertyNames: { minLength: 1, maxLength: 2 } },
      [{}, { é: 1 }, { 日本: 1 }],
      [{ "": 1 }, { abc: 1 }],
    ],
    [
      "propertyNames of strings",
      { ...object, propertyNames: { type: "string" }, additionalProperties: { type: "null" } },
      [{ b: null }],
      [{ b: 1 }],
    ],
    [
      "unevaluatedProperties alone",
      { ...object, properties: { a: true }, unevaluatedProperties: false },
      [{ a: 1 }],
      [{ b: 1 }],
    ],
    ["not of everything", { ...object, properties: { a: { not: {} } } }, [{}, { b: 1 }], [{ a: 1 }]],
    [
      "counts that name what they count",
      { ...object, required: ["a"], minProperties: 2, maxProperties: 2 },
      [{ a: 1, b: 2 }],
      [{ a: 1 }, { a: 1, b: 1, c: 1 }],
    ],
    ["oneOf by type", { oneOf: [{ type: "string" }, { type: "integer" }] }, ["a", 1], [null]],
    [
      "$ref and its neighbours",
      { $defs: { n: { type: "integer" } }, properties: { a: { $ref: "#/$defs/n", maximum: 3 } } },
      [{ a: 3 }],
      [{ a: 4 }, { a: "x" }],
    ],
    [
      "$ref with escapes",
      { $defs: { "a/b~c d": { type: "null" } }, properties: { a: { $ref: "#/$defs/a~1b~0c%20d" } } },
      [{ a: null }],
      [{ a: 1 }],
    ],
    ["$ref to an anchor", { $defs: { x: { $anchor: "here", type: "null" } }, $ref: "#here" }, [null], [1]],
    [
      "$ref through the root's address",
      { $id: "https://e.x/s", $defs: { x: { type: "null" } }, $ref: "https://e.x/s#/$defs/x" },
      [null],
      [1],
    ],
    [
      "recursion",
      { ...object, properties: { a: { $ref: "#" } }, additionalProperties: false },
      [{ a: { a: {} } }],
      [{ a: 1 }],
    ],
    [
      "recursion without end, where another way ends",
      {
        anyOf: [{ $ref: "#/$defs/x" }, { type: "null" }],
        $defs: { x: { type: "object", properties: { x: { $ref: "#/$defs/x" } }, required: ["x"] } },
      },
      [null],
      [{ x: null }],
    ],
    [
      "names of objects' own members",
      { ...object, properties: { __proto__x: true, constructor: { type: "null" } }, additionalProperties: false },
      [{ constructor: null }],
      [{ toString: 1 }],
    ],
  ];
  for (const [name, schema, good, bad] of cases) {
    test(name, async () => {
      const texts = (values: unknown[]) => values.map((value) => JSON.stringify(value));
      expect(await allowed({ json: schema as Record<string, unknown> }, texts([...good, ...bad]))).toEqual(texts(good));
    });
  }

  test("discriminated unions, as pydantic writes them", async () => {
    const pet = (kind: string) => ({
      type: "object",
      properties: { kind: { const: kind, type: "string" }, age: { type: "integer" } },
      required: ["kind"],
    });
    const schema = {
      $defs: { Cat: pet("cat"), Dog: pet("dog") },
      oneOf: [{ $ref: "#/$defs/Cat" }, { $ref: "#/$defs/Dog" }],
      discriminator: { propertyName: "kind" },
    };
    expect(await allowed({ json: schema }, ['{"kind":"dog","age":1}', '{"kind":"cow"}'])).toEqual([
      '{"kind":"dog","age":1}',
    ]);
  });

  test("a listed property cannot be written in other letters to escape its schema", async () => {
    const schema = { type: "object", properties: { foo: { type: "integer" } } };
    const texts = ['{"foo":1}', '{"\\u0066oo":"x"}', '{"bar":"x"}'];
    expect(await allowed({ json: schema }, texts)).toEqual(['{"foo":1}', '{"bar":"x"}']);
  });

  test("disable_additional_properties closes objects that list some", async () => {
    const json = { properties: { a: { properties: { b: true }, additionalProperties: true }, c: { type: "object" } } };
    const spec = { json: { type: "object", ...json }, disable_additional_properties: true };
    const texts = ['{"x":1}', '{"a":{"x":1}}', '{"c":{"x":1}}'];
    expect(await allowed(spec, texts)).toEqual(texts.slice(1));
  });
});

describe("refuses, naming the keyword and its place", () => {
  const cases: [schema: unknown, message: RegExp][] = [
    [{ properties: { a: { uniqueItems: true } } }, /uniqueItems \(at \/properties\/a\/uniqueItems\) is not supported/],
    ['{"if": {"type": "null"}, "then": false}', /if \(at \/if\)/],
    [{ not: { type: "null" } }, /not \(at \/not\)/],
    [{ contains: { type: "null" } }, /contains \(at \/contains\)/],
    [{ items: { $dynamicRef: "#a" } }, /\$dynamicRef \(at \/items\/\$dynamicRef\)/],
    [{ $ref: "https://example.com/schema" }, /\$ref \(at \/\$ref\) must lead to a place in the schema itself/],
    [{ $ref: "#/$defs/none" }, /leads to #\/\$defs\/none, which is not there/],
    [{ properties: { a: { $id: "sub", items: { $ref: "#/x" } } } }, /below the \$id at \/properties\/a/],
    [{ unevaluatedProperties: false, allOf: [{}] }, /unevaluatedProperties \(at/],
    [{ unevaluatedItems: false, $ref: "#/$defs/a", $defs: { a: {} } }, /unevaluatedItems \(at/],
    [{ minProperties: 2 }, /minProperties \(at \/minProperties\).*may have the same one/],
    [{ properties: { a: true, b: true }, maxProperties: 1 }, /maxProperties \(at \/maxProperties\)/],
    [{ propertyNames: { minLength: 3, pattern: "a" } }, /propertyNames \(at \/propertyNames\)/],
    [{ propertyNames: { pattern: "a" }, required: ["a"] }, /propertyNames \(at \/propertyNames\)/],
    [{ format: "uri-template" }, /format \(at \/format\) "uri-template" is not supported/],
    [{ oneOf: [{ type: "string" }, { type: "string", maxLength: 3 }] }, /oneOf \(at \/oneOf\).*entries 0 and 1/],
    [{ multipleOf: 0 }, /multipleOf \(at \/multipleOf\) must be above 0/],
    [{ multipleOf: 1.23456789012 }, /so many digits/],
    [{ minLength: -1 }, /minLength \(at \/minLength\) must be a whole number/],
    [{ minimum: "1" }, /minimum \(at \/minimum\) must be a number/],
    [{ type: "float" }, /\/type must be one of null/],
    [{ required: "a" }, /required \(at \/required\)/],
    [{ properties: [] }, /\/properties must be an object/],
    [{ properties: { a: 5 } }, /\/properties\/a must be an object, true or false/],
    [{ anyOf: [] }, /\/anyOf must be an array of schemas/],
    [{ enum: [] }, /\/enum must be an array with values/],
    [{ const: 2 ** 53 }, /\/const is a number beyond 2\^53/],
    [{ enum: ["a\u0001"] }, /\/enum\/0 has a control character/],
    [{ properties: { "\ud800": true } }, /half a surrogate pair/],
    [{ not: {} }, /allows no value at all/],
    [{ $ref: "#" }, /lead back to themselves/],
    [{ type: "object", required: ["a"], properties: { a: { $ref: "#" } } }, /lead back to themselves/],
    [{ type: "array", minItems: 1, items: { $ref: "#" } }, /lead back to themselves/],
    ["{", /is not valid JSON/],
    ["[]", /the schema must be an object/],
  ];
  for (const [schema, message] of cases) {
    test(JSON.stringify(schema).slice(0, 80), () => expect(refusal({ json: schema as string })).toMatch(message));
  }

  test("what is too large or too deep", () => {
    let deep: object = {};
    for (let i = 0; i < 70; i++) deep = { items: deep };
    expect(refusal({ json: deep as Record<string, unknown> })).toContain("nested more than 64 deep");
    const many = { enum: Array.from({ length: 70_000 }, (_, i) => i) };
    expect(refusal({ json: many })).toContain("more than 65536 keywords and values");
    expect(refusal({ json: { const: "a".repeat(600_000) } })).toMatch(/has \d+ characters; 524288 are allowed/);
  });
});

describe("definitions that an allOf multiplies", () => {
  /** Each of `count` definitions refers to the next one twice. */
  const doubling = (count: number, twice: (next: object) => object) => ({
    $ref: "#/$defs/d0",
    $defs: Object.fromEntries(
      Array.from({ length: count }, (_, i) => [
        `d${i}`,
        i === count - 1 ? { type: "string" } : twice({ $ref: `#/$defs/d${i + 1}` }),
      ]),
    ),
  });

  test.each<[string, (next: object) => object]>([
    ["at once", (next) => ({ allOf: [next, next] })],
    ["below their properties", (next) => ({ allOf: [{ properties: { a: next } }, { properties: { a: next } }] })],
    ["in its anyOf", (next) => ({ allOf: [{ anyOf: [next, next] }, { anyOf: [next, { type: "null" }] }] })],
  ])("%s are refused when they are many", (_, twice) => {
    expect(refusal({ json: doubling(40, twice) })).toMatch(/allOf whose parts/);
  });

  test("pass when they are few, or when no allOf merges them", async () => {
    expect(await allows({ json: doubling(6, (next) => ({ allOf: [next, next] })) }, '"a"')).toBe(true);
    const both = (next: object) => ({ type: "object", properties: { a: next, b: next } });
    expect(await allows({ json: doubling(40, both) }, '{"a": {}}')).toBe(true);
  });
});
