/** What an answer must look like: the fields of OpenAI, vLLM, SGLang and llama.cpp, as the library's structured_outputs. */
import { z } from "zod";
import { isObject } from "../../src/bounded-json.ts";
import { FastgenError } from "../../src/errors.ts";
import { MAX_TOOL_NAME_LENGTH } from "../../src/limits.ts";
import { parseWith, schemaError } from "../../src/schema-error.ts";
import { STRUCTURES, type StructuredOutputs, structuredOutputsSchema } from "../../src/structured-outputs.ts";

const any = z.unknown().optional();

/** Checked by structuredOutputs. */
export const structuredFields = {
  /** OpenAI's, with the additions of vLLM and llama.cpp. */
  response_format: any,
  /** vLLM's older names. */
  guided_json: any,
  guided_regex: any,
  guided_choice: any,
  guided_grammar: any,
  guided_json_object: any,
  guided_whitespace_pattern: any,
  /** SGLang's. */
  regex: any,
  ebnf: any,
  structural_tag: any,
  /** llama.cpp's, and SGLang's as text. */
  json_schema: any,
  grammar: any,
};

/** The kind of structured outputs that a field asks for by its value. */
const KINDS = {
  guided_json: "json",
  guided_regex: "regex",
  guided_choice: "choice",
  guided_grammar: "grammar",
  guided_json_object: "json_object",
  regex: "regex",
  ebnf: "grammar",
  structural_tag: "structural_tag",
  json_schema: "json",
  grammar: "grammar",
} as const;

type Kind = (typeof STRUCTURES)[number];
export type StructuredFields = { [field in keyof typeof structuredFields]?: unknown } & {
  structured_outputs?: StructuredOutputs | null;
};

/** One way in which a request says what its answer must look like. */
interface Asked {
  /** The caller's name for `value`. */
  field: string;
  kind: Kind;
  value: unknown;
}

/**
 * What the answer must look like; null = anything.
 * @throws FastgenError "invalid_request" that names the caller's field: it is wrong, or there are two.
 */
export function structuredOutputs(fields: StructuredFields): StructuredOutputs | null {
  const { guided_whitespace_pattern, structured_outputs: own } = fields;
  const [asked, second] = allAsked(fields);
  if (second) {
    const message = `${asked!.field} and ${second.field} both say what the answer must look like; send one of them`;
    throw new FastgenError("invalid_request", message, { param: second.field });
  }
  if (own || !asked) return own ?? null;
  const whitespace = guided_whitespace_pattern ?? undefined;
  const result = parseWith(structuredOutputsSchema, { [asked.kind]: asked.value, whitespace_pattern: whitespace });
  if (!result.success) throw inCallersWords(schemaError(result.error, ["structured_outputs"]), fields);
  return result.data;
}

/** An error about structured_outputs in the words of a caller who has another name for them. */
export function inCallersWords(error: unknown, fields: StructuredFields): unknown {
  const [asked] = allAsked(fields);
  if (!(error instanceof FastgenError) || !error.param?.startsWith("structured_outputs") || !asked) return error;
  if (asked.field === "structured_outputs") return error;
  const param = error.param
    .replace("structured_outputs.whitespace_pattern", "guided_whitespace_pattern")
    .replace(/^structured_outputs(\.[a-z_]+)?/, asked.field);
  return new FastgenError(error.kind, error.message.replaceAll(error.param, param), { param, code: error.code });
}

function allAsked(fields: StructuredFields): Asked[] {
  const asked: Asked[] = [];
  const { structured_outputs: own, response_format: format } = fields;
  const kind = own && STRUCTURES.find((one) => own[one] !== undefined && own[one] !== null && own[one] !== false);
  if (kind) asked.push({ field: "structured_outputs", kind, value: own[kind] });
  const ofFormat = responseFormat(format);
  if (ofFormat) asked.push(ofFormat);
  for (const [field, kind] of Object.entries(KINDS)) {
    const value = fields[field as keyof typeof KINDS];
    const isNothing = value === undefined || value === null || value === false || value === "";
    if (!isNothing && !(Array.isArray(value) && value.length === 0)) asked.push({ field, kind, value });
  }
  return asked;
}

function responseFormat(format: unknown): Asked | null {
  const refuse = (param: string, message: string): never => {
    throw new FastgenError("invalid_request", `${param} ${message}`, { param });
  };
  if (format === undefined || format === null || format === false) return null;
  if (!isObject(format)) return refuse("response_format", "must be an object");
  const { type, schema, json_schema } = format;
  const isEmpty = Object.values(format).every((value) => value === null || value === false);
  switch (type) {
    case "text":
      return null;
    case "json_object":
      // llama.cpp's.
      if (schema !== undefined && schema !== null)
        return { field: "response_format.schema", kind: "json", value: schema };
      return { field: "response_format", kind: "json_object", value: true };
    case "json_schema":
      if (isObject(json_schema)) {
        const field = "response_format.json_schema";
        const { name, strict } = json_schema;
        const isName = typeof name === "string" && name.length <= MAX_TOOL_NAME_LENGTH;
        if (name != null && !isName)
          refuse(`${field}.name`, `must be a string of at most ${MAX_TOOL_NAME_LENGTH} characters`);
        if (strict != null && typeof strict !== "boolean") refuse(`${field}.strict`, "must be true or false");
        const value = json_schema.schema ?? refuse(`${field}.schema`, "is required");
        if (value === false) refuse(`${field}.schema`, "allows no value at all");
        return { field: `${field}.schema`, kind: "json", value };
      }
      for (const place of PLACES.json) {
        const value = format[place];
        if (value !== undefined && value !== null) return { field: `response_format.${place}`, kind: "json", value };
      }
      return refuse("response_format.json_schema", "must be an object with a schema");
    case "json":
    case "regex":
    case "grammar":
      return otherServers(type, format);
    case "structural_tag":
      return { field: "response_format", kind: "structural_tag", value: format };
    default:
      if (isEmpty) return null;
      return refuse("response_format.type", `must be "text", "json_object", "json_schema" or "structural_tag"`);
  }
}

/** Where the forms of text-generation-inference, Fireworks and Together have what they ask for. */
const PLACES = { json: ["value", "schema"], regex: ["value", "pattern"], grammar: ["value", "grammar"] } as const;

function otherServers(kind: keyof typeof PLACES, format: Record<string, unknown>): Asked {
  const place = PLACES[kind].find((one) => format[one] !== undefined && format[one] !== null);
  if (place !== undefined) return { field: `response_format.${place}`, kind, value: format[place] };
  const param = `response_format.${PLACES[kind][1]}`;
  throw new FastgenError("invalid_request", `${param} is required`, { param });
}
