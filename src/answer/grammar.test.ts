/** What grammars of answers allow, on the built-in model's vocabulary with the formats' marks added to it in three ways. */
import { afterAll, describe, expect, test } from "bun:test";
import * as path from "node:path";
import { newMatcher } from "../grammar/compile.ts";
import { Llguidance } from "../grammar/llguidance.ts";
import { Matcher } from "../grammar/matcher.ts";
import { GrammarTokenizer } from "../grammar/tokenizer.ts";
import { Tokenizer } from "../text/tokenizer.ts";
import { answerFormat, TOOL_FORMATS } from "./formats.ts";
import { type AnswerGrammar, answerGrammar, type GrammarRequest } from "./grammar.ts";
import type { FunctionTool } from "./parts.ts";
import { REASONING_FORMATS } from "./reasoning.ts";
import { partsOf, whole } from "./testing.ts";

/** How the model has the formats' marks: as text, as tokens whose text is text, as control tokens. */
type Marks = "text" | "token" | "special";

const TINY = path.join(import.meta.dir, "../../models/fastgen-tiny/tokenizer.json");
const MARKS = new Set([
  ...TOOL_FORMATS.flatMap(({ marks }) => marks),
  ...REASONING_FORMATS.flatMap(({ begin, end }) => [begin, end]),
]);

class Model {
  private constructor(
    readonly tokenizer: Tokenizer,
    private readonly grammars: GrammarTokenizer,
    private readonly marks: Map<string, number>,
    private readonly special: boolean,
  ) {}

  static async load(kind: Marks): Promise<Model> {
    const json = await Bun.file(TINY).json();
    const first =
      1 + Math.max(...Object.values(json.model.vocab as Record<string, number>), json.added_tokens.at(-1).id);
    const ids = new Map(kind === "text" ? [] : [...MARKS].map((content, i) => [content, first + i]));
    for (const [content, id] of ids)
      json.added_tokens.push({ ...json.added_tokens[0], id, content, special: kind === "special" });
    const tokenizerJson = JSON.stringify(json);
    const tokenizer = await Tokenizer.load({ tokenizer: tokenizerJson });
    const { table } = tokenizer;
    const stop = json.added_tokens.find((token: { content: string }) => token.content === "<|end|>").id;
    const vocabulary = { table, vocabSize: table.size, stopIds: [stop], tokenizerJson };
    return new Model(tokenizer, new GrammarTokenizer(Llguidance.open(), vocabulary), ids, kind === "special");
  }

  markToken(text: string) {
    const id = this.marks.get(text);
    return id === undefined ? null : { id, special: this.special };
  }

  matcher({ source }: AnswerGrammar): Matcher {
    return new Matcher(newMatcher(Llguidance.open(), this.grammars.pointer, source) as number);
  }

  /** "whole": the text may end here; "part": it may go on; else what was not allowed. */
  async follow(grammar: AnswerGrammar, text: string): Promise<string> {
    const matcher = this.matcher(grammar);
    try {
      for (const id of await this.tokenizer.encode(text, false)) {
        if (!matcher.consume(id)) return `refused at ${JSON.stringify(this.tokenizer.tokenText(id))}`;
      }
      return matcher.accepting ? "whole" : "part";
    } finally {
      matcher.free();
    }
  }

  free(): void {
    this.grammars.free();
  }
}

const models = {
  text: await Model.load("text"),
  token: await Model.load("token"),
  special: await Model.load("special"),
};
afterAll(() => {
  for (const model of Object.values(models)) model.free();
});

const WEATHER = {
  type: "object",
  properties: { city: { type: "string", maxLength: 8 }, days: { type: "integer" }, rain: { type: "boolean" } },
  required: ["city"],
  additionalProperties: false,
};
const TOOLS: FunctionTool[] = [
  { type: "function", function: { name: "weather", parameters: WEATHER } },
  { type: "function", function: { name: "weather_now", parameters: { type: "object" } } },
];

interface Asked extends Partial<Omit<GrammarRequest, "markToken">> {
  marks?: Marks;
  reasoning?: string;
}

