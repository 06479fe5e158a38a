/** How each format's calls are read, however the text is cut: read() tries many ways. */
import { describe, expect, test } from "bun:test";
import { MAX_HELD_CALL_LENGTH } from "../limits.ts";
import type { FunctionTool } from "./parts.ts";
import { cut, partsOf, read, whole } from "./testing.ts";

const hermes = { tools: "hermes" };
const llama = { tools: "llama3_json" };
const mistral = { tools: "mistral" };
const pythonic = { tools: "pythonic" };

const hermesCall = (body: string) => `<tool_call>\n${body}\n</tool_call>`;
const F = '{"name": "f", "arguments": {"a": 1}}';

describe("hermes", () => {
  test.each([
    ["a call", hermesCall(F), { calls: [["f", '{"a": 1}']] }],
    [
      "several",
      `${hermesCall(F)}\n${hermesCall(F)}\n`,
      {
        calls: [
          ["f", '{"a": 1}'],
          ["f", '{"a": 1}'],
        ],
      },
    ],
    [
      "text before and after",
      `Let me see.\n${hermesCall(F)}\nDone. `,
      { text: "Let me see.\nDone. ", calls: [["f", '{"a": 1}']] },
    ],
    ["no spaces", `<tool_call>{"name":"f","arguments":{}}</tool_call>`, { calls: [["f", "{}"]] }],
    ["an unknown tool", hermesCall('{"name": "nobody", "arguments": {}}'), { calls: [["nobody", "{}"]] }],
    ["no arguments", hermesCall('{"name": "f"}'), { calls: [["f", "{}"]] }],
    ["parameters", hermesCall('{"name": "f", "parameters": {"a": 1}}'), { calls: [["f", '{"a": 1}']] }],
    [
      "arguments before the name",
      hermesCall('{"arguments": {"a": [1]}, "name": "f"}'),
      { calls: [["f", '{"a": [1]}']] },
    ],
    ["other keys", hermesCall('{"id": {"x": "}"}, "name": "f", "arguments": {}, "z": 1}'), { calls: [["f", "{}"]] }],
    ["arguments without a value", hermesCall('{"name": "f", "arguments": }'), { calls: [["f", "{}"]] }],
    ["no mark at the end", `<tool_call>${F}`, { calls: [["f", '{"a": 1}']] }],
    [
      "braces, quotes and escapes in strings",
      hermesCall('{"name": "f", "arguments": {"a": "}{]\\"\\\\", "b": {"c": "</tool_call>"}, "d": "\\u00e9é😀"}}'),
      { calls: [["f", '{"a": "}{]\\"\\\\", "b": {"c": "</tool_call>"}, "d": "\\u00e9é😀"}']] },
    ],
    [
      "numbers as they are written",
      hermesCall('{"name": "f", "arguments": {"a": 1.0, "b": -2e+10, "c": 12345678901234567890, "d": [true, null]}}'),
      { calls: [["f", '{"a": 1.0, "b": -2e+10, "c": 12345678901234567890, "d": [true, null]}']] },
    ],
    ["a name with escapes", hermesCall('{"name": "f\\u0031", "arguments": {}}'), { calls: [["f1", "{}"]] }],
    [
      "a call within another's text",
      `<tool_call>no ${hermesCall(F)}`,
      { text: "<tool_call>no", calls: [["f", '{"a": 1}']] },
    ],
    ["a mark twice", `<tool_call>\n${hermesCall(F)}`, { text: "<tool_call>", calls: [["f", '{"a": 1}']] }],
  ] as const)("%s", (_, text, expected) => {
    expect(read(hermes, text) as unknown).toEqual(expected);
  });

  test.each([
    "no call at all",
    " spaces around \n",
    "half a mark <tool_c",
    "a mark alone <tool_call>",
    "<tool_call>\n{",
    '<tool_call>\n{"name": "f',
    '<tool_call>\n{"name": 7, "arguments": {}}\n</tool_call>',
    '<tool_call>\n{"name": "", "arguments": {}}\n</tool_call>',
    '<tool_call>{"arguments": {}}</tool_call>',
    '<tool_call>{"arguments": {"a": 1}, "name"',
    "<tool_call>\n[1, 2]\n</tool_call>",
    "a < b, <tool> and <tool_calls> and </tool_call>",
  ])("%j is text, whole", (text) => {
    expect(read(hermes, text)).toEqual({ text });
  });

  test.each([
    ["in a string", '{"name": "f", "arguments": {"a": "x', { calls: [["f", '{"a": "x']] }],
    ["before the arguments", '{"name": "f", "arg', { calls: [["f", ""]] }],
    [
      "by a character that JSON has not",
      '{"name": "f", "arguments": {"a": <b>',
      { calls: [["f", '{"a": ']], text: "<b>" },
    ],
  ] as const)("a call that breaks off %s stands as it is", (_, text, expected) => {
    expect(read(hermes, `<tool_call>${text}`) as unknown).toEqual(expected);
  });

  test("the call comes as soon as its name is known, arguments as they are written", () => {
    const lists = partsOf(hermes, ['<tool_call>{"name": "f"', ', "arguments": {"a', '": 1', "}}</tool_call>"]);
    const [call, ...others] = lists.map((list) => list.map((part) => ({ ...part, id: undefined })));
    expect(call).toEqual([{ type: "call", index: 0, id: undefined, name: "f" }]);
    expect(others.flat().map((part) => part.type === "arguments" && part.text)).toEqual(['{"a', '": 1', "}"]);
  });

  test("ids are OpenAI's and differ", () => {
    const ids = partsOf(hermes, [hermesCall(F), hermesCall(F)])
      .flat()
      .flatMap((part) => (part.type === "call" ? part.id : []));
    expect(ids).toEqual([expect.stringMatching(/^call_[0-9a-f]{24}$/), expect.stringMatching(/^call_[0-9a-f]{24}$/)]);
    expect(ids[0]).not.toBe(ids[1]);
  });

  test("what is held back is bounded", () => {
    const start = '<tool_call>{"arguments": "';
    const text = `${start}${"x".repeat(MAX_HELD_CALL_LENGTH)}", "name": "f"}</tool_call>`;
    expect(whole(partsOf(hermes, [text]).flat())).toEqual({ reasoning: "", text, calls: [] });
    expect(whole(partsOf(hermes, cut(text, 1)).flat()).text).toBe(text);
    const held = partsOf(hermes, [text.slice(0, MAX_HELD_CALL_LENGTH), text.slice(MAX_HELD_CALL_LENGTH)]);
    expect(held.map((list) => list.length)).toEqual([0, 1, 0]);
  });
});

