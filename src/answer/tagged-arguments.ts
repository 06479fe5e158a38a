/**
 * Arguments between tags, as Qwen3-Coder and GLM write them: a string stands as it is, other values as JSON. So what a text
 * means depends on the tool's schema. Where that allows a string and something else, what reads as something else is that.
 */
import { isObject } from "../bounded-json.ts";
import { translateSchema } from "../grammar-sources/json-schema.ts";
import { larkRegex } from "../grammar-sources/lark.ts";
import { Refusal } from "../grammar-sources/refusal.ts";
import { argumentTypes, type JsonType, jsonTypeOf } from "./argument-types.ts";
import { type CallableTool, type CallWriter, literal, oneOf, type Schema } from "./call-grammar.ts";
import { type Input, type Reading, Unexpected } from "./input.ts";
import type { FunctionTool } from "./parts.ts";
import { shared } from "./python-grammar.ts";
import { pythonLiteral } from "./python-literal.ts";

/** What stands behind a value. */
export interface ValueEnd {
  tag: string;
  /** A line end stands before the value, and one behind it. */
  onLines: boolean;
}

/** JSON's words as Python writes them: templates print the calls of earlier turns so. */
const PYTHON_WORDS = new Map([
  ["True", "true"],
  ["False", "false"],
  ["None", "null"],
]);

/** Writes the arguments of one call as a JSON object, piece by piece. */
export class ArgumentsWriter {
  readonly #schema: unknown;
  readonly #give: (json: string) => void;
  #count = 0;

  constructor(tools: readonly FunctionTool[], name: string, give: (json: string) => void) {
    this.#schema = tools.find((tool) => tool.function.name === name)?.function.parameters;
    this.#give = give;
  }

