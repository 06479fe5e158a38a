/** str.format(): replacement fields, and the language of their format specifications. */

import { getAttribute, getItem } from "./attributes.ts";
import { fail } from "./errors.ts";
import { asFloat, floatIn, floatWithDigits, integerIn, pad, width } from "./number-format.ts";
import { escapeHtml, integer } from "./operators.ts";
import { floatText, repr, str } from "./print.ts";
import { TextBuilder } from "./text-builder.ts";
import { Float, type Kwargs, Markup, textOf, typeName, type Value } from "./values.ts";

/** `format` is the str or Markup itself, and decides what comes out. */
export function formatText(format: Value, args: readonly Value[], kwargs: Kwargs): Value {
  const text = textOf(format)!;
  const isMarkup = format instanceof Markup;
  const formatted = new Formatter(args, kwargs, isMarkup).format(text, 2);
  return isMarkup ? new Markup(formatted) : formatted;
}

class Formatter {
  /** The next automatic field; null once fields are numbered by hand. */
  #next: number | null = 0;

  constructor(
    readonly args: readonly Value[],
    readonly kwargs: Kwargs,
    readonly isMarkup: boolean,
  ) {}

  /** `depth`: fields may stand in the specification of a field, but no deeper. */
  format(text: string, depth: number): string {
    if (depth < 0) fail("ValueError", "Max string recursion exceeded");
    const out = new TextBuilder();
    const brace = /[{}]/g;
    let end = 0;
    for (let found = brace.exec(text); found !== null; found = brace.exec(text)) {
      const at = found.index;
      out.add(text.slice(end, at));
      if (text[at + 1] === text[at]) {
        out.add(text[at]!);
        end = at + 2;
      } else if (text[at] === "}") fail("ValueError", "Single '}' encountered in format string");
      else {
        end = closingBrace(text, at) + 1;
        out.add(this.#field(text.slice(at + 1, end - 1), depth));
      }
      brace.lastIndex = end;
    }
    out.add(text.slice(end));
    return out.text();
  }

  #field(field: string, depth: number): string {
    const [, name = "", conversion, spec = ""] =
      /^((?:[^[!:]|\[[^\]]*\]?)*)(?:!([^:]*))?(?::(.*))?$/s.exec(field) ?? [];
    let value = this.#lookUp(name);
    if (conversion !== undefined) value = convert(value, conversion);
    const wanted = this.format(spec, depth - 1);
    if (!this.isMarkup) return formatValue(value, wanted);
    return value instanceof Markup ? value.text : escapeHtml(formatValue(value, wanted));
  }

  #lookUp(name: string): Value {
    const [, first = "", rest = ""] = /^([^.[]*)(.*)$/s.exec(name)!;
    let value = this.#first(first);
    for (const [whole, attribute, key] of rest.matchAll(/\.([^.[]*)|\[([^\]]*)\]|./gs)) {
      if (attribute) value = getAttribute(value, attribute);
      else if (key) value = getItem(value, /^\d+$/.test(key) ? Number(key) : key);
      else fail("ValueError", whole === "[" ? "Missing ']' in format string" : "Empty attribute in format string");
    }
    return value;
  }

  #first(name: string): Value {
    if (name !== "" && !/^\d+$/.test(name)) {
      const named = this.kwargs.get(name);
      return named === undefined ? fail("KeyError", `'${name}'`) : named;
    }
    if (name === "" && this.#next === null) {
      fail("ValueError", "cannot switch from manual field specification to automatic field numbering");
    }
    if (name !== "" && this.#next !== null && this.#next > 0) {
      fail("ValueError", "cannot switch from automatic field numbering to manual field specification");
    }
    const index = name === "" ? this.#next! : Number(name);
    this.#next = name === "" ? index + 1 : null;
    const value = this.args[index];
    if (value !== undefined) return value;
    return fail("IndexError", `Replacement index ${index} out of range for positional args tuple`);
  }
}

/** Where the field that opens at `open` ends. */
function closingBrace(text: string, open: number): number {
  let depth = 0;
  for (let i = open; i < text.length; i++) {
    if (text[i] === "{") depth++;
    else if (text[i] === "}" && --depth === 0) return i;
  }
  return fail(
    "ValueError",
    open === text.length - 1 ? "Single '{' encountered in format string" : "expected '}' before end of string",
  );
}

function convert(value: Value, conversion: string): Value {
  if (conversion === "s") return str(value);
  if (conversion === "r" || conversion === "a") return repr(value);
  return fail("ValueError", `Unknown conversion specifier ${conversion}`);
}

interface Spec {
  fill: string;
  align: string;
  sign: string;
  alternate: boolean;
  zero: boolean;
  width: number;
  grouping: string;
  precision: number | null;
  type: string;
}

