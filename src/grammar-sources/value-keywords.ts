/** JSON Schema's keywords about numbers and strings, and the values of enum and const. */
import { isObject } from "../bounded-json.ts";
import { MAX_SCHEMA_DEPTH } from "../limits.ts";
import { formatKeywords, KNOWN_PATTERNS } from "./formats.ts";
import { below, type Schema } from "./keywords.ts";
import { Refusal, refuse } from "./refusal.ts";
import { translateRegex } from "./regex.ts";

type Keywords = Record<string, unknown>;

/** The largest bound that llguidance computes with: below 2^63, and a double. */
const MOST = 2 ** 63 - 1024;
/** A double above this may have been another number in the caller's text. */
const EXACT = Number.MAX_SAFE_INTEGER;
/** multipleOf is computed with 32 bits, and two of them are multiplied where schemas are merged. */
const MOST_MULTIPLE = 65_535;
const MOST_DECIMALS = 9;

export function numberKeywords(given: Keywords, at: string, out: Keywords): void {
  lowerBound(given, at, out);
  upperBound(given, at, out);
  if (given.multipleOf !== undefined) {
    const multiple = number(given, "multipleOf", at);
    if (!(multiple > 0)) refuse(`multipleOf (at ${below(at, "multipleOf")}) must be above 0`);
    const [, decimals = ""] = plainDecimal(multiple).split(".");
    if (decimals.length > MOST_DECIMALS || multiple * 10 ** decimals.length > MOST_MULTIPLE) {
      refuse(`multipleOf (at ${below(at, "multipleOf")}) is not supported with so many digits`);
    }
    out.multipleOf = multiple;
  }
  if (given.type === "integer" || given.type === "number") formatOfNumber(given, out);
}

/** OpenAPI's formats of numbers. Those of floats bound nothing that JSON does not. */
function formatOfNumber({ format }: Keywords, out: Keywords): void {
  const most = format === "int32" ? 2 ** 31 - 1 : format === "int64" ? MOST : null;
  if (most === null) return;
  out.minimum = Math.max(-most, (out.minimum as number | undefined) ?? -Infinity);
  out.maximum = Math.min(most, (out.maximum as number | undefined) ?? Infinity);
}

function lowerBound(given: Keywords, at: string, out: Keywords): void {
  const raise = (value: number) =>
    Math.max(-MOST, value < -EXACT || value > EXACT ? value + Math.abs(value) * 2 ** -52 : value);
  if (given.minimum !== undefined) {
    const least = raise(number(given, "minimum", at));
    if (least > MOST) refuse(`minimum (at ${below(at, "minimum")}) is above ${MOST}, which is not supported`);
    // Draft 4: the bound itself is out.
    out[given.exclusiveMinimum === true ? "exclusiveMinimum" : "minimum"] = least;
  }
  if (given.exclusiveMinimum !== undefined && typeof given.exclusiveMinimum !== "boolean") {
    const least = raise(number(given, "exclusiveMinimum", at));
    if (least > MOST)
      refuse(`exclusiveMinimum (at ${below(at, "exclusiveMinimum")}) is above ${MOST}, which is not supported`);
    out.exclusiveMinimum = least;
  }
}

function upperBound(given: Keywords, at: string, out: Keywords): void {
  const lower = (value: number) =>
    Math.min(MOST, value < -EXACT || value > EXACT ? value - Math.abs(value) * 2 ** -52 : value);
  if (given.maximum !== undefined) {
    const most = lower(number(given, "maximum", at));
    if (most < -MOST) refuse(`maximum (at ${below(at, "maximum")}) is below ${-MOST}, which is not supported`);
    out[given.exclusiveMaximum === true ? "exclusiveMaximum" : "maximum"] = most;
  }
  if (given.exclusiveMaximum !== undefined && typeof given.exclusiveMaximum !== "boolean") {
    const most = lower(number(given, "exclusiveMaximum", at));
    if (most < -MOST)
      refuse(`exclusiveMaximum (at ${below(at, "exclusiveMaximum")}) is below ${-MOST}, which is not supported`);
    out.exclusiveMaximum = most;
  }
}