function grammarOf(tools: string, { marks = "special", reasoning = "none", ...asked }: Asked = {}) {
  const format = answerFormat("", { toolCallParser: tools, reasoningParser: reasoning });
  return answerGrammar(format, {
    tools: TOOLS,
    toolChoice: "auto",
    parallelToolCalls: true,
    thinkingOpen: false,
    structured: null,
    ...asked,
    markToken: (text) => models[marks].markToken(text),
  });
}

/** What becomes of a text, of which everything up to the texts of `after` comes before the grammar. */
function follow(tools: string, asked: Asked, text: string): Promise<string> {
  const grammar = grammarOf(tools, asked)!;
  const start = grammar.after.map((mark) => text.indexOf(mark) + mark.length);
  return models[asked.marks ?? "special"].follow(grammar, text.slice(start[0] ?? 0));
}

/** A call of each tool, both, and one whose arguments are wrong, as each format writes them. */
const CALLS: Record<string, { weather: string; now: string; both: string; wrong: string }> = {
  hermes: calls('<tool_call>\n{"name": "NAME", "arguments": ARGS}\n</tool_call>', (a, b) => `${a}\n${b}`),
  llama3_json: calls('{"name": "NAME", "parameters": ARGS}', (a, b) => `${a}; ${b}`),
  mistral: calls("[TOOL_CALLS]NAME[ARGS]ARGS_", (a, b) => `${a}${b}`),
  deepseek_v3: deepseek("function<｜tool▁sep｜>NAME\n```json\nARGS\n```"),
  deepseek_v31: deepseek("NAME<｜tool▁sep｜>ARGS"),
  qwen3_coder: {
    weather: qwen("weather", ["city", "Oslo"], ["days", "2"], ["rain", "True"]),
    now: qwen("weather_now", ["any", "[1]"]),
    both: `${qwen("weather", ["city", "Oslo"])}\n${qwen("weather_now")}`,
    wrong: qwen("weather", ["town", "Oslo"]),
  },
  glm45: {
    weather: glm("weather", "\n", ["city", "Oslo"], ["days", "2"], ["rain", "false"]),
    now: glm("weather_now", "", ["any", "[1]"]),
    both: `${glm("weather", "", ["city", "Oslo"])}\n${glm("weather_now", "\n")}`,
    wrong: glm("weather", "\n", ["town", "Oslo"]),
  },
  pythonic: {
    weather: '[weather(city="Oslo", rain=True)]',
    now: "[weather_now()]",
    both: '[weather(city="Oslo"), weather_now()]',
    wrong: "[weather(town=",
  },
};

function qwen(name: string, ...args: [string, string][]) {
  const written = args.map(([key, value]) => `<parameter=${key}>\n${value}\n</parameter>\n`);
  return `<tool_call>\n<function=${name}>\n${written.join("")}</function>\n</tool_call>`;
}

function glm(name: string, line: string, ...args: [string, string][]) {
  const written = args.map(([key, value]) => `<arg_key>${key}</arg_key>${line}<arg_value>${value}</arg_value>${line}`);
  return `<tool_call>${name}${line}${written.join("")}</tool_call>`;
}

function calls(call: string, join: (a: string, b: string) => string) {
  const write = (name: string, args: string) => call.replace("NAME", name).replace(/ARGS_?(?!\])/, args);
  const [weather, now] = [write("weather", '{"city": "Oslo", "days": 2}'), write("weather_now", '{"any": [1]}')];
  return { weather, now, both: join(weather, now), wrong: write("weather", '{"town": "Oslo"}') };
}

function deepseek(call: string) {
  const inner = calls(`<｜tool▁call▁begin｜>${call}<｜tool▁call▁end｜>`, (a, b) => a + b);
  const framed = Object.entries(inner).map(([key, text]) => [key, `<｜tool▁calls▁begin｜>${text}<｜tool▁calls▁end｜>`]);
  return Object.fromEntries(framed) as typeof inner;
}

const CASES = TOOL_FORMATS.flatMap(({ name }) => Object.keys(models).map((marks) => [name, marks as Marks] as const));

