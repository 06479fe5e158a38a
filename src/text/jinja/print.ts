/** Values as text: str(), repr(), and numbers as Python prints them. */
import { allowText, chargeItems, chargeText, MAX_INTEGER_BITS, MAX_TEXT_LENGTH } from "./budget.ts";
import { fail } from "./errors.ts";
import {
  Attributes,
  Dict,
  DictView,
  Float,
  Func,
  Iter,
  Markup,
  type PyObject,
  Range,
  Tuple,
  Undefined,
  type Value,
} from "./values.ts";

/** str(value) */
export function str(value: Value): string {
  if (typeof value === "string") return value;
  if (value instanceof Markup) return value.text;
  if (value instanceof Undefined) return "";
  return repr(value);
}

/** repr(value). @throws BudgetError where it grows too long. */
export function repr(value: Value): string {
  return new Representation().of(value);
}

class Representation {
  /** Containers that are being written: one that holds itself is written as {...}. */
  readonly #open = new Set<Value>();
  #length = 0;

  of(value: Value): string {
    const text = this.#write(value);
    if (!isContainer(value)) this.#grow(text.length);
    return text;
  }

  #grow(length: number): void {
    chargeItems(4);
    this.#length += length;
    if (this.#length > MAX_TEXT_LENGTH) allowText(this.#length);
  }

  #write(value: Value): string {
    if (value === null) return "None";
    if (value === true) return "True";
    if (value === false) return "False";
    if (typeof value === "string") return quote(value);
    if (typeof value === "number") return String(value);
    if (typeof value === "bigint") return integerText(value);
    if (Array.isArray(value)) return this.#container(value, "[", "]", value);
    return this.#object(value);
  }

  #object(value: PyObject): string {
    if (value instanceof Float) return floatText(value.value);
    if (value instanceof Tuple) {
      return this.#container(value, "(", value.items.length === 1 ? ",)" : ")", value.items);
    }
    if (value instanceof Dict) return this.#dict(value);
    if (value instanceof Markup) return `Markup(${quote(value.text)})`;
    if (value instanceof Undefined) return "Undefined";
    if (value instanceof Range) {
      const { start, stop, step } = value;
      return step === 1 ? `range(${start}, ${stop})` : `range(${start}, ${stop}, ${step})`;
    }
    if (value instanceof DictView) return `${value.typeName}(${this.of([...value])})`;
    if (value instanceof Attributes) return value.describe((part) => this.of(part));
    if (value instanceof Func) return `<function ${value.name}>`;
    return value instanceof Iter ? `<${value.typeName} object>` : `<${value.typeName}>`;
  }

  #container(container: Value, open: string, close: string, items: readonly Value[]): string {
    if (this.#open.has(container)) return `${open}...${close}`;
    this.#open.add(container);
    this.#grow(2 * items.length);
    const text = open + items.map((item) => this.of(item)).join(", ") + close;
    this.#open.delete(container);
    return text;
  }

  #dict(dict: Dict): string {
    if (this.#open.has(dict)) return "{...}";
    this.#open.add(dict);
    this.#grow(4 * dict.size);
    const items = Array.from(dict.entries(), ([key, value]) => `${this.of(key)}: ${this.of(value)}`);
    this.#open.delete(dict);
    return `{${items.join(", ")}}`;
  }
}

function isContainer(value: Value): boolean {
  return Array.isArray(value) || value instanceof Tuple || value instanceof Dict || value instanceof DictView;
}

const NOT_PRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}\p{Zs}]/u;
const NEEDS_ESCAPE = /[\\'\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]|(?! )\p{Zs}/u;
const ESCAPES: Record<string, string> = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\" };

/** str.isprintable() of one character. */
export function isPrintable(character: string): boolean {
  return character === " " || !NOT_PRINTABLE.test(character);
}

/** repr() of a str: single quotes, unless it holds one and no double quote. */
export function quote(text: string): string {
  chargeText(text.length * 4);
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'";
  if (!NEEDS_ESCAPE.test(text)) return mark + text + mark;
  let out = mark;
  chargeItems(text.length);
  for (const character of text) {
    if (character === mark) out += `\\${mark}`;
    else if (ESCAPES[character] !== undefined) out += ESCAPES[character];
    else out += isPrintable(character) ? character : escapeCode(character.codePointAt(0)!);
  }
  return out + mark;
}

function escapeCode(code: number): string {
  const hex = code.toString(16);
  if (code < 0x100) return `\\x${hex.padStart(2, "0")}`;
  return code < 0x10000 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
}

/** repr() of an int. */
export function integerText(value: number | bigint): string {
  if (typeof value === "number") return String(value);
  if (bitLength(value) > MAX_INTEGER_BITS) tooManyDigits();
  const text = String(value);
  if (text.length > 4301) tooManyDigits();
  return text;
}

function tooManyDigits(): never {
  fail("ValueError", "Exceeds the limit (4300 digits) for integer string conversion");
}

/** About the bits of |value|, in time that does not grow with its square. */
export function bitLength(value: number | bigint): number {
  return typeof value === "number" ? 53 : value.toString(16).length * 4;
}

/** repr() of a float: the shortest digits that read back as the same, an exponent from 1e16 and below 1e-4. */
export function floatText(value: number): string {
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  if (Object.is(value, -0)) return "-0.0";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e16)) return exponentText(value.toExponential());
  const text = String(value);
  return text.includes(".") ? text : `${text}.0`;
}

/** JavaScript's 1e-7 as Python's 1e-07. */
export function exponentText(text: string): string {
  return text.replace(/e([+-])(\d)$/, "e$10$2");
}

/**
 * `value` with `places` digits after the point, as '%.*f' writes it: halves go to the even digit, by the exact value of
 * the double. (JavaScript's toFixed rounds them up.)
 */
export function fixedText(value: number, places: number): string {
  if (!Number.isFinite(value)) return floatText(value);
  allowText(places + 400);
  const [fraction, exponent] = decompose(Math.abs(value));
  // |value| = fraction * 2^exponent. Scaled by 10^places and rounded, these are the digits.
  let scaled = fraction * 10n ** BigInt(places);
  if (exponent >= 0) scaled <<= BigInt(exponent);
  else {
    const divisor = 1n << BigInt(-exponent);
    const rest = scaled % divisor;
    scaled /= divisor;
    if (2n * rest > divisor || (2n * rest === divisor && scaled % 2n === 1n)) scaled += 1n;
  }
  const digits = scaled.toString().padStart(places + 1, "0");
  const sign = value < 0 || Object.is(value, -0) ? "-" : "";
  const whole = digits.slice(0, digits.length - places);
  return sign + whole + (places > 0 ? `.${digits.slice(digits.length - places)}` : "");
}

/** A non-negative double as fraction * 2^exponent, exactly. */
function decompose(value: number): [fraction: bigint, exponent: number] {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  const bits = view.getBigUint64(0);
  const exponent = Number(bits >> 52n);
  const fraction = bits & 0xfffffffffffffn;
  return exponent === 0 ? [fraction, -1074] : [fraction | 0x10000000000000n, exponent - 1075];
}
