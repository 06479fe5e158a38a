/** A JSON Schema as a Lark rule. */
import { MAX_STRUCTURE_LENGTH } from "../limits.ts";
import { translateSchema } from "./json-schema.ts";
import { refuse } from "./refusal.ts";
import { translateRegex } from "./regex.ts";

/** How JSON is written, and read from a schema. */
export interface JsonStyle {
  /** No spaces and line ends between the parts. */
  compact: boolean;
  /** Objects that list properties have no others, unless their schema says so. */
  closed: boolean;
  /** What may stand between the parts: a regular expression of spaces and line ends; null = up to 24 of them. */
  whitespace: string | null;
}

/**
 * Without \u: it would let an object's further properties be named as its listed ones in other letters. So answers have no
 * control characters but those with escapes of their own (\n, \t, ...); all other characters stand for themselves.
 */
const ESCAPES = 'nrbtf\\"';

/** Room for a line end and an indent. Small models write spaces without end where they may. */
const SOME_SPACE = "[ \\t\\n\\r]{0,24}";

/** The rule `name`: JSON that a schema, an object or its text, allows. */
export function jsonRule(schema: unknown, name: string, style: JsonStyle): string {
  const translated = translateSchema(typeof schema === "string" ? parseJsonText(schema) : schema, {
    closed: style.closed,
  });
  const options = {
    json_allowed_escapes: ESCAPES,
    whitespace_flexible: !style.compact,
    ...(!style.compact && { whitespace_pattern: style.whitespace ?? SOME_SPACE }),
  };
  const text = JSON.stringify({ "x-guidance": options, ...translated });
  if (text.length > MAX_STRUCTURE_LENGTH) refuse(`has ${text.length} characters; ${MAX_STRUCTURE_LENGTH} are allowed`);
  return `${name}: %json ${text}`;
}

/** JSON that was sent as text. */
export function parseJsonText(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    return refuse(`is not valid JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** A pattern for what may stand between the parts of JSON, where nothing but spaces and line ends may. */
export function whitespacePattern(source: string): string {
  const spelled = source.replaceAll("\\s", "[ \\t\\n\\r]");
  if (!/^(?:[ \t\n\r[\]{}()?*+|,:0-9]|\\[tnr])*$/.test(spelled) || /\[[^\]]*[0-9{(?*+|,:]/.test(spelled)) {
    refuse("may allow spaces, tabs and line ends alone, such as [ \\n]{0,8}");
  }
  return translateRegex(spelled);
}
