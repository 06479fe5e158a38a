/**
 * What an answer must look like: vLLM's StructuredOutputsParams, and what they say as rules of a Lark grammar in llguidance's
 * dialect. The schema is the boundary for types and sizes; structuredRules finds what no grammar can hold an answer to.
 */
import { z } from "zod";
import { boundedArray, isObject } from "./bounded-json.ts";
import { FastgenError } from "./errors.ts";
import { isGbnf } from "./grammar-sources/gbnf.ts";
import { gbnfRules } from "./grammar-sources/gbnf-rules.ts";
import { type JsonStyle, jsonRule, parseJsonText, whitespacePattern } from "./grammar-sources/json-rule.ts";
import { larkRegex, larkString } from "./grammar-sources/lark.ts";
import { Refusal, refuse } from "./grammar-sources/refusal.ts";
import { translateRegex } from "./grammar-sources/regex.ts";
import { structuralTagRules } from "./grammar-sources/structural-tag.ts";
import { MAX_STRUCTURE_LENGTH, MAX_STRUCTURE_PARTS } from "./limits.ts";

/** The ways to say what is wanted: one of them is given. */
export const STRUCTURES = ["json", "regex", "choice", "grammar", "json_object", "structural_tag"] as const;

const text = z.string().max(MAX_STRUCTURE_LENGTH);
const jsonOrText = z.custom<string | boolean | Record<string, unknown>>(
  (value) =>
    typeof value === "boolean" ||
    isObject(value) ||
    (typeof value === "string" && value.length <= MAX_STRUCTURE_LENGTH),
  `must be an object, or JSON text of at most ${MAX_STRUCTURE_LENGTH} characters`,
);

export const structuredOutputsSchema = z
  .strictObject({
    /** A JSON Schema, as an object or as text. */
    json: jsonOrText.nullish(),
    /** The whole answer matches. */
    regex: text.min(1).nullish(),
    /** The answer is one of these. */
    choice: boundedArray(text, MAX_STRUCTURE_PARTS, 1).nullish(),
    /** Lark in llguidance's dialect, or GBNF, which is also xgrammar's EBNF. */
    grammar: text.min(1).nullish(),
    /** Any JSON object. */
    json_object: z.boolean().nullish(),
    /** xgrammar's structural tags, in their old and their new form, as an object or as text. */
    structural_tag: jsonOrText.nullish(),
    /** JSON without spaces and line ends between its parts. */
    disable_any_whitespace: z.boolean().nullish(),
    /** Objects whose schema lists properties have no others, unless it says that they do. */
    disable_additional_properties: z.boolean().nullish(),
    /** What may stand between the parts of JSON: a regular expression. */
    whitespace_pattern: z.string().min(1).max(1024).nullish(),
    /** vLLM's: there is one engine of grammars here, and nothing to fall back to. */
    disable_fallback: z.boolean().nullish(),
  })
  .refine((fields) => STRUCTURES.filter((key) => isGiven(fields[key])).length <= 1, {
    error: `must have one of ${STRUCTURES.join(", ")}, not several`,
  })
  .transform((fields) => (STRUCTURES.some((key) => isGiven(fields[key])) ? fields : null));

/** What an answer must look like: one of STRUCTURES is given. */
export type StructuredOutputs = NonNullable<z.output<typeof structuredOutputsSchema>>;

function isGiven(value: unknown): boolean {
  return value !== undefined && value !== null && value !== false;
}

/**
 * What `spec` asks for as rules of a Lark grammar, of which `ruleName` is the first; the names of the others begin with it.
 * @throws FastgenError "invalid_request" that names the field, below `param`, and what in it is not supported.
 */
export function structuredRules(spec: StructuredOutputs, ruleName = "start", param = "structured_outputs"): string {
  const kind = STRUCTURES.find((key) => isGiven(spec[key]));
  if (kind === undefined) return inField(param, () => refuse(`must have one of ${STRUCTURES.join(", ")}`));
  return inField(`${param}.${kind}`, () => rulesOf(spec, kind, ruleName, param));
}

/** What `read` returns; what it refuses, as an error about `field`. */
function inField(field: string, read: () => string): string {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    throw new FastgenError("invalid_request", `${field}: ${error.message}`, { param: field });
  }
}

function rulesOf(spec: StructuredOutputs, kind: (typeof STRUCTURES)[number], ruleName: string, param: string): string {
  const json = (schema: unknown, name: string) => jsonRule(schema, name, jsonStyle(spec, param));
  switch (kind) {
    case "json":
      return json(spec.json, ruleName);
    case "json_object":
      return json({ type: "object" }, ruleName);
    case "regex":
      return `${ruleName}: ${larkRegex(translateRegex(spec.regex!))}`;
    case "choice":
      return choiceRules(spec.choice!, ruleName);
    case "grammar":
      return grammarRules(spec.grammar!, ruleName);
    case "structural_tag": {
      const { structural_tag: tag } = spec;
      const value = typeof tag === "string" ? parseJsonText(tag) : tag;
      return structuralTagRules(value, ruleName, { json, grammar: grammarRules });
    }
  }
}

function jsonStyle(spec: StructuredOutputs, param: string): JsonStyle {
  return {
    compact: spec.disable_any_whitespace ?? false,
    closed: spec.disable_additional_properties ?? false,
    whitespace: spec.whitespace_pattern
      ? inField(`${param}.whitespace_pattern`, () => whitespacePattern(spec.whitespace_pattern!))
      : null,
  };
}

/** One terminal, so that no choice ends where a longer one goes on. */
function choiceRules(choices: readonly string[], ruleName: string): string {
  const length = choices.reduce((sum, choice) => sum + choice.length, 0);
  if (length > MAX_STRUCTURE_LENGTH) refuse(`has ${length} characters in all; ${MAX_STRUCTURE_LENGTH} are allowed`);
  const terminal = `${ruleName}_CHOICE`.toUpperCase();
  return `${ruleName}: ${terminal}\n${terminal}: ${[...new Set(choices)].map(larkString).join(" | ")}`;
}

function grammarRules(grammar: string, ruleName: string): string {
  if (grammar.includes("\0")) refuse("has a NUL character; write it as \\x00");
  if (isGbnf(grammar)) return gbnfRules(grammar, ruleName);
  // A schema in a grammar would pass by the bounds of schemas, and compiles of some take all memory.
  if (grammar.includes("%json")) refuse("has %json, which is not taken within a grammar; give the schema as json");
  return ruleName === "start" ? grammar : `${ruleName}: %lark {\n${grammar}\n}`;
}