describe.each(CASES)("%s, marks as %s", (tools, marks) => {
  const { weather, now, both, wrong } = CALLS[tools]!;

  test("required: calls of the tools and nothing else", async () => {
    const asked: Asked = { marks, toolChoice: "required" };
    for (const text of [weather, now, both]) expect([text, await follow(tools, asked, text)]).toEqual([text, "whole"]);
    for (const text of ["Hello", wrong]) expect(await follow(tools, asked, text)).toStartWith("refused");
    expect(await follow(tools, { ...asked, parallelToolCalls: false }, both)).toStartWith("refused");
    expect(await follow(tools, { ...asked, parallelToolCalls: false }, weather)).toBe("whole");
  });

  test("a named tool: one call of it", async () => {
    const asked: Asked = { marks, toolChoice: { name: "weather" } };
    expect(await follow(tools, asked, weather)).toBe("whole");
    for (const text of [now, both, wrong]) expect(await follow(tools, asked, text)).toStartWith("refused");
  });

  test("auto: text as it comes, and calls that have begun follow the tools' schemas", async () => {
    const format = TOOL_FORMATS.find(({ name }) => name === tools)!;
    const inText = format.marks.length > 0 && !["pythonic", "llama3_json"].includes(tools);
    for (const reasoning of ["none", "qwen3"]) {
      const asked: Asked = { marks, reasoning };
      const free = grammarOf(tools, asked)!.after.length > 0;
      for (const text of free ? [] : ["Hello [1] {2} <b>", '{"a": 1}', "[1, 2]"]) {
        expect([text, await follow(tools, asked, text)]).toEqual([text, "whole"]);
      }
      const texts = [weather, both, ...(inText ? [`Well.\n${weather}\nSo.`] : [])];
      for (const text of texts) expect([text, await follow(tools, asked, text)]).toEqual([text, "whole"]);
      expect(await follow(tools, asked, wrong)).toStartWith("refused");
      expect(await follow(tools, { ...asked, parallelToolCalls: false }, both)).toStartWith("refused");
      expect(await follow(tools, { ...asked, parallelToolCalls: false }, weather)).toBe("whole");
    }
  });

  test("whatever a grammar of calls allows is read as calls", async () => {
    const model = models[marks];
    const grammar = grammarOf(tools, { marks, toolChoice: "required", tools: TOOLS.slice(0, 1) })!;
    let ended = 0;
    for (let seed = 1; seed <= 12; seed++) {
      const text = randomAnswer(model, grammar, seed);
      if (text === null) continue;
      ended++;
      const { text: rest, calls: found } = whole(partsOf({ tools }, [text], { tools: TOOLS }).flat());
      expect([text, rest]).toEqual([text, ""]);
      expect(found.length).toBeGreaterThan(0);
      for (const [name, args] of found) {
        const { city, ...others } = JSON.parse(args);
        expect([name, typeof city]).toEqual(["weather", "string"]);
        expect(["days", "rain"]).toEqual(expect.arrayContaining(Object.keys(others)));
      }
    }
    expect(ended).toBeGreaterThan(5);
  });
});

/** The text of tokens drawn from what the grammar allows; null where it has not ended after many. */
function randomAnswer(model: Model, grammar: AnswerGrammar, seed: number): string | null {
  const matcher = model.matcher(grammar);
  try {
    const mask = new Uint32Array(matcher.maskBytes / 4);
    const ids: number[] = [];
    for (let state = seed; ids.length < 400; ) {
      if (matcher.accepting) return model.tokenizer.decode(ids, { skipSpecialTokens: false });
      matcher.fillMask(mask);
      const allowed: number[] = [];
      for (let id = 0; id < mask.length * 32; id++) if ((mask[id >> 5]! >>> (id & 31)) & 1) allowed.push(id);
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      const id = allowed[Math.floor((state / 2 ** 32) * allowed.length)]!;
      ids.push(id);
      expect(matcher.consume(id)).toBe(true);
    }
    return null;
  } finally {
    matcher.free();
  }
}

