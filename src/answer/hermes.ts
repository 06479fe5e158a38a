/** Hermes, Qwen2.5, Qwen3, Granite 4: `<tool_call>\n{"name": …, "arguments": {…}}\n</tool_call>`, once for each call. */
import { jsonCalls } from "./call-grammar.ts";
import { jsonCall } from "./json-call.ts";
import { attempt, openaiId, type ToolFormat } from "./tool-format.ts";

const BEGIN = "<tool_call>";
const END = "</tool_call>";

export const hermes: ToolFormat = {
  name: "hermes",
  marks: [BEGIN, END],
  newId: openaiId,

  // Other models put XML between the same marks.
  matches: (template) => /<tool_call>(\\n|[\s"'~+{}-])*\{\\?["'](name|arguments)/.test(template),

  *read(input, output) {
    while ((yield* input.until([BEGIN], (text) => output.text(text))) !== "") {
      yield* attempt(input, output, function* () {
        yield* input.expect(BEGIN);
        yield* input.space();
        yield* jsonCall(input, output, { certain: true });
        yield* input.space();
        yield* input.skipEnd(END);
      });
    }
  },

  openings({ tools, several, mark }) {
    const body = `"\\n"? ${jsonCalls(tools, "arguments")} "\\n"? ${mark(END)}`;
    const more = several ? ` ("\\n"? ${mark(BEGIN)} ${body})*` : "";
    return [{ mark: BEGIN, anywhere: true, rest: body + more }];
  },
};
