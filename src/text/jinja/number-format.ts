/** Numbers by a format: the types of '%...' and of format(), such as d, x, e, f and g. */
import { allowText } from "./budget.ts";
import { fail } from "./errors.ts";
import { integer } from "./operators.ts";
import { exponentText, fixedText, floatText, integerText } from "./print.ts";
import { Float, textOf, type Value } from "./values.ts";

/** Widest field and largest precision that a template may ask for. */
const MAX_WIDTH = 100_000;

/** @throws TemplateError ValueError where `text` is more than any sensible width. */
export function width(text: string): number {
  const value = Number(text);
  if (value > MAX_WIDTH)
    fail("ValueError", `a format of the chat template asks for ${text} places, the most is ${MAX_WIDTH}`);
  return value;
}

/** float(value) for a number; undefined for anything else. */
export function asFloat(value: Value): number | undefined {
  if (value instanceof Float) return value.value;
  const whole = integer(value);
  return whole === undefined ? undefined : Number(whole);
}

/** An int in base 2, 8, 10 or 16, with its sign; `prefix` adds 0b, 0o or 0x. */
export function integerIn(value: number | bigint, type: string, prefix: boolean): string {
  const negative = value < 0;
  const size = negative ? -BigInt(value) : BigInt(value);
  const base = { b: 2, o: 8, x: 16, X: 16 }[type] ?? 10;
  let digits = base === 10 ? integerText(size) : size.toString(base);
  if (prefix && base !== 10) digits = `0${type.toLowerCase()}${digits}`;
  if (type === "X") digits = digits.toUpperCase();
  return (negative ? "-" : "") + digits;
}

/** |value| with `precision` digits and no type, as format() writes it: g with one digit at least after the point. */
export function floatWithDigits(value: number, precision: number): string {
  const size = Math.abs(value);
  if (!Number.isFinite(size)) return floatText(size);
  const digits = Math.max(1, precision);
  const [mantissa = "", power = ""] = scientific(size, digits - 1).split("e");
  const exponent = Number(power);
  if (exponent < -4 || exponent >= digits - 1) return `${withoutZeros(mantissa)}e${power}`;
  const plain = withoutZeros(fixedText(size, Math.max(0, digits - 1 - exponent)));
  return plain.includes(".") ? plain : `${plain}.0`;
}

/** |value| in the style e, f or g, or their capitals, with `precision` digits; `alternate` is the flag #. */
export function floatIn(value: number, type: string, precision: number, alternate: boolean): string {
  allowText(precision);
  const text = floatStyle(Math.abs(value), type.toLowerCase(), precision, alternate);
  return type === type.toUpperCase() ? text.toUpperCase() : text;
}

function floatStyle(size: number, style: string, precision: number, alternate: boolean): string {
  if (!Number.isFinite(size)) return floatText(size);
  if (style === "f") return fixedText(size, precision) + (alternate && precision === 0 ? "." : "");
  if (style === "e") return scientific(size, precision) + (alternate && precision === 0 ? "." : "");
  const digits = Math.max(1, precision);
  const rounded = scientific(size, digits - 1);
  const exponent = Number(rounded.split("e")[1]);
  if (exponent < -4 || exponent >= digits) {
    const [mantissa = "", power = ""] = rounded.split("e");
    return `${alternate ? mantissa : withoutZeros(mantissa)}e${power}`;
  }
  const plain = fixedText(size, digits - 1 - exponent);
  return alternate ? plain : withoutZeros(plain);
}

/** '%.*e' */
function scientific(size: number, precision: number): string {
  const known = Math.min(precision, 100);
  const text = exponentText(size.toExponential(known));
  return precision === known ? text : text.replace("e", `${"0".repeat(precision - known)}e`);
}

/** Without the zeros at the end of a fraction. Scans from the end: a pattern could take the square of the length. */
function withoutZeros(text: string): string {
  if (!text.includes(".")) return text;
  let end = text.length;
  while (text[end - 1] === "0") end--;
  return text.slice(0, text[end - 1] === "." ? end - 1 : end);
}

/** int(text, base) as Python reads it; undefined where it is none. */
export function parseInteger(value: Value, base = 10): number | bigint | undefined {
  const text = textOf(value)?.replaceAll(/(?<=[\dA-Za-z])_(?=[\dA-Za-z])/g, "");
  const match = text?.match(/^([+-]?)(0[bBoOxX])?([\dA-Za-z]+)$/);
  if (!match) return undefined;
  let [, sign, prefix = "", digits = ""] = match;
  const bases: Record<string, number> = { "0b": 2, "0o": 8, "0x": 16 };
  let radix = base;
  const named = bases[prefix.toLowerCase()];
  if (named !== undefined && (base === named || base === 0)) radix = named;
  else {
    digits = prefix + digits;
    if (base === 0) radix = 10;
  }
  if (digits.length > 4300) fail("ValueError", "Exceeds the limit (4300 digits) for integer string conversion");
  let number = 0n;
  for (const digit of digits) {
    const place = Number.parseInt(digit, 36);
    if (!(place < radix)) return undefined;
    number = number * BigInt(radix) + BigInt(place);
  }
  const signed = sign === "-" ? -number : number;
  const small = Number(signed);
  return Number.isSafeInteger(small) ? small : signed;
}

/** float(text) as Python reads it; undefined where it is none. */
export function parseFloatText(text: string): number | undefined {
  const plain = text.replaceAll(/(?<=\d)_(?=\d)/g, "");
  if (/^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/.test(plain)) return Number(plain);
  const word = /^([+-]?)(inf|infinity|nan)$/i.exec(plain);
  if (!word) return undefined;
  if (word[2]!.toLowerCase() === "nan") return Number.NaN;
  return word[1] === "-" ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
}

/** `text` in a field of `width`; zeros go between the sign or prefix and the digits. */
export function pad(text: string, width: number, align: "left" | "right" | "center" | "zero", fill = " "): string {
  const missing = width - Array.from(text).length;
  if (missing <= 0) return text;
  allowText(text.length + missing * fill.length);
  if (align === "left") return text + fill.repeat(missing);
  if (align === "right") return fill.repeat(missing) + text;
  if (align === "center") {
    const left = Math.floor(missing / 2);
    return fill.repeat(left) + text + fill.repeat(missing - left);
  }
  const [, head = "", digits = ""] = /^([+\- ]?(?:0[bBoOxX])?)(.*)$/s.exec(text)!;
  return head + fill.repeat(missing) + digits;
}
