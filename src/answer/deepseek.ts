/** DeepSeek: V3 and R1 with their distills put the arguments into a code block, V3.1 puts them right behind the name. */
import { type CallWriter, literal, oneOf } from "./call-grammar.ts";
import { type Input, type Reading, Unexpected } from "./input.ts";
import { jsonValue } from "./json-value.ts";
import type { Output } from "./output.ts";
import { attempt, beginCall, openaiId, type ToolFormat } from "./tool-format.ts";
import { NAME_CHARACTER } from "./tool-name.ts";

const CALLS = "<｜tool▁calls▁begin｜>";
const CALLS_END = "<｜tool▁calls▁end｜>";
const CALL = "<｜tool▁call▁begin｜>";
const CALL_END = "<｜tool▁call▁end｜>";
const SEPARATOR = "<｜tool▁sep｜>";
const BLOCK = "```json";
const BLOCK_END = "```";

/** A call, between the marks at its beginning and its end. */
interface Call {
  read(input: Input, output: Output): Reading;
  grammar(write: CallWriter): string;
}

function deepseek(name: string, call: Call): Omit<ToolFormat, "matches"> {
  return {
    name,
    marks: [CALLS, CALL, SEPARATOR, CALL_END, CALLS_END],
    newId: openaiId,

    *read(input, output) {
      while ((yield* input.until([CALLS, CALL], (text) => output.text(text))) !== "") {
        yield* attempt(input, output, function* () {
          if (yield* input.skip(CALLS)) yield* input.space();
          yield* input.expect(CALL);
          yield* call.read(input, output);
          yield* input.space();
          yield* input.skipEnd(CALL_END);
          yield* input.space();
          yield* input.skipEnd(CALLS_END);
        });
      }
    },

    openings(write) {
      const one = `${write.mark(CALL)} ${call.grammar(write)} ${write.mark(CALL_END)}`;
      const more = write.several ? ` ("\\n"? ${one})*` : "";
      return [{ mark: CALLS, anywhere: true, rest: `${one}${more} ${write.mark(CALLS_END)}` }];
    },
  };
}

/** `function<sep>name`, and the arguments as a code block. */
export const deepseekV3: ToolFormat = {
  ...deepseek("deepseek_v3", {
    *read(input, output) {
      yield* input.word(/\w/);
      yield* input.expect(SEPARATOR);
      yield* begin(input, output);
      yield* input.space();
      yield* input.skipEnd(BLOCK);
      yield* input.space();
      yield* jsonValue(input, (text) => output.arguments(text));
      yield* input.space();
      yield* input.skipEnd(BLOCK_END);
    },
    grammar({ tools, mark }) {
      const calls = tools.map(
        ({ name, rule }) => `${literal(`${name}\n${BLOCK}\n`)} ${rule} ${literal(`\n${BLOCK_END}`)}`,
      );
      return `"function" ${mark(SEPARATOR)} ${oneOf(calls)}`;
    },
  }),
  matches: (template) => template.includes(CALLS) && template.includes(BLOCK),
};

/** `name<sep>{…}`. */
export const deepseekV31: ToolFormat = {
  ...deepseek("deepseek_v31", {
    *read(input, output) {
      yield* begin(input, output);
      yield* input.expect(SEPARATOR);
      yield* input.space();
      yield* jsonValue(input, (text) => output.arguments(text));
    },
    grammar({ tools, mark }) {
      return oneOf(tools.map(({ name, rule }) => `${literal(name)} ${mark(SEPARATOR)} ${rule}`));
    },
  }),
  matches: (template) => template.includes(CALLS),
};

function* begin(input: Input, output: Output): Reading {
  const name = yield* input.word(NAME_CHARACTER);
  if (!/[\s{`<]/.test(yield* input.peek())) throw new Unexpected();
  beginCall(input, output, name);
}
