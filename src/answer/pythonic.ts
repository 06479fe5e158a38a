/**
 * Calls as Python writes them, `[f(a=1, b="x"), g()]`, at the beginning of the answer: Llama 3.2 and ToolACE; with marks
 * around the list: Llama 4.
 */
import { literal, oneOf } from "./call-grammar.ts";
import { type Input, type Reading, Unexpected } from "./input.ts";
import type { Output } from "./output.ts";
import type { FunctionTool } from "./parts.ts";
import { keywordArguments } from "./python-grammar.ts";
import { pythonLiteral } from "./python-literal.ts";
import { attempt, beginCall, openaiId, restOfList, type ToolFormat } from "./tool-format.ts";
import { NAME_CHARACTER } from "./tool-name.ts";

const BEGIN = "<|python_start|>";
const END = "<|python_end|>";

/** Schemas may name a parameter as Python would not. */
const KEYWORD_CHARACTER = /[^=()[\]{},"'\r\n]/;

export const pythonic: ToolFormat = {
  name: "pythonic",
  marks: [BEGIN, END],
  newId: openaiId,

  matches: (template) => /\[func_name1\(params_name1=params_value1/.test(template),

  *read(input, output, tools) {
    yield* input.run(/[ \t\r\n]/, (space) => output.text(space));
    const call = () => pythonCall(input, output, tools);
    const whole = yield* attempt(input, output, function* () {
      if (yield* input.skip(BEGIN)) yield* input.space();
      yield* input.expect("[");
      yield* input.space();
      yield* call();
    });
    if (whole) {
      yield* restOfList(input, output, call);
      yield* input.skipEnd(END);
    }
    yield* input.until([], (text) => output.text(text));
  },

  // One opening for each tool: other lists are text.
  openings(write) {
    const bodies = write.tools.map((tool) => ({ head: `${tool.name}(`, body: `${keywordArguments(tool, write)} ")"` }));
    const call = write.rule(oneOf(bodies.map(({ head, body }) => `${literal(head)} ${body}`)));
    const more = write.several ? ` (", " ${call})*` : "";
    return bodies.map(({ head, body }) => ({ mark: `[${head}`, anywhere: false, rest: `${body}${more} "]"` }));
  },
};

/** It is a call once a keyword argument has begun, or there are none. */
function* pythonCall(input: Input, output: Output, tools: readonly FunctionTool[]): Reading {
  const name = yield* input.word(NAME_CHARACTER);
  if (!/^[\p{L}_]/u.test(name) && !tools.some((tool) => tool.function.name === name)) throw new Unexpected();
  yield* input.expect("(");
  yield* input.space();
  const give = (json: string) => output.arguments(json);
  let argued = false;
  while (!(yield* input.skip(")"))) {
    const keyword = (yield* input.word(KEYWORD_CHARACTER)).trimEnd();
    yield* input.expect("=");
    yield* input.space();
    if (!argued) beginCall(input, output, name);
    give(`${argued ? ", " : "{"}${JSON.stringify(keyword)}: `);
    argued = true;
    yield* pythonLiteral(input, give);
    yield* input.space();
    if (!(yield* input.skip(","))) {
      yield* input.expect(")");
      break;
    }
    yield* input.space();
  }
  if (!argued) beginCall(input, output, name);
  give(argued ? "}" : "{}");
}
