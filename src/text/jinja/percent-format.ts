/** text % values, as printf writes them. */
import { fail } from "./errors.ts";
import { asFloat, floatIn, integerIn, pad, width } from "./number-format.ts";
import { escapeHtml, index, integer } from "./operators.ts";
import { repr, str } from "./print.ts";
import { TextBuilder } from "./text-builder.ts";
import { Dict, Float, Markup, Range, Tuple, textOf, typeName, Undefined, type Value } from "./values.ts";

const CONVERSION = /%(?:\(([^)]*)\))?([-+ #0]*)(\*|\d*)(?:\.(\*|\d*))?[hlL]?(.?)/gsu;

/** `format % values`; `format` is the str or Markup itself, and decides what comes out. */
export function percentFormat(format: Value, text: string, values: Value): Value {
  const textOfValue = format instanceof Markup ? escapeHtml : str;
  const formatted = new PercentFormat(values, textOfValue).format(text);
  return format instanceof Markup ? new Markup(formatted) : formatted;
}

class PercentFormat {
  readonly #values: readonly Value[];
  #next = 0;

  constructor(
    readonly given: Value,
    readonly text: (value: Value) => string,
  ) {
    this.#values = given instanceof Tuple ? given.items : [given];
  }

  format(text: string): string {
    const out = new TextBuilder();
    let end = 0;
    for (const match of text.matchAll(CONVERSION)) {
      out.add(text.slice(end, match.index));
      out.add(this.#convert(match));
      end = match.index + match[0].length;
    }
    if (this.#next < this.#values.length && !hasItems(this.given)) {
      fail("TypeError", "not all arguments converted during string formatting");
    }
    out.add(text.slice(end));
    return out.text();
  }

  #convert([, key, flags = "", widthText = "", precisionText, type = ""]: RegExpExecArray): string {
    if (type === "%") return "%";
    if (type === "") fail("ValueError", "incomplete format");
    const fieldWidth = widthText === "*" ? this.#star() : width(widthText);
    const precision = precisionText === undefined ? null : precisionText === "*" ? this.#star() : width(precisionText);
    const value = key === undefined ? this.#take() : this.#named(key);
    const left = flags.includes("-") || fieldWidth < 0;
    const body = this.#body(value, type, flags, precision);
    const zero = flags.includes("0") && !left && !/[sracSRA]/.test(type);
    return pad(body, Math.abs(fieldWidth), left ? "left" : zero ? "zero" : "right", zero ? "0" : " ");
  }

  #take(): Value {
    const value = this.#values[this.#next++];
    return value === undefined ? fail("TypeError", "not enough arguments for format string") : value;
  }

  #star(): number {
    const value = index(this.#take());
    if (value === undefined) fail("TypeError", "* wants int");
    return width(String(value));
  }

  #named(key: string): Value {
    if (!(this.given instanceof Dict)) fail("TypeError", "format requires a mapping");
    const value = this.given.get(key);
    return value === undefined ? fail("KeyError", `'${key}'`) : value;
  }

  #body(value: Value, type: string, flags: string, precision: number | null): string {
    const cut = (text: string) => (precision === null ? text : Array.from(text).slice(0, precision).join(""));
    if (type === "s") return cut(this.text(value));
    if (type === "r" || type === "a") return cut(repr(value));
    if (type === "c") return character(value);
    if (/[diu]/.test(type)) return this.#signed(wholeNumber(value, type), "d", flags, precision);
    if (/[oxX]/.test(type)) {
      const whole = integer(value);
      if (whole === undefined) fail("TypeError", `%${type} format: an integer is required, not ${typeName(value)}`);
      return this.#signed(whole, type, flags, precision);
    }
    if (/[eEfFgG]/.test(type)) {
      if (value instanceof Undefined) value.fail();
      const number = asFloat(value);
      if (number === undefined) fail("TypeError", `must be real number, not ${typeName(value)}`);
      const negative = number < 0 || Object.is(number, -0);
      return sign(negative, flags) + floatIn(number, type, precision ?? 6, flags.includes("#"));
    }
    return fail("ValueError", `unsupported format character '${type}'`);
  }

  #signed(value: number | bigint, type: string, flags: string, precision: number | null): string {
    const text = integerIn(value < 0 ? -BigInt(value) : value, type, flags.includes("#"));
    return sign(value < 0, flags) + (precision === null ? text : pad(text, precision, "zero", "0"));
  }
}

/** Python minds values left over only where they have no items by key. */
function hasItems(value: Value): boolean {
  return Array.isArray(value) || value instanceof Dict || value instanceof Range || value instanceof Undefined;
}

function sign(negative: boolean, flags: string): string {
  if (negative) return "-";
  return flags.includes("+") ? "+" : flags.includes(" ") ? " " : "";
}

function wholeNumber(value: Value, type: string): number | bigint {
  const whole = integer(value);
  if (whole !== undefined) return whole;
  if (value instanceof Float) {
    if (Number.isFinite(value.value)) return BigInt(Math.trunc(value.value));
    fail("OverflowError", "cannot convert float infinity to integer");
  }
  return fail("TypeError", `%${type} format: a real number is required, not ${typeName(value)}`);
}

function character(value: Value): string {
  const text = textOf(value);
  if (text !== undefined && Array.from(text).length === 1) return text;
  const code = index(value);
  if (code === undefined) fail("TypeError", "%c requires int or char");
  if (code < 0 || code > 0x10ffff) fail("OverflowError", "%c arg not in range(0x110000)");
  return String.fromCodePoint(code);
}
