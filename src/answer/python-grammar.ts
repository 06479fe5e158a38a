/** Grammars of arguments as Python writes them: `a=1, b="x"`. Values are JSON, but for True and False. */
import { isObject } from "../bounded-json.ts";
import { type CallableTool, type CallWriter, literal, type Schema } from "./call-grammar.ts";

/** Keys of a schema that its properties may refer to. */
const DEFINITIONS = ["$defs", "definitions"];

/** Lark for the arguments of a tool, without the brackets around them; properties come in the schema's order. */
export function keywordArguments({ schema }: CallableTool, write: CallWriter): string {
  const properties = isObject(schema.properties) ? Object.entries(schema.properties) : [];
  if (properties.length === 0) return "";
  const required = new Set(Array.isArray(schema.required) ? schema.required : []);
  /** What may follow where an argument stands before, and where none does. */
  let [after, first] = ['""', '""'];
  for (const [name, property] of properties.reverse()) {
    const argument = `${literal(`${name}=`)} ${value(property, shared(schema), write)}`;
    const others = required.has(name) ? ["", ""] : [` | ${after}`, ` | ${first}`];
    first = write.rule(`${argument} ${after}${others[1]}`);
    after = write.rule(`", " ${argument} ${after}${others[0]}`);
  }
  return first;
}

/** What a tool's schema shares with those of its properties. */
export function shared(schema: Schema): Schema {
  return Object.fromEntries(DEFINITIONS.filter((key) => key in schema).map((key) => [key, schema[key]]));
}

function value(property: unknown, definitions: Schema, write: CallWriter): string {
  if (!isObject(property)) return write.schema(definitions);
  return property.type === "boolean" ? '("True" | "False")' : write.schema({ ...definitions, ...property });
}