describe("llama3_json", () => {
  const CALL = '{"name": "f", "parameters": {"a": 1}}';
  test.each([
    ["a call", CALL, { calls: [["f", '{"a": 1}']] }],
    ["with a type", '{"type": "function", "name": "f", "parameters": {}}', { calls: [["f", "{}"]] }],
    ["behind the tag", `<|python_tag|>${CALL}`, { calls: [["f", '{"a": 1}']] }],
    ["text and the tag", `Well: <|python_tag|>${CALL}`, { text: "Well:", calls: [["f", '{"a": 1}']] }],
    ["several", `${CALL}; ${CALL};${CALL}`, { calls: Array(3).fill(["f", '{"a": 1}']) }],
    ["several on lines", `${CALL}\n${CALL}\n`, { calls: Array(2).fill(["f", '{"a": 1}']) }],
    ["text after it", `${CALL} and {"b": 2}`, { text: ' and {"b": 2}', calls: [["f", '{"a": 1}']] }],
    ["a separator without a call", `${CALL}; ok`, { text: "; ok", calls: [["f", '{"a": 1}']] }],
    ["arguments", '{"name": "f", "arguments": {}}', { calls: [["f", "{}"]] }],
  ] as const)("%s", (_, text, expected) => {
    expect(read(llama, text) as unknown).toEqual(expected);
  });

  test.each([
    '{"name": "Ann", "age": 3}',
    '{"name": "Ann"}',
    '{"a": 1}',
    "{not JSON}",
    `Use ${CALL}`,
    '<|python_tag|>search.call(query="x")',
    "<|python",
  ])("%j is text, whole", (text) => {
    expect(read(llama, text)).toEqual({ text });
  });
});

