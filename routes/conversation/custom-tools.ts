/**
 * OpenAI's custom tools, whose input is a text and no JSON. To the model each is a function with one argument, that text:
 * every template and every format of calls has those. What is read out of its calls is the text again.
 */
import { z } from "zod";
import type { AnswerPart, FunctionTool } from "../../src/answer/parts.ts";
import { isObject } from "../../src/bounded-json.ts";
import { toolName } from "./tool-name.ts";

/** The argument's name. */
const INPUT = "input";

const regex = z.looseObject({
  syntax: z.literal("regex", 'must be "regex": no other grammar is supported'),
  definition: z.string(),
});

/** What the input must look like, in the form of /responses or of chat. */
const format = z.union(
  [
    z.looseObject({ type: z.literal("text") }).transform(() => null),
    z.looseObject({ type: z.literal("grammar"), grammar: regex }).transform(({ grammar }) => grammar.definition),
    regex.extend({ type: z.literal("grammar") }).transform(({ definition }) => definition),
  ],
  'must be {"type": "text"}, or a grammar of the syntax "regex"',
);

/** What a custom tool says of itself, in chat's `custom` or in a tool of /responses. */
export const customFields = z.looseObject({
  name: toolName,
  description: z.string().nullish(),
  format: format.nullish(),
});

/** The function that a custom tool is to the model. */
export function asFunction({ name, description, format: pattern }: z.output<typeof customFields>): FunctionTool {
  const input = { type: "string", ...(pattern != null && { pattern: `^(?:${pattern})$` }) };
  const parameters = { type: "object", properties: { [INPUT]: input }, required: [INPUT], additionalProperties: false };
  return { type: "function", function: { name, ...(description != null && { description }), parameters } };
}

/** The arguments of such a function. */
export function inputArguments(input: unknown): Record<string, unknown> {
  return { [INPUT]: input };
}

/** A call as chat's messages have it, in the form of a function's. */
export function asFunctionCall(call: Record<string, unknown>): Record<string, unknown> {
  const { custom, ...others } = call;
  if (call.type !== "custom" || !isObject(custom)) return call;
  return { ...others, type: "function", function: { name: custom.name, arguments: inputArguments(custom.input) } };
}

/** A part of an answer; a call of a custom tool is marked, and its arguments are the text of its input. */
export type CustomPart = AnswerPart & { custom?: true };

/** Reads the inputs of custom tools out of one answer. */
export class CustomInputs {
  readonly #names: ReadonlySet<string>;
  /** Of the newest call; null where that is a function's. */
  #input: InputText | null = null;

  /** @param names those of custom tools */
  constructor(names: ReadonlySet<string>) {
    this.#names = names;
  }

  read(parts: readonly AnswerPart[]): CustomPart[] {
    return parts.flatMap((part): CustomPart[] => {
      if (part.type === "call") {
        this.#input = this.#names.has(part.name) ? new InputText() : null;
        return this.#input ? [{ ...part, custom: true }] : [part];
      }
      if (part.type !== "arguments" || !this.#input) return [part];
      const text = this.#input.push(part.text);
      return text === "" ? [] : [{ ...part, text, custom: true }];
    });
  }
}

/** `{"input": "`, as far as it has come. */
const HEAD = /^\s*\{\s*"input"\s*:\s*"/;

/** What stands in a JSON string, up to an escape that is not whole, or half of a pair of them. */
const WHOLE =
  /^(?:[^"\\]|\\[^u]|\\u[dD][89abAB][\da-fA-F]{2}(?:\\u[\da-fA-F]{4}|(?=[^\\]|\\[^u]))|\\u(?![dD][89abAB])[\da-fA-F]{4})*/;

const ESCAPE = /\\(?:u([\da-fA-F]{4})|(.))/g;
const ESCAPED: Record<string, string> = { b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" };

function unescaped(_: string, hex: string | undefined, sign: string): string {
  return hex === undefined ? (ESCAPED[sign] ?? sign) : String.fromCharCode(Number.parseInt(hex, 16));
}

/** The text of the one argument, out of its JSON in pieces. */
class InputText {
  /** Unread; once the text has ended it begins with a quote, and is read no more. */
  #rest = "";
  #hasBegun = false;

  push(piece: string): string {
    this.#rest += piece;
    if (!this.#hasBegun) {
      const head = HEAD.exec(this.#rest);
      if (!head) return "";
      this.#rest = this.#rest.slice(head[0].length);
      this.#hasBegun = true;
    }
    const whole = WHOLE.exec(this.#rest)![0];
    this.#rest = this.#rest.slice(whole.length);
    return whole.replace(ESCAPE, unescaped);
  }
}
