/**
 * Qwen3-Coder and Qwen3.5: `<tool_call>\n<function=name>\n<parameter=key>\nvalue\n</parameter>\n</function>\n</tool_call>`, once for each
 * call. The models sometimes leave the outer tag out.
 */
import { literal, oneOf } from "./call-grammar.ts";
import type { Input, Reading } from "./input.ts";
import type { Output } from "./output.ts";
import type { FunctionTool } from "./parts.ts";
import { ArgumentsWriter, taggedArguments, type ValueEnd } from "./tagged-arguments.ts";
import { attempt, beginCall, openaiId, type ToolFormat } from "./tool-format.ts";

const BEGIN = "<tool_call>";
const END = "</tool_call>";
const FUNCTION = "<function=";
const FUNCTION_END = "</function>";
const PARAMETER = "<parameter=";
const VALUE_END: ValueEnd = { tag: "</parameter>", onLines: true };

export const qwen3Coder: ToolFormat = {
  name: "qwen3_coder",
  marks: [BEGIN, END],
  newId: openaiId,

  matches: (template) => /<tool_call>(\\n|\s)*<function=/.test(template),

  *read(input, output, tools) {
    while ((yield* input.until([BEGIN, FUNCTION], (text) => output.text(text))) !== "") {
      yield* attempt(input, output, function* () {
        yield* input.skip(BEGIN);
        yield* input.space();
        yield* call(input, output, tools);
        yield* input.space();
        yield* input.skipEnd(END);
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
          (name, value) => `${literal(PARAMETER)} ${name} ">\\n" ${value} "\\n"`,
        );
        return `${literal(`${FUNCTION}${tool.name}>\n`)} ${written} ${literal(FUNCTION_END)}`;
      }),
    );
    const body = `"\\n"? ${call} "\\n"? ${mark(END)}`;
    return [{ mark: BEGIN, anywhere: true, rest: several ? `${body} ("\\n"? ${mark(BEGIN)} ${body})*` : body }];
  },
};

/** It is a call once a parameter has begun, or there are none. */
function* call(input: Input, output: Output, tools: readonly FunctionTool[]): Reading {
  yield* input.expect(FUNCTION);
  const name = yield* input.word(/[^<>\s]/);
  yield* input.expect(">");
  let written: ArgumentsWriter | null = null;
  for (let more = true; more; ) {
    yield* input.space();
    more = yield* input.skip(PARAMETER);
    if (!more) yield* input.expect(FUNCTION_END);
    const key = more ? yield* input.word(/[^<>\r\n]/) : "";
    if (more) yield* input.expect(">");
    if (written === null) {
      beginCall(input, output, name);
      written = new ArgumentsWriter(tools, name, (json) => output.arguments(json));
    }
    if (more) yield* written.value(input, key, VALUE_END);
  }
  written!.end();
}
