/** A call as a JSON object, `{"name": …, "arguments": {…}}`, which most formats use in one frame or another. */
import { type Input, type Reading, Unexpected } from "./input.ts";
import { jsonString, jsonValue } from "./json-value.ts";
import type { Output } from "./output.ts";
import { beginCall } from "./tool-format.ts";

const ARGUMENTS = ["arguments", "parameters"];

export interface JsonCallOptions {
  /** Nothing else than a call can stand here: its name alone makes it one. Else arguments are needed too. */
  certain: boolean;
}

/**
 * Reads an object that is a call, in whatever order its keys are. Other keys than the name and the arguments say nothing.
 * @throws Unexpected where it is no call, or where it breaks off.
 */
export function* jsonCall(input: Input, output: Output, { certain }: JsonCallOptions): Reading {
  let name: string | null = null;
  /** Arguments that came before the name. */
  let early: string | null = null;
  let begun = false;
  let argued = false;
  const begin = () => {
    if (!begun) beginCall(input, output, name!);
    begun = true;
  };
  const argue = (text: string) => {
    begin();
    argued = true;
    output.arguments(text);
  };

  yield* input.expect("{");
  for (let more = true; more; ) {
    yield* input.space();
    const key = yield* jsonString(input);
    yield* input.space();
    yield* input.expect(":");
    yield* input.space();
    if (key === "name" && name === null) {
      name = yield* jsonString(input);
      if (name === "") throw new Unexpected();
      if (certain) begin();
      if (early !== null) argue(early);
    } else if (ARGUMENTS.includes(key) && !argued && early === null) {
      if (name !== null) yield* jsonValue(input, argue);
      else {
        let held = "";
        yield* jsonValue(input, (text) => {
          held += text;
        });
        early = held;
      }
    } else yield* jsonValue(input, () => {});
    yield* input.space();
    more = yield* input.skip(",");
  }
  yield* input.expect("}");
  if (!begun) throw new Unexpected();
  if (!argued) output.arguments("{}");
}