describe("mistral", () => {
  test.each([
    [
      "a list",
      `[TOOL_CALLS] [${F}, ${F}]`,
      {
        calls: [
          ["f", '{"a": 1}'],
          ["f", '{"a": 1}'],
        ],
      },
    ],
    ["a list with ids", '[TOOL_CALLS][{"name": "f", "arguments": {}, "id": "123456789"}]', { calls: [["f", "{}"]] }],
    ["no list", `[TOOL_CALLS]${F}`, { calls: [["f", '{"a": 1}']] }],
    [
      "names",
      '[TOOL_CALLS]f{"a": 1}[TOOL_CALLS]g[ARGS]{}',
      {
        calls: [
          ["f", '{"a": 1}'],
          ["g", "{}"],
        ],
      },
    ],
    ["text before and after", `Hm. [TOOL_CALLS][${F}] so`, { text: "Hm. so", calls: [["f", '{"a": 1}']] }],
    ["a list that breaks", `[TOOL_CALLS][${F}, oops]`, { text: ", oops]", calls: [["f", '{"a": 1}']] }],
  ] as const)("%s", (_, text, expected) => {
    expect(read(mistral, text) as unknown).toEqual(expected);
  });

  test.each(["[TOOL_CALLS] []", "[TOOL_CALLS]f", "[TOOL_CALLS]f says", "[TOOL", "[1, 2]", "[TOOL_CALLS]"])(
    "%j is text, whole",
    (text) => {
      expect(read(mistral, text)).toEqual({ text });
    },
  );

  test("ids have 9 letters and digits; the model's own is kept", () => {
    const ids = (text: string) =>
      partsOf(mistral, [text])
        .flat()
        .flatMap((part) => (part.type === "call" ? part.id : []));
    expect(ids(`[TOOL_CALLS][${F}]`)).toEqual([expect.stringMatching(/^[0-9A-Za-z]{9}$/)]);
    expect(ids("[TOOL_CALLS]f[CALL_ID]abcDEF123[ARGS]{}")).toEqual(["abcDEF123"]);
  });
});

describe("pythonic", () => {
  test.each([
    [
      "calls",
      '[f(a=1, b="x"), g()]',
      {
        calls: [
          ["f", '{"a": 1, "b": "x"}'],
          ["g", "{}"],
        ],
      },
    ],
    [
      "spaces and commas",
      "\n[ f( a = 1 , ) , g( ) ]\n",
      {
        calls: [
          ["f", '{"a": 1}'],
          ["g", "{}"],
        ],
      },
    ],
    [
      "every literal",
      "[f(a=True, b=None, c=[1, 'x', (2,)], d={'k': {\"l\": False}, 'm': []}, e=-1.50, g=.5, h=1_000, i=2e3, j=007, k=true)]",
      {
        calls: [
          [
            "f",
            '{"a": true, "b": null, "c": [1, "x", [2]], "d": {"k": {"l": false}, "m": []}, "e": -1.50, "g": 0.5, "h": 1000, "i": 2e3, "j": 7, "k": true}',
          ],
        ],
      },
    ],
    [
      "strings",
      `[f(a='it"s', b="it's", c='\\'\\n\\\\', d="\\x41\\u00e9\\U0001F600", e="\\ud83d\\ude00", g="a\nb", h="\\d\\/")]`,
      {
        calls: [
          [
            "f",
            `{"a": "it\\"s", "b": "it's", "c": "'\\n\\\\", "d": "Aé😀", "e": "\\ud83d\\ude00", "g": "a\\nb", "h": "\\\\d/"}`,
          ],
        ],
      },
    ],
    ["Llama 4's marks", "<|python_start|>[f(a=1)]<|python_end|>", { calls: [["f", '{"a": 1}']] }],
    ["text after it", "[f()] ok", { text: " ok", calls: [["f", "{}"]] }],
    ["a character that is none", '[f(a="\\U00110000")]', { text: '")]', calls: [["f", '{"a": "']] }],
    ["a number at the end", "[f(a=12", { calls: [["f", '{"a": 12']] }],
    ["a call that breaks off", '[f(a="x', { calls: [["f", '{"a": "x']] }],
    ["a value that is no literal", "[f(a=x)]", { text: ")]", calls: [["f", '{"a": x']] }],
  ] as const)("%s", (_, text, expected) => {
    expect(read(pythonic, text) as unknown).toEqual(expected);
  });

  test.each(["[1, 2]", "[a](http://b)", "[f(x)]", "[2()]", "[2(a=1)]", "[f", "[f(a", "see [f()]", "[]", "f(a=1)"])(
    "%j is text, whole",
    (text) => {
      expect(read(pythonic, text)).toEqual({ text });
    },
  );

  test("what is read as arguments is JSON", () => {
    const { calls } = read(pythonic, `[f(a="\\a\\v\\0", b='${"\u0001"}\t"', c={"a": 1,}, d=+5)]`);
    expect(JSON.parse(calls![0]![1])).toEqual({ a: "\u0007\u000b\0", b: '\u0001\t"', c: { a: 1 }, d: 5 });
  });

  test("nesting is bounded", () => {
    const deep = (n: number) => `[f(a=${"[".repeat(n)}${"]".repeat(n)})]`;
    expect(read(pythonic, deep(60)).text).toBeUndefined();
    expect(read(pythonic, deep(70)).text).toStartWith("[");
  });
});

