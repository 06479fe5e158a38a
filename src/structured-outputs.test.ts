/** The kinds of structured outputs beside schemas, their boundary, and their rules within other grammars. */
import { describe, expect, test } from "bun:test";
import { parseWith, schemaError } from "./schema-error.ts";
import { structuredOutputsSchema, structuredRules } from "./structured-outputs.ts";
import { allowed, larkAllows, refusal } from "./structured-testing.ts";

const a = { type: "object", properties: { a: { type: "integer" } }, required: ["a"] };
const tag = (begin: string, content: object, end = "</f>") => ({ type: "tag", begin, content, end });
const digits = { type: "regex", pattern: "[0-9]+" };
const format = (one: object) => ({ structural_tag: { type: "structural_tag", format: one } });

describe("allows", () => {
  const cases: [name: string, spec: object, good: string[], bad: string[]][] = [
    [
      "choice",
      { choice: ["a", "ab", 'say "x"\n/\u007f', "é😀"] },
      ["a", "ab", 'say "x"\n/\u007f', "é😀"],
      ["b", "", "aba"],
    ],
    ["json_object", { json_object: true }, ["{}", '{"a": [1]}'], ["[]", "1"]],
    ["JSON without spaces", { json: a, disable_any_whitespace: true }, ['{"a":1}'], ['{"a": 1}', '{ "a":1}']],
    [
      "JSON with bounded spaces",
      { json: a, whitespace_pattern: "[ \\n]{0,2}" },
      ['{"a":1}', '{ "a" \n: 1}'],
      ['{"a":   1}', '{"a":\t1}'],
    ],
    [
      "\\s, of JSON's spaces alone",
      { json: a, whitespace_pattern: "\\s?" },
      ['{"a":\t1}'],
      ['{"a":\u00a01}', '{"a":  1}'],
    ],
    ["Lark", { grammar: 'start: A "b"\nA: /a+/' }, ["aab"], ["b"]],
    [
      "structures and triggers",
      {
        structural_tag: {
          structures: [
            { begin: "<f=x>", schema: a, end: "</f>" },
            { begin: "<f=y>", schema: {}, end: "</f>" },
          ],
          triggers: ["<f="],
        },
      },
      ["", "a < b", 'x <f=x>{"a":1}</f> y', '<f=y>1</f><f=x>{"a":2}</f>'],
      ["<f=z>1</f>", "<f=x>{}</f>", "<f=x>"],
    ],
    [
      "const_string, or, optional",
      format({
        type: "sequence",
        elements: [
          { type: "const_string", value: "a" },
          { type: "or", elements: [digits, { type: "const_string", value: "b" }] },
          { type: "optional", content: { type: "const_string", value: "c" } },
        ],
      }),
      ["a12", "abc"],
      ["a", "c", "abcc"],
    ],
    [
      "star, plus, repeat",
      format({
        type: "sequence",
        elements: [
          { type: "star", content: { type: "const_string", value: "a" } },
          { type: "plus", content: { type: "const_string", value: "b" } },
          { type: "repeat", min: 1, max: 2, content: { type: "const_string", value: "c" } },
        ],
      }),
      ["bc", "aabbcc"],
      ["ac", "abccc"],
    ],
    [
      "text in a tag, then text",
      format({ type: "sequence", elements: [tag("<t>", { type: "any_text" }, "</t>"), { type: "any_text" }] }),
      ["<t>a<b</t>x", "<t></t>"],
      ["x", "<t>x"],
    ],
    [
      "triggered tags",
      format({
        type: "triggered_tags",
        triggers: ["<f"],
        tags: [tag("<f>", digits)],
        at_least_one: true,
        stop_after_first: true,
      }),
      ["text <f>1</f>"],
      ["text", "<f>1</f> more"],
    ],
    [
      "tags with a separator",
      format({
        type: "tags_with_separator",
        separator: ",",
        tags: [
          tag("[", { type: "json_schema", json_schema: { type: "integer" } }, "]"),
          tag("(", { type: "grammar", grammar: 'root ::= "(" root ")" | "x"' }, ")"),
        ],
      }),
      ["", "[1],(x)", "((x))"],
      ["[1],", "[1](x)"],
    ],
  ];
  for (const [name, spec, good, bad] of cases) {
    test(name, async () => expect(await allowed(spec, [...good, ...bad])).toEqual(good));
  }
});

describe("refuses", () => {
  const cases: [spec: object, message: RegExp][] = [
    [
      { json: {}, whitespace_pattern: "x?" },
      /^structured_outputs.whitespace_pattern: may allow spaces, tabs and line ends alone/,
    ],
    [{ json: {}, whitespace_pattern: "[^ ]" }, /spaces, tabs and line ends alone/],
    [{ choice: ["\ud800"] }, /half a surrogate pair/],
    [{ choice: ["a".repeat(300_000), "b".repeat(300_000)] }, /600000 characters in all/],
    [{ structural_tag: "{" }, /is not valid JSON/],
    [{ structural_tag: [] }, /must be an object/],
    [format({ type: "qwen_xml_parameter" }), /format has the type "qwen_xml_parameter", which is not supported/],
    [format({ type: "json_schema", json_schema: {}, style: "xml" }), /format\/style "xml"/],
    [format({ type: "sequence", elements: [{ type: "any_text" }, digits] }), /any_text must end the answer/],
    [
      format({ type: "triggered_tags", triggers: ["<f"], tags: [tag("<g>", digits)] }),
      /begins with none of the triggers/,
    ],
    [format({ type: "any_text", excludes: ["a"] }), /format\/excludes is not supported/],
    [format({ type: "json_schema", json_schema: { uniqueItems: true } }), /uniqueItems/],
    [{ grammar: 'start: "a\0"' }, /NUL/],
  ];
  for (const [spec, message] of cases) {
    test(JSON.stringify(spec).slice(0, 80), () => expect(refusal(spec)).toMatch(message));
  }
});

test("rules have their own names within another grammar", async () => {
  const specs = [
    { json: a },
    { regex: "a+" },
    { choice: ["q"] },
    { grammar: 'start: x\nx: "}" | "q"' },
    { grammar: 'root ::= "(" root ")" | "x"' },
    format(tag("<f>", digits)),
  ];
  const names = specs.map((_, i) => `part_${i}`);
  const rules = specs.map((spec, i) => structuredRules(spec, names[i]));
  const lark = [`start: ${names.join(" ")}`, ...rules].join("\n");
  expect(await larkAllows(lark, '{"a":1}aaq}(x)<f>1</f>')).toBeTrue();
  expect(await larkAllows(lark, '{"a":1}aaqz(x)<f>1</f>')).toBeFalse();
});

test("the boundary takes one kind, and bounds it", () => {
  const error = (value: unknown) => {
    const result = parseWith(structuredOutputsSchema, value);
    return result.success ? null : schemaError(result.error, ["structured_outputs"]).message;
  };
  expect(parseWith(structuredOutputsSchema, { json: null, regex: "a", json_object: false }).success).toBeTrue();
  expect(parseWith(structuredOutputsSchema, { json: null, disable_fallback: false }).data).toBeNull();
  expect(error({ json: {}, regex: "a" })).toBe(
    "structured_outputs must have one of json, regex, choice, grammar, json_object, structural_tag, not several",
  );
  expect(error({ choice: [] })).toBe("structured_outputs.choice has 0 entries; 1 to 8192 are allowed");
  expect(error({ regex: "a".repeat(600_000) })).toContain("at most 524288 characters");
  expect(error({ yaml: "a" })).toContain("structured_outputs.yaml is an unknown");
});
