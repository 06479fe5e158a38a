/**
 * GLM-4.5 to 4.7, Laguna: `<tool_call>name\n<arg_key>key</arg_key>\n<arg_value>value</arg_value>\n</tool_call>`, once for each call; since 4.7
 * without the line ends.
 */
import { literal, oneOf } from "./call-grammar.ts";
import type { Input, Reading } from "./input.ts";
import type { Output } from "./output.ts";
import type { FunctionTool } from "./parts.ts";
import { ArgumentsWriter, taggedArguments, type ValueEnd } from "./tagged-arguments.ts";
import { attempt, beginCall, openaiId, type ToolFormat } from "./tool-format.ts";

const BEGIN = "<tool_call>";
const END = "</tool_call>";
const KEY = "<arg_key>";
const KEY_END = "</arg_key>";
const VALUE = "<arg_value>";
const VALUE_END: ValueEnd = { tag: "</arg_value>", onLines: false };

export const glm45: ToolFormat = {
  name: "glm45",
  marks: [BEGIN, END, KEY, KEY_END, VALUE, VALUE_END.tag],
  newId: openaiId,

  matches: (template) => template.includes(BEGIN) && template.includes(KEY),

  *read(input, output, tools) {
    while ((yield* input.until([BEGIN], (text) => output.text(text))) !== "") {
      yield* attempt(input, output, function* () {
        yield* input.expect(BEGIN);
        yield* input.space();
        yield* call(input, output, tools);
      });
    }
  },

  openings(write) {
    const { tools, several, mark } = write;
    const call = oneOf(
      tools.map((tool) => {
        const written = taggedArguments(
          tool,
          write,
          VALUE_END,
          (name, value) => `${mark(KEY)} ${name} ${mark(KEY_END)} "\\n"? ${mark(VALUE)} ${value} "\\n"?`,
        );
        return `${literal(tool.name)} "\\n"? ${written}`;
      }),
    );
    const body = `${call} ${mark(END)}`;
    return [{ mark: BEGIN, anywhere: true, rest: several ? `${body} ("\\n"? ${mark(BEGIN)} ${body})*` : body }];
  },
};

function* call(input: Input, output: Output, tools: readonly FunctionTool[]): Reading {
  const name = yield* input.word(/[^<>\s{}[\]"]/);
  let written: ArgumentsWriter | null = null;
  for (let more = true; more; ) {
    yield* input.space();
    more = yield* input.skip(KEY);
    if (!more) yield* input.expect(END);
    const key = more ? yield* argumentKey(input) : "";
    if (written === null) {
      beginCall(input, output, name);
      written = new ArgumentsWriter(tools, name, (json) => output.arguments(json));
    }
    if (more) yield* written.value(input, key, VALUE_END);
  }
  written!.end();
}

function* argumentKey(input: Input): Reading<string> {
  let key = "";
  yield* input.until([KEY_END], (text) => {
    key += text;
  });
  yield* input.expect(KEY_END);
  yield* input.space();
  yield* input.expect(VALUE);
  return key.trim();
}