describe("deepseek", () => {
  const call = (name: string, args: string) =>
    `<｜tool▁call▁begin｜>function<｜tool▁sep｜>${name}\n\`\`\`json\n${args}\n\`\`\`<｜tool▁call▁end｜>`;
  const v31 = '<｜tool▁call▁begin｜>f<｜tool▁sep｜>{"a": 1}<｜tool▁call▁end｜>';

  test.each([
    ["deepseek_v3", `<｜tool▁calls▁begin｜>${call("f", '{"a": 1}')}\n${call("g", "{}")}<｜tool▁calls▁end｜>`],
    ["deepseek_v3", `${call("f", '{"a": 1}')}${call("g", "{}")}`],
    [
      "deepseek_v31",
      `<｜tool▁calls▁begin｜>${v31}${v31.replace("f<", "g<").replace('"a": 1', "")}<｜tool▁calls▁end｜>`,
    ],
  ])("%s: %s", (tools, text) => {
    expect(read({ tools }, `Hm.\n${text}`)).toEqual({
      text: "Hm.",
      calls: [
        ["f", '{"a": 1}'],
        ["g", "{}"],
      ],
    });
  });

  test.each(["<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>function<｜tool▁sep｜>f", "<｜tool▁calls▁begin｜> no"])(
    "%j is text, whole",
    (text) => {
      expect(read({ tools: "deepseek_v3" }, text)).toEqual({ text });
    },
  );
});

/** A tool with one argument of each kind. */
const TYPED: FunctionTool[] = [
  {
    type: "function",
    function: {
      name: "f",
      parameters: {
        type: "object",
        properties: {
          s: { type: "string" },
          n: { type: "number" },
          b: { type: "boolean" },
          o: { type: "object" },
          a: { type: "array", items: { type: "string" } },
          either: { anyOf: [{ type: "string" }, { type: "null" }] },
          r: { $ref: "#/$defs/R" },
          e: { enum: ["x", "y"] },
          i: { type: "integer" },
          named: { $ref: "#/$defs/S" },
        },
        $defs: {
          R: { anyOf: [{ type: "integer" }, { $ref: "#/$defs/R" }, { $ref: "#/$defs/R" }] },
          S: { type: "string" },
        },
      },
    },
  },
];

/** Each value as it is written, and as JSON. */
const VALUES: [key: string, text: string, json: string][] = [
  ["s", "Oslo", '"Oslo"'],
  ["s", "12", '"12"'],
  ["s", "", '""'],
  ["s", ' "quoted"\n  and <b>more</b> \\ \t😀é\n', '" \\"quoted\\"\\n  and <b>more</b> \\\\ \\t😀é\\n"'],
  ["s", "null", '"null"'],
  ["s", '{"a": 1}', '"{\\"a\\": 1}"'],
  ["n", "-1.50", "-1.50"],
  ["n", " 12345678901234567890 ", "12345678901234567890"],
  ["n", "many", '"many"'],
  ["b", "true", "true"],
  ["b", "False", "false"],
  ["o", '{"k": {"</parameter>": "</arg_value>"}, "l": []}', '{"k": {"</parameter>": "</arg_value>"}, "l": []}'],
  ["o", "{'k': None}", '{"k": null}'],
  ["a", '["x",\n "]"]', '["x", "]"]'],
  ["either", "None", "null"],
  ["either", "null", "null"],
  ["either", "12", '"12"'],
  ["either", "text", '"text"'],
  ["r", "7", "7"],
  ["e", "x", '"x"'],
  ["i", "5", "5"],
  ["named", "12", '"12"'],
  ["unknown", "7", "7"],
  ["unknown", "[7", '"[7"'],
];

