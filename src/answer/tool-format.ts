/** How a family of models writes calls of tools. */
import type { CallWriter, Opening } from "./call-grammar.ts";
import type { Input, Reading } from "./input.ts";
import { Unexpected } from "./input.ts";
import type { Output } from "./output.ts";
import type { FunctionTool } from "./parts.ts";

export interface ToolFormat {
  /** vLLM's name of it, a value of --tool-call-parser. */
  readonly name: string;
  /** The marks that are special tokens of some models: their text must reach the reader. */
  readonly marks: readonly string[];
  /** The id of a new call. */
  newId(): string;
  /** Does a model with this chat template write calls so? */
  matches(template: string): boolean;
  /** Reads an answer, from the end of its reasoning to its own end. What is no call is text. @param tools those of the request. */
  read(input: Input, output: Output, tools: readonly FunctionTool[]): Reading;
  /** How calls may begin, and the grammar of what follows. */
  openings(write: CallWriter): Opening[];
}

/** OpenAI's form. */
export function openaiId(): string {
  return `call_${crypto.randomUUID().replaceAll("-", "").slice(0, 24)}`;
}

/**
 * Reads what may be a call. Where it is none after all, everything that was read for it is text; where it breaks off after
 * the call was given out, the call stands as far as it goes. Returns whether all was as expected.
 */
export function* attempt(input: Input, output: Output, read: () => Reading): Reading<boolean> {
  input.hold();
  let whole = true;
  try {
    yield* read();
  } catch (error) {
    if (!(error instanceof Unexpected)) throw error;
    whole = false;
    // A call that has begun breaks off: the beginning of what it lacks is no text.
    if (input.ended && !input.holds) input.read(input.rest.length);
  }
  // Nothing is held once a call has begun.
  const text = input.release();
  if (!whole) output.text(text);
  return whole;
}

/** A call begins: what was read for it is no text any more. @param id the model's own name of it, if it gives one. */
export function beginCall(input: Input, output: Output, name: string, id?: string): void {
  input.release();
  output.call(name, id);
}

/** Reads the rest of a list of calls, after its first: a comma before each of the others, and the bracket at the end. */
export function* restOfList(input: Input, output: Output, call: () => Reading): Reading {
  for (let more = true; more; ) {
    const whole = yield* attempt(input, output, function* () {
      yield* input.space();
      more = !(yield* input.skip("]"));
      if (!more) return;
      yield* input.expect(",");
      yield* input.space();
      yield* call();
    });
    more &&= whole;
  }
}
