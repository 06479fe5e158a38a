/**
 * Mistral: `[TOOL_CALLS][{"name": …, "arguments": {…}}, …]`, and since 2025 `[TOOL_CALLS]name[ARGS]{…}` or
 * `[TOOL_CALLS]name{…}`, the mark before each call.
 */
import { callList, jsonCalls, literal, oneOf } from "./call-grammar.ts";
import { type Input, type Reading, Unexpected } from "./input.ts";
import { jsonCall } from "./json-call.ts";
import { jsonValue } from "./json-value.ts";
import type { Output } from "./output.ts";
import { attempt, beginCall, restOfList, type ToolFormat } from "./tool-format.ts";
import { NAME_CHARACTER } from "./tool-name.ts";

const CALLS = "[TOOL_CALLS]";
const ID = "[CALL_ID]";
const ARGUMENTS = "[ARGS]";

const LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/** Nine letters and digits: Mistral's templates take no other ids. */
function mistralId(): string {
  return Array.from(crypto.getRandomValues(new Uint32Array(9)), (n) => LETTERS[n % LETTERS.length]).join("");
}

export const mistral: ToolFormat = {
  name: "mistral",
  marks: [CALLS, ID, ARGUMENTS],
  newId: mistralId,

  matches: (template) => template.includes(CALLS),

  *read(input, output) {
    while ((yield* input.until([CALLS], (text) => output.text(text))) !== "") {
      let list = false;
      const whole = yield* attempt(input, output, function* () {
        yield* input.expect(CALLS);
        yield* input.space();
        list = yield* input.skip("[");
        if (list) yield* input.space();
        if ((yield* input.peek()) === "{") yield* jsonCall(input, output, { certain: true });
        else yield* namedCall(input, output);
      });
      if (list && whole) yield* restOfList(input, output, () => jsonCall(input, output, { certain: true }));
    }
  },

  openings({ tools, several, mark }) {
    const list = `"[" ${callList(several, jsonCalls(tools, "arguments"), '", "')} "]"`;
    const named = oneOf(tools.map(({ name, rule }) => `${literal(name)} (${mark(ARGUMENTS)})? ${rule}`));
    const more = several ? ` (${mark(CALLS)} ${named})*` : "";
    return [{ mark: CALLS, anywhere: true, rest: `" "? (${list} | ${named}${more})` }];
  },
};

function* namedCall(input: Input, output: Output): Reading {
  const name = yield* input.word(NAME_CHARACTER);
  const id = (yield* input.skip(ID)) ? yield* input.word(/\w/) : undefined;
  yield* input.skip(ARGUMENTS);
  yield* input.space();
  if ((yield* input.peek()) !== "{") throw new Unexpected();
  beginCall(input, output, name, id);
  yield* jsonValue(input, (text) => output.arguments(text));
}