describe.each(TOOL_FORMATS.map(({ name }) => name))("%s", (tools) => {
  const only = (name: string, parameters?: Record<string, unknown>): Asked => ({
    marks: "text",
    toolChoice: "required",
    parallelToolCalls: false,
    tools: [{ type: "function", function: { name, parameters } }],
  });
  const written = (asked: Asked) => {
    const text = randomAnswer(models.text, grammarOf(tools, asked)!, 7)!;
    return whole(partsOf({ tools }, [text], { tools: asked.tools, toolChoice: "auto" }).flat());
  };

  test.each(["get-weather", "a.b", "mcp__x.y/z", "a:b", "1st", "-a", "wetter_für", "获取天气"])(
    "a tool called %s is read as it is written",
    (name) => {
      const asked = only(name, { type: "object", properties: { "in Grad": { const: 1 } }, required: ["in Grad"] });
      const { text, calls } = written(asked);
      expect([text, calls.length]).toEqual(["", 1]);
      expect([calls[0]![0], JSON.parse(calls[0]![1])]).toEqual([name, { "in Grad": 1 }]);
    },
  );

  test("a tool without a schema takes no arguments", () => {
    expect(JSON.parse(written(only("f")).calls[0]![1])).toEqual({});
  });
});

test.each(Object.entries(CALLS))("%s: a call that is cut off has no text of its marks", (tools, { weather }) => {
  for (let length = 1; length < weather.length; length++) {
    const part = weather.slice(0, length);
    const { text, calls } = whole(partsOf({ tools }, [part], { tools: TOOLS }).flat());
    if (calls.length > 0) expect([part, text]).toEqual([part, ""]);
  }
});

describe("reasoning", () => {
  const { weather } = CALLS.hermes!;
  const required: Asked = { toolChoice: "required", reasoning: "qwen3" };

  test.each(["special", "token"] as const)(
    "opened by the prompt, its end is a %s: the grammar holds from there",
    async (marks) => {
      const asked: Asked = { ...required, marks, thinkingOpen: true };
      expect(grammarOf("hermes", asked)!.after).toEqual(["</think>"]);
      expect(await follow("hermes", asked, `Hm <tool_call>.</think>\n\n${weather}`)).toBe("whole");
      expect(await follow("hermes", asked, "Hm.</think>\n\nHello")).toStartWith("refused");
    },
  );

  test("opened by the prompt, its end is text: it is part of the grammar", async () => {
    const asked: Asked = { ...required, marks: "text", thinkingOpen: true };
    expect(grammarOf("hermes", asked)!.after).toEqual([]);
    expect(await follow("hermes", asked, `Hm <tool_call>.</think>\n\n${weather}`)).toBe("whole");
    expect(await follow("hermes", asked, "Hm.</think>\n\nHello")).toStartWith("refused");
    expect(await follow("hermes", asked, "Hm.")).toBe("part");
  });

  test.each(["special", "token", "text"] as const)("a model that opens it itself may, marks as %s", async (marks) => {
    // Within the grammar, no other control token is text.
    const mention = marks === "special" ? "" : "<tool_call>";
    for (const text of [weather, `<think>\nHm ${mention}.\n</think>\n\n${weather}`]) {
      expect([text, await follow("hermes", { ...required, marks }, text)]).toEqual([text, "whole"]);
    }
    expect(await follow("hermes", { ...required, marks }, "<think>Hm.</think>Hello")).toStartWith("refused");
    expect(await follow("hermes", { ...required, marks }, "Hm.")).toStartWith("refused");
  });
});