const SPEC = /^(?:(.)?([<>=^]))?([-+ ]?)(z?)(#?)(0?)(\d*)([,_]?)(?:\.(\d+))?([bcdeEfFgGnosxX%]?)$/su;

function parseSpec(text: string, value: Value): Spec {
  const match = SPEC.exec(text);
  if (!match) fail("ValueError", `Invalid format specifier '${text}' for object of type '${typeName(value)}'`);
  const [, fill = " ", align = "", sign = "", , alternate, zero, places = "", grouping = "", precision, type = ""] =
    match;
  return {
    fill: zero && match[1] === undefined ? "0" : fill,
    align: align || (zero ? "=" : ""),
    sign,
    alternate: alternate === "#",
    zero: zero === "0",
    width: width(places),
    grouping,
    precision: precision === undefined ? null : width(precision),
    type,
  };
}

/** format(value, specification) */
function formatValue(value: Value, specification: string): string {
  if (specification === "") return str(value);
  const text = textOf(value);
  const whole = integer(value);
  if (text === undefined && whole === undefined && !(value instanceof Float)) {
    fail("TypeError", `unsupported format string passed to ${typeName(value)}.__format__`);
  }
  const spec = parseSpec(specification, value);
  if (text !== undefined) return formattedText(text, spec);
  if (whole !== undefined && /^[bcdnoxX]?$/.test(spec.type)) return formattedInteger(whole, spec);
  return formattedFloat(asFloat(value)!, spec, value);
}

function unknownCode(type: string, name: string): never {
  fail("ValueError", `Unknown format code '${type}' for object of type '${name}'`);
}

function formattedText(text: string, spec: Spec): string {
  if (spec.type !== "" && spec.type !== "s") unknownCode(spec.type, "str");
  if (spec.grouping !== "") fail("ValueError", `Cannot specify '${spec.grouping}' with 's'.`);
  if (spec.sign !== "") fail("ValueError", "Sign not allowed in string format specifier");
  if (spec.align === "=" && !spec.zero) fail("ValueError", "'=' alignment not allowed in string format specifier");
  const cut = spec.precision === null ? text : Array.from(text).slice(0, spec.precision).join("");
  return pad(cut, spec.width, alignment(spec.align === "=" ? "<" : spec.align, "left"), spec.fill);
}

function alignment(align: string, fallback: "left" | "right"): "left" | "right" | "center" | "zero" {
  return ({ "<": "left", ">": "right", "^": "center", "=": "zero" } as const)[align] ?? fallback;
}

function formattedInteger(value: number | bigint, spec: Spec): string {
  if (spec.precision !== null) fail("ValueError", "Precision not allowed in integer format specifier");
  if (spec.type === "c")
    return pad(String.fromCodePoint(Number(value)), spec.width, alignment(spec.align, "left"), spec.fill);
  const size = integerIn(value < 0 ? -BigInt(value) : value, spec.type, spec.alternate);
  return number(value < 0, size, spec, /^[box]$/i.test(spec.type) ? 4 : 3);
}

function formattedFloat(value: number, spec: Spec, given: Value): string {
  if (!/^[eEfFgGn%]?$/.test(spec.type)) unknownCode(spec.type, typeName(given));
  const negative = value < 0 || Object.is(value, -0);
  return number(negative, floatBody(value, spec), spec, 3);
}

function floatBody(value: number, { type, precision, alternate }: Spec): string {
  if (type === "%") return `${floatIn(value * 100, "f", precision ?? 6, alternate)}%`;
  if (type !== "") return floatIn(value, type === "n" ? "g" : type, precision ?? 6, alternate);
  if (precision === null) return floatText(Math.abs(value));
  return floatWithDigits(value, precision);
}

/** Puts sign, groups and padding around the digits of a number. */
function number(negative: boolean, digits: string, spec: Spec, group: number): string {
  const sign = negative ? "-" : spec.sign === "-" ? "" : spec.sign;
  let body = digits;
  if (spec.grouping !== "") {
    const [, prefix = "", whole = "", rest = ""] = /^(0[box])?([\da-f]*)(.*)$/is.exec(digits)!;
    const zeros = spec.align === "=" && spec.fill === "0" ? spec.width - sign.length - prefix.length - rest.length : 0;
    body = prefix + grouped(whole, spec.grouping, group, zeros) + rest;
  }
  return pad(sign + body, spec.width, alignment(spec.align, "right"), spec.fill);
}

/** `digits` in groups, with zeros before them up to `width` characters. */
function grouped(digits: string, separator: string, size: number, width: number): string {
  let padded = digits;
  const groups = (text: string) => Math.ceil(text.length / size) - 1;
  while (padded.length + groups(padded) < width) padded = `0${padded}`;
  const head = padded.length % size || size;
  const parts = [padded.slice(0, head)];
  for (let i = head; i < padded.length; i += size) parts.push(padded.slice(i, i + size));
  return parts.join(separator);
}