function number(given: Keywords, keyword: string, at: string): number {
  const value = given[keyword];
  const number = typeof value === "bigint" ? Number(value) : value;
  if (typeof number !== "number" || !Number.isFinite(number))
    refuse(`${keyword} (at ${below(at, keyword)}) must be a number`);
  return number;
}

/** Without an exponent. */
function plainDecimal(value: number): string {
  const text = String(value);
  return text.includes("e-") ? value.toFixed(100).replace(/0+$/, "") : text;
}

/** A keyword that counts; undefined = it is not there. */
export function countKeyword(given: Keywords, keyword: string, at: string): number | undefined {
  const value = given[keyword];
  if (value === undefined) return undefined;
  const count = typeof value === "bigint" ? Number(value) : value;
  if (typeof count === "number" && Number.isInteger(count) && count >= 0) return Math.min(count, 2 ** 31);
  return refuse(`${keyword} (at ${below(at, keyword)}) must be a whole number of at least 0`);
}

export function stringKeywords(given: Keywords, at: string, out: Keywords, parts: Schema[]): void {
  for (const keyword of ["minLength", "maxLength"]) {
    const count = countKeyword(given, keyword, at);
    if (count !== undefined) out[keyword] = count;
  }
  if (given.pattern !== undefined) out.pattern = pattern(given.pattern, below(at, "pattern"), "pattern");
  if (given.format === undefined) return;
  if (typeof given.format !== "string") refuse(`format (at ${below(at, "format")}) must be a string`);
  const isOfStrings = given.type === undefined || [given.type].flat().includes("string");
  if (!isOfStrings) return;
  const keywords = formatKeywords(given.format);
  if (!keywords) refuse(`format (at ${below(at, "format")}) ${JSON.stringify(given.format)} is not supported`);
  parts.push(keywords);
}

/** A pattern, of a string or of names. */
export function pattern(source: unknown, at: string, keyword: string): string {
  if (typeof source !== "string") return refuse(`${keyword} (at ${at}) must be a string`);
  const known = KNOWN_PATTERNS.get(source);
  if (known) return known;
  try {
    return translateRegex(source);
  } catch (error) {
    if (error instanceof Refusal) refuse(`${keyword} (at ${at}) ${error.message}`);
    throw error;
  }
}

/** Characters that JSON has only as \u escapes, which answers do not have: with them, a name could be written in two ways. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const NOT_WRITTEN = /[\x00-\x07\x0b\x0e-\x1f\x7f]/;

/** Refuses a text that no answer can hold. */
export function checkText(text: string, at: string): void {
  if (!text.isWellFormed()) refuse(`${at} has half a surrogate pair, which is no text`);
  if (NOT_WRITTEN.test(text)) refuse(`${at} has a control character that answers cannot hold`);
}

/** Checks a value of enum or const, and counts what it holds. */
export function checkValue(value: unknown, at: string, counter: { count(values: number): void }, depth = 0): void {
  counter.count(1);
  if (depth > MAX_SCHEMA_DEPTH) refuse(`${at} is nested more than ${MAX_SCHEMA_DEPTH} deep`);
  if (typeof value === "string") checkText(value, at);
  else if (typeof value === "number") {
    const isExact = Number.isFinite(value) && (!Number.isInteger(value) || Number.isSafeInteger(value));
    if (!isExact) refuse(`${at} is a number beyond 2^53, which is not supported`);
  } else if (Array.isArray(value)) {
    value.forEach((inner, i) => {
      checkValue(inner, below(at, i), counter, depth + 1);
    });
  } else if (isObject(value)) {
    for (const [key, inner] of Object.entries(value)) {
      checkText(key, at);
      checkValue(inner, below(at, key), counter, depth + 1);
    }
  } else if (typeof value !== "boolean" && value !== null) refuse(`${at} is no value of JSON`);
}