describe("structured outputs", () => {
  const structured = (rule: string) =>
    `${rule}: %json {"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}`;

  test("without tools", async () => {
    for (const asked of [{ tools: [] }, { toolChoice: "none" }] as Asked[]) {
      expect(await follow("hermes", { ...asked, structured }, '{"a": 1}')).toBe("whole");
      expect(await follow("hermes", { ...asked, structured }, "Hello")).toStartWith("refused");
      expect(await follow("hermes", { ...asked, structured }, CALLS.hermes!.weather)).toStartWith("refused");
    }
  });

  test.each(["special", "token", "text"] as const)("behind reasoning, marks as %s", async (marks) => {
    const asked: Asked = { marks, structured, reasoning: "qwen3", tools: [] };
    for (const text of ['{"a": 1}', '<think>\nHm {"b".\n</think>\n\n{"a": 1}']) {
      expect([text, await follow("hermes", asked, text)]).toEqual([text, "whole"]);
    }
    expect(await follow("hermes", { ...asked, thinkingOpen: true }, 'Hm {"b".\n</think>\n\n{"a": 1}')).toBe("whole");
    expect(await follow("hermes", { ...asked, thinkingOpen: true }, 'Hm.</think>{"a": 1')).toBe("part");
    expect(await follow("hermes", { ...asked, thinkingOpen: true }, "Hm.</think>Yes")).toStartWith("refused");
  });

  test.each(TOOL_FORMATS.map(({ name }) => name))("beside tools of %s: the one or the other", async (tools) => {
    const { weather: bare, wrong } = CALLS[tools]!;
    expect(await follow(tools, { structured }, '{"a": 1}')).toBe("whole");
    // Without a mark a call cannot be told from the structured output.
    const weather = tools === "llama3_json" ? `<|python_tag|>${bare}` : bare;
    if (tools === "pythonic") expect(await follow(tools, { structured }, weather)).toStartWith("refused");
    else expect(await follow(tools, { structured }, weather)).toBe("whole");
    for (const text of ["Hello", wrong]) expect(await follow(tools, { structured }, text)).toStartWith("refused");
    expect(await follow(tools, { structured, toolChoice: "required" }, '{"a": 1}')).toStartWith("refused");
  });
});

describe("answerGrammar", () => {
  test("no grammar where every answer is right", () => {
    expect(grammarOf("hermes", { tools: [] })).toBeNull();
    expect(grammarOf("hermes", { toolChoice: "none" })).toBeNull();
    expect(grammarOf("none")).toBeNull();
  });

  test("what is asked for alone is a grammar of its own", () => {
    const structured = (rule: string) => `${rule}: %json {}`;
    const alone = { source: { lark: "start: %json {}" }, after: [] };
    expect(grammarOf("hermes", { tools: [], structured })).toEqual(alone);
    expect(grammarOf("hermes", { toolChoice: "none", structured })).toEqual(alone);
    expect(grammarOf("hermes", { structured })).not.toEqual(alone);
  });

  test("a model without calls of its own writes those that must come as Hermes does", async () => {
    expect(await follow("none", { toolChoice: "required" }, CALLS.hermes!.weather)).toBe("whole");
  });

  test("text costs nothing before a mark that is one token", () => {
    expect(grammarOf("hermes")!.after).toEqual(["<tool_call>"]);
    expect(grammarOf("hermes", { marks: "text" })!.after).toEqual([]);
    // A mark within reasoning begins no call.
    expect(grammarOf("hermes", { reasoning: "qwen3" })!.after).toEqual([]);
  });

  test("a named tool is called once", async () => {
    const { weather } = CALLS.hermes!;
    const two = `${weather}\n${weather}`;
    expect(await follow("hermes", { toolChoice: "required" }, two)).toBe("whole");
    expect(await follow("hermes", { toolChoice: { name: "weather" } }, two)).toStartWith("refused");
  });

  test("a named tool must be there", () => {
    expect(() => grammarOf("hermes", { toolChoice: { name: "rain" } })).toThrow('tool_choice: there is no tool "rain"');
  });

  test("a schema that cannot be held is refused where it is strict, else it stands for any object", async () => {
    const tool = (strict: boolean): FunctionTool[] => [
      TOOLS[0]!,
      { type: "function", function: { name: "odd", strict, parameters: { type: "object", not: { required: ["a"] } } } },
    ];
    const asked: Asked = { toolChoice: { name: "odd" } };
    expect(() => grammarOf("hermes", { ...asked, tools: tool(true) })).toThrow("tools[1].function.parameters: ");
    const call = '<tool_call>\n{"name": "odd", "arguments": {"b": 1}}\n</tool_call>';
    expect(await follow("hermes", { ...asked, tools: tool(false) }, call)).toBe("whole");
  });

  test("a tool takes the parameters that it lists, and others only where its schema speaks of them", async () => {
    const properties = { a: { type: "integer" } };
    const takesMore = async (parameters: Record<string, unknown>) => {
      const asked: Asked = {
        toolChoice: "required",
        tools: [{ type: "function", function: { name: "f", parameters } }],
      };
      const call = (args: string) => `<tool_call>\n{"name": "f", "arguments": ${args}}\n</tool_call>`;
      expect(await follow("hermes", asked, call('{"a": 1}'))).toBe("whole");
      return (await follow("hermes", asked, call('{"a": 1, "b": 2}'))) === "whole";
    };
    expect(await takesMore({ type: "object", properties })).toBe(false);
    expect(await takesMore({ properties, required: ["a"] })).toBe(false);
    expect(await takesMore({ type: "object" })).toBe(true);
    expect(await takesMore({ properties, additionalProperties: true })).toBe(true);
    expect(await takesMore({ properties, patternProperties: { "^b$": true } })).toBe(true);
    expect(await takesMore({ properties, anyOf: [{ required: ["a"] }, { required: ["c"] }] })).toBe(true);
  });

  test("pythonic: optional arguments, references, any order of commas", async () => {
    const parameters = {
      type: "object",
      properties: { "a-1": { type: "integer" }, b: { $ref: "#/$defs/B" }, c: { type: "boolean" } },
      required: ["b"],
      $defs: { B: { enum: ["x", "y"] } },
    };
    const asked: Asked = { toolChoice: "required", tools: [{ type: "function", function: { name: "f", parameters } }] };
    for (const args of ['b="x"', 'a-1=1, b="y"', 'b="x", c=False', 'a-1=-2, b="x", c=True']) {
      expect([args, await follow("pythonic", asked, `[f(${args})]`)]).toEqual([args, "whole"]);
    }
    for (const args of ["", "a-1=1", 'b="z"', 'b="x", a-1=1', ', b="x"', 'b="x" c=True']) {
      expect([args, await follow("pythonic", asked, `[f(${args})]`)]).toEqual([
        args,
        expect.stringContaining("refused"),
      ]);
    }
  });
});