  /** Reads a value, and its end. @throws Unexpected where it breaks off. */
  *value(input: Input, name: string, end: ValueEnd): Reading {
    this.#give(`${this.#count++ === 0 ? "{" : ", "}${JSON.stringify(name)}: `);
    yield* taggedValue(input, this.#give, argumentTypes(this.#schema, name), end);
  }

  end(): void {
    this.#give(this.#count === 0 ? "{}" : "}");
  }
}

function* taggedValue(
  input: Input,
  give: (json: string) => void,
  types: ReadonlySet<JsonType>,
  { tag, onLines }: ValueEnd,
): Reading {
  const isText = types.has("string");
  if (!isText) yield* input.space();
  else if (onLines) yield* input.skip("\n");
  if (!isText && /[[{]/.test(yield* input.peek())) {
    // The tag may stand within one of its strings.
    yield* pythonLiteral(input, give);
    yield* input.space();
    return yield* input.expect(tag);
  }
  const ends = onLines ? [`\n${tag}`, tag] : [tag];
  const isOnlyText = isText && types.size === 1;
  let held = "";
  if (isOnlyText) give('"');
  const end = yield* input.until(ends, (text) => {
    if (isOnlyText) give(JSON.stringify(text).slice(1, -1));
    else held += text;
  });
  if (isOnlyText && end !== "") give('"');
  if (!isOnlyText) give(end === "" ? held : asJson(held, types));
  if (end === "") throw new Unexpected();
  yield* input.expect(end);
}

/** A text as the value of one of these types that it reads as, else as a string. */
function asJson(text: string, types: ReadonlySet<JsonType>): string {
  const word = text.trim();
  const json = PYTHON_WORDS.get(word) ?? word;
  try {
    const type = jsonTypeOf(JSON.parse(json));
    if (type !== "string" && types.has(type)) return json;
  } catch {
    // No JSON.
  }
  return JSON.stringify(text);
}

/**
 * Lark for a tool's arguments, in the schema's order.
 * @param argument Lark for one of them, of its name and of its value with its end, both Lark too.
 */
export function taggedArguments(
  { schema }: CallableTool,
  write: CallWriter,
  end: ValueEnd,
  argument: (name: string, value: string) => string,
): string {
  // Of other arguments than listed ones nothing is known.
  if (!isObject(schema.properties)) return `(${argument("/[^<>\\s]+/", write.upTo(end.tag))})*`;
  const required = new Set(Array.isArray(schema.required) ? schema.required : []);
  const all = Object.entries(schema.properties).map(([name, property]) => {
    const types = argumentTypes(schema, name);
    const one = argument(
      literal(name),
      valueGrammar(isObject(property) ? property : {}, { schema, types, end, write }),
    );
    return required.has(name) ? one : `(${one})?`;
  });
  return all.join(" ");
}

interface ValueContext {
  /** The tool's. */
  schema: Schema;
  types: ReadonlySet<JsonType>;
  end: ValueEnd;
  write: CallWriter;
}

function valueGrammar(property: Schema, { schema, types, end, write }: ValueContext): string {
  const { tag, onLines } = end;
  const behind = onLines ? `\n${tag}` : tag;
  const whole = { ...shared(schema), ...property };
  if (!types.has("string")) {
    const isAny = property.const === undefined && property.enum === undefined;
    const isBoolean = types.size === 1 && types.has("boolean") && isAny;
    return `${isBoolean ? '("true" | "false" | "True" | "False")' : write.schema(whole)} ${write.mark(behind)}`;
  }
  const asked = allOf(whole);
  const known = asked.flatMap(({ const: value, enum: values }) => (value === undefined ? [values] : [[value]]));
  const values = known.find((list) => Array.isArray(list)) as unknown[] | undefined;
  if (values) {
    const texts = values.map((value) => literal(typeof value === "string" ? value : JSON.stringify(value)));
    return `${oneOf(texts)} ${write.mark(behind)}`;
  }
  const text = types.size === 1 ? textGrammar(asked, onLines ? tag : null) : null;
  return text === null ? write.upTo(tag) : write.upTo(behind, write.terminal(text));
}

/** Lark for what schemas of strings ask of their length and letters; null = nothing. @param without a text that no string holds. */
function textGrammar(schemas: readonly Schema[], without: string | null): string | null {
  const parts: string[] = [];
  for (const { minLength, maxLength, pattern } of schemas) {
    if (minLength || maxLength !== undefined) parts.push(`/(?s:.{${minLength ?? 0},${maxLength ?? ""}})/`);
    const regex = typeof pattern === "string" ? wholeText(pattern) : null;
    if (regex !== null) parts.push(larkRegex(regex));
  }
  if (parts.length === 0) return null;
  if (without !== null) parts.push(`~${larkRegex(`(?s:.*)${without}(?s:.*)`)}`);
  return parts.join(" & ");
}

/** The schemas that must all hold where one does, without references; none of one that a grammar cannot hold. */
function allOf(schema: Schema): Schema[] {
  let translated: Schema;
  try {
    translated = translateSchema(schema, { closed: false });
  } catch (error) {
    if (error instanceof Refusal) return [];
    throw error;
  }
  const definitions = (translated.$defs ?? {}) as Record<string, unknown>;
  const found = new Set<Schema>();
  const add = (one: unknown) => {
    if (!isObject(one) || found.has(one)) return;
    found.add(one);
    if (typeof one.$ref === "string") add(definitions[one.$ref.slice("#/$defs/".length)]);
    if (Array.isArray(one.allOf)) one.allOf.forEach(add);
  };
  add(translated);
  return [...found];
}

/** A pattern that may match anywhere in a text, as one that matches all of it; null where it has other anchors than at its ends. */
function wholeText(pattern: string): string | null {
  const [, begin, middle, end] = /^(\^?)(.*?)((?<!\\)\$)?$/s.exec(pattern)!;
  if (/[\^$]/.test(middle!.replace(/\\.|\[[^\]]*\]/gs, ""))) return null;
  return `${begin ? "" : "(?s:.*)"}(?:${middle})${end ? "" : "(?s:.*)"}`;
}
