/**
 * Llama 3.1 to 3.3: `{"name": …, "parameters": {…}}`, several with `;` between them. A call opens the answer, or stands behind
 * `<|python_tag|>`. Other JSON is text.
 */
import { callList, jsonCalls } from "./call-grammar.ts";
import type { Input, Reading } from "./input.ts";
import { jsonCall } from "./json-call.ts";
import type { Output } from "./output.ts";
import { attempt, openaiId, type ToolFormat } from "./tool-format.ts";

/** What a call without the tag begins with. */
const BARE = '{"name": "';
const TAG = "<|python_tag|>";

export const llama3Json: ToolFormat = {
  name: "llama3_json",
  marks: [TAG],
  newId: openaiId,

  matches: (template) => /"name\\?": function name, \\?"parameters\\?": dictionary/.test(template),

  *read(input, output) {
    yield* input.run(/[ \t\r\n]/, (space) => output.text(space));
    if ((yield* input.peek()) === "{") yield* calls(input, output);
    while ((yield* input.until([TAG], (text) => output.text(text))) !== "") yield* calls(input, output);
  },

  openings({ tools, several }) {
    const call = jsonCalls(tools, "parameters");
    const first = jsonCalls(tools, "parameters", BARE);
    return [
      { mark: BARE, anywhere: false, rest: several ? `${first} ("; " ${call})*` : first },
      { mark: TAG, anywhere: true, rest: callList(several, call, '"; "') },
    ];
  },
};

function* calls(input: Input, output: Output): Reading {
  let whole = yield* attempt(input, output, function* () {
    if (yield* input.skip(TAG)) yield* input.space();
    yield* jsonCall(input, output, { certain: false });
  });
  while (whole) {
    whole = yield* attempt(input, output, function* () {
      yield* input.space();
      if (yield* input.skip(";")) yield* input.space();
      yield* jsonCall(input, output, { certain: false });
    });
  }
}