describe.each([
  [
    "qwen3_coder",
    (key: string, text: string) => `<parameter=${key}>\n${text}\n</parameter>\n`,
    "<function=f>\n",
    "</function>\n",
  ],
  ["glm45", (key: string, text: string) => `<arg_key>${key}</arg_key>\n<arg_value>${text}</arg_value>\n`, "f\n", ""],
] as const)("%s", (tools, argument, begin, end) => {
  const line = tools === "glm45" ? "" : "\n";
  const call = (inner: string) => `<tool_call>${line}${begin}${inner}${end}</tool_call>`;
  const readTyped = (text: string) => read({ tools }, text, { tools: TYPED });

  test.each(VALUES)("%s: %j is %s", (key, text, json) => {
    expect(readTyped(call(argument(key, text)))).toEqual({ calls: [["f", `{"${key}": ${json}}`]] });
  });

  test("several arguments, several calls, text around them", () => {
    const two = call(argument("s", "a") + argument("n", "1"));
    expect(readTyped(`Well.\n${two}\n${call("")}\nSo.`)).toEqual({
      text: "Well.\nSo.",
      calls: [
        ["f", '{"s": "a", "n": 1}'],
        ["f", "{}"],
      ],
    });
  });

  test("without any line ends", () => {
    const bare = call(argument("s", "a") + argument("n", "1")).replaceAll("\n", "");
    expect(readTyped(bare)).toEqual({ calls: [["f", '{"s": "a", "n": 1}']] });
  });

  test("an unknown tool", () => {
    expect(
      readTyped(call(argument("x", "a")).replace(begin, begin.replace("f\n", "nobody\n").replace("=f>", "=nobody>"))),
    ).toEqual({
      calls: [["nobody", '{"x": "a"}']],
    });
  });

  test("a call that breaks off stands as it is", () => {
    const text = call(argument("s", "abc"));
    const at = text.indexOf("abc") + 2;
    expect(readTyped(text.slice(0, at))).toEqual({ calls: [["f", '{"s": "ab']] });
    const number = call(argument("n", "123"));
    expect(readTyped(number.slice(0, number.indexOf("123") + 2))).toEqual({ calls: [["f", '{"n": 12']] });
  });

  test("strings come as they are written", () => {
    const text = call(argument("s", "abc"));
    const at = text.indexOf("abc") + 2;
    const lists = partsOf({ tools }, [text.slice(0, at), text.slice(at)], { tools: TYPED });
    expect(lists[0]!.at(-1)).toEqual({ type: "arguments", index: 0, text: '{"s": "ab' });
  });

  test.each([
    "<tool_call>",
    "<tool_call>\n",
    "<tool_call>no",
    '<tool_call>{"name": "f", "arguments": {}}</tool_call>',
    "<tool_call>f but no more</tool_call>",
    "<tool_call>\n<function=f",
    "<tool_call>\n<function=f>\n",
    "<tool_call>f\n<arg_key>s</arg_key>",
    "<function=f>{}</function>",
    "a < b, </tool_call> and <tool_calls>, <function>",
  ])("%j is text, whole", (text) => {
    expect(readTyped(text)).toEqual({ text });
  });
});

test("qwen3_coder: a call without the outer tag", () => {
  const text = "Well.\n<function=f>\n<parameter=s>\na\n</parameter>\n</function>";
  expect(read({ tools: "qwen3_coder" }, text, { tools: TYPED })).toEqual({
    text: "Well.",
    calls: [["f", '{"s": "a"}']],
  });
});
