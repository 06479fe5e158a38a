/** The fields that say what an answer must look like, as the library gets them. */
import { describe, expect, test } from "bun:test";
import { FastgenError } from "../../src/errors.ts";
import { inCallersWords, type StructuredFields, structuredOutputs } from "./structured.ts";

const schema = { type: "object", properties: { a: { type: "integer" } } };
const tag = { structures: [{ begin: "<a>", schema, end: "</a>" }], triggers: ["<a"] };

describe("each field", () => {
  const cases: [StructuredFields, object | null][] = [
    [{}, null],
    [{ response_format: { type: "text" } }, null],
    [{ response_format: null, guided_json: null, grammar: "", guided_choice: [], guided_json_object: false }, null],
    [{ response_format: { type: "json_object" } }, { json_object: true }],
    [{ response_format: { type: "json_object", schema } }, { json: schema }],
    [{ response_format: { type: "json_schema", json_schema: { name: "n", strict: true, schema } } }, { json: schema }],
    [{ response_format: { type: "json_schema", json_schema: { name: "n", strict: false, schema } } }, { json: schema }],
    [{ response_format: { type: "json_schema", schema } }, { json: schema }],
    [{ response_format: { type: "json_schema", value: schema } }, { json: schema }],
    [{ response_format: { type: "json", value: schema } }, { json: schema }],
    [{ response_format: { type: "json", value: null, schema } }, { json: schema }],
    [{ response_format: { type: "regex", value: "a" } }, { regex: "a" }],
    [{ response_format: { type: "regex", pattern: "a" } }, { regex: "a" }],
    [{ response_format: { type: "grammar", grammar: 'root ::= "a"' } }, { grammar: 'root ::= "a"' }],
    [{ response_format: { type: "structural_tag", ...tag } }, { structural_tag: { type: "structural_tag", ...tag } }],
    [{ guided_json: schema }, { json: schema }],
    [{ guided_json: JSON.stringify(schema) }, { json: JSON.stringify(schema) }],
    [{ guided_json: {} }, { json: {} }],
    [
      { guided_json: schema, guided_whitespace_pattern: " ?" },
      { json: schema, whitespace_pattern: " ?" },
    ],
    [{ guided_regex: "a+" }, { regex: "a+" }],
    [{ guided_choice: ["a", "b"] }, { choice: ["a", "b"] }],
    [{ guided_grammar: 'start: "a"' }, { grammar: 'start: "a"' }],
    [{ guided_json_object: true }, { json_object: true }],
    [{ json_schema: schema }, { json: schema }],
    [{ grammar: 'root ::= "a"' }, { grammar: 'root ::= "a"' }],
    [{ regex: "a" }, { regex: "a" }],
    [{ ebnf: 'root ::= "a"' }, { grammar: 'root ::= "a"' }],
    [{ structural_tag: JSON.stringify(tag) }, { structural_tag: JSON.stringify(tag) }],
    [{ structured_outputs: { regex: "a" } }, { regex: "a" }],
  ];
  for (const [fields, expected] of cases) {
    test(JSON.stringify(fields).slice(0, 100), () => expect(structuredOutputs(fields)).toEqual(expected));
  }
});

describe("errors name the caller's field", () => {
  const cases: [StructuredFields, string, RegExp][] = [
    [{ response_format: "json" }, "response_format", /must be an object/],
    [{ response_format: { type: "yaml" } }, "response_format.type", /must be "text"/],
    [{ response_format: { type: "json_schema" } }, "response_format.json_schema", /with a schema/],
    [{ response_format: { type: "json_schema", json_schema: {} } }, "response_format.json_schema.schema", /required/],
    [
      { response_format: { type: "json_schema", json_schema: { schema: false } } },
      "response_format.json_schema.schema",
      /no value/,
    ],
    [
      { response_format: { type: "json_schema", json_schema: { name: 5, schema } } },
      "response_format.json_schema.name",
      /a string of at most 256/,
    ],
    [
      { response_format: { type: "json_schema", json_schema: { name: "a".repeat(257), schema } } },
      "response_format.json_schema.name",
      /a string of at most 256/,
    ],
    [
      { response_format: { type: "json_schema", json_schema: { name: "n", strict: "yes", schema } } },
      "response_format.json_schema.strict",
      /true or false/,
    ],
    [{ response_format: { type: "regex" } }, "response_format.pattern", /required/],
    [{ response_format: { type: "json", value: 5 } }, "response_format.value", /JSON text/],
    [{ guided_choice: "a" }, "guided_choice", /must be an array/],
    [{ guided_choice: ["a", 1] }, "guided_choice[1]", /must be a string/],
    [{ guided_json: 5 }, "guided_json", /JSON text/],
    [{ guided_json: {}, guided_whitespace_pattern: 1 }, "guided_whitespace_pattern", /must be a string/],
    [{ grammar: { type: "json" } }, "grammar", /must be a string/],
    [{ guided_json: schema, regex: "a" }, "regex", /^guided_json and regex both/],
    [
      { response_format: { type: "json_object" }, structured_outputs: { regex: "a" } },
      "response_format",
      /^structured_outputs and response_format both/,
    ],
  ];
  for (const [fields, param, message] of cases) {
    test(JSON.stringify(fields).slice(0, 100), () => {
      let error: unknown;
      try {
        structuredOutputs(fields);
      } catch (thrown) {
        error = thrown;
      }
      expect(error).toBeInstanceOf(FastgenError);
      expect(error).toMatchObject({ kind: "invalid_request", param });
      expect((error as FastgenError).message).toMatch(message);
    });
  }

  test("also those that the library finds", () => {
    const error = new FastgenError("invalid_request", "structured_outputs.json: not (at /not) is not supported", {
      param: "structured_outputs.json",
    });
    const format = { type: "json_schema", json_schema: { schema } };
    const renamed = inCallersWords(error, { response_format: format }) as FastgenError;
    expect(renamed.param).toBe("response_format.json_schema.schema");
    expect(renamed.message).toBe("response_format.json_schema.schema: not (at /not) is not supported");
    expect(inCallersWords(error, { structured_outputs: { json: schema } })).toMatchObject({ param: error.param });
    const spaces = new FastgenError("invalid_request", "structured_outputs.whitespace_pattern: no", {
      param: "structured_outputs.whitespace_pattern",
    });
    expect(inCallersWords(spaces, { guided_json: schema })).toMatchObject({ param: "guided_whitespace_pattern" });
    expect(inCallersWords(spaces, { structured_outputs: { json: schema } })).toMatchObject({ param: spaces.param });
    const other = new FastgenError("invalid_request", "stop is wrong", { param: "stop" });
    expect(inCallersWords(other, { guided_json: schema })).toBe(other);
  });
});
