/** What formats write the grammars of their calls with: Lark, in llguidance's dialect. */
import { isObject } from "../bounded-json.ts";
import { standsAlone } from "../grammar-sources/keywords.ts";
import { larkString } from "../grammar-sources/lark.ts";
import type { FunctionTool } from "./parts.ts";

export type Schema = Record<string, unknown>;

/** A tool that may be called. */
export interface CallableTool {
  name: string;
  /** Of its arguments, an object. */
  schema: Schema;
  /** The rule of its arguments' JSON. */
  rule: string;
}

/** How calls begin, and how they go on. */
export interface Opening {
  /** Once it is written, calls follow. It is a mark of the format, or text. */
  mark: string;
  /** Where it may stand: anywhere in a text, or only where the answer begins. */
  anywhere: boolean;
  /** Lark: what follows the mark, up to the end of the last call. */
  rest: string;
}

/** Which tools are called, and how marks and schemas are written. */
export interface CallWriter {
  readonly tools: readonly CallableTool[];
  /** May there be several calls? */
  readonly several: boolean;
  /** Lark for a mark: the special token, if the model has one of that text. */
  mark(text: string): string;
  /** Adds a rule for JSON of a schema, and returns its name. */
  schema(schema: Schema): string;
  /** Adds a rule, and returns its name. */
  rule(expression: string): string;
  /** Adds a terminal, an expression of texts and regular expressions, and returns its name. */
  terminal(expression: string): string;
  /** Lark for text up to a mark, and the mark. @param text a terminal; any text, unless it is given. */
  upTo(mark: string, text?: string): string;
}

/** Text as a literal of Lark. */
export function literal(text: string): string {
  return larkString(text.toWellFormed());
}

/** One of these. */
export function oneOf(expressions: readonly string[]): string {
  return expressions.length === 1 ? expressions[0]! : `(${expressions.join(" | ")})`;
}

/** A call, and as many more as there may be, each behind the separator. */
export function callList(several: boolean, call: string, separator: string): string {
  return several ? `${call} (${separator} ${call})*` : call;
}

/** `{"name": "f", "arguments": {…}}` for each of the tools, from where `read` of it has been read. */
export function jsonCalls(tools: readonly CallableTool[], argumentsKey: string, read = ""): string {
  return oneOf(
    tools.map(({ name, rule }) => {
      const head = `{"name": ${JSON.stringify(name)}, "${argumentsKey}": `;
      return `${literal(head.slice(read.length))} ${rule} "}"`;
    }),
  );
}

/**
 * The schema of a tool's arguments, which are an object whatever it says. A tool has the parameters that it lists and no
 * others, unless its schema speaks of others: functions refuse arguments that they do not know. Without a schema it has none.
 */
export function argumentsSchema({ function: { parameters } }: FunctionTool): Schema {
  if (parameters === null || parameters === undefined) {
    return { type: "object", properties: {}, additionalProperties: false };
  }
  if (typeof parameters === "boolean") return { type: "object" };
  return { ...parameters, type: "object", ...(listsAll(parameters) && { additionalProperties: false }) };
}

/** Are the properties that a schema lists all that it speaks of? */
function listsAll(schema: Schema): boolean {
  const { properties, required } = schema;
  if (!isObject(properties) || !standsAlone(schema)) return false;
  if (["additionalProperties", "unevaluatedProperties", "patternProperties"].some((key) => key in schema)) return false;
  return !Array.isArray(required) || required.every((name) => Object.hasOwn(properties, name));
}