describe("arguments between tags", () => {
  const parameters = {
    type: "object",
    properties: {
      code: { type: "string", pattern: "^[A-Z]+-[0-9]+$", maxLength: 20 },
      note: { type: "string" },
      unit: { enum: ["C", "F"] },
      size: { type: "integer", minimum: 1, maximum: 20 },
      maybe: { anyOf: [{ type: "string" }, { type: "null" }] },
      list: { type: "array", items: { $ref: "#/$defs/B" } },
      one: { $ref: "#/$defs/B" },
      day: { type: "string", format: "date", pattern: "^20" },
    },
    required: ["code"],
    $defs: { B: { enum: ["x", "y"] } },
  };
  const asked: Asked = { toolChoice: "required", tools: [{ type: "function", function: { name: "f", parameters } }] };
  const formats = [
    ["qwen3_coder", "text"],
    ["glm45", "text"],
    ["glm45", "special"],
  ] as const;

  test.each(formats)("%s, marks as %s: what each may be", async (tools, marks) => {
    const write = (args: [string, string][]) => (tools === "glm45" ? glm("f", "\n", ...args) : qwen("f", ...args));
    const code: [string, string] = ["code", "AB-12"];
    const right: [string, string][][] = [
      [code],
      [code, ["note", "a\n<b>\\ 'c' \"d\"\n"], ["unit", "F"], ["size", "20"]],
      [code, ["note", ""], ["maybe", "null"], ["list", '["x", "y"]'], ["one", "x"], ["day", "2024-02-29"]],
    ];
    for (const args of right) {
      const text = write(args);
      expect([text, await follow(tools, { ...asked, marks }, text)]).toEqual([text, "whole"]);
    }
    const wrong: [string, string][][] = [
      [],
      [["code", "ab-12"]],
      [["code", `A-${"1".repeat(20)}`]],
      [["note", "first"], code],
      [code, ["unit", "K"]],
      [code, ["size", "21"]],
      [code, ["list", '["z"]']],
      [code, ["one", "z"]],
      [code, ["day", "2023-02-29"]],
      [code, ["day", "1924-02-29"]],
      [code, ["other", "1"]],
    ];
    for (const args of wrong) {
      expect([args, await follow(tools, { ...asked, marks }, write(args))]).toEqual([
        args,
        expect.stringContaining("refused"),
      ]);
    }
  });
});
