/** Python's operators and the protocols beneath them: truth, length, iteration, equality, order, arithmetic. */
import { allowJoined, allowList, allowText, chargeCopy, chargeItems, chargeText, MAX_INTEGER_BITS } from "./budget.ts";
import { characters, compareText, length } from "./code-points.ts";
import { fail } from "./errors.ts";
import { percentFormat } from "./percent-format.ts";
import { bitLength, repr } from "./print.ts";
import {
  Dict,
  DictView,
  Float,
  Iter,
  Markup,
  Namespace,
  normalInt,
  Range,
  Tuple,
  textOf,
  typeName,
  Undefined,
  type Value,
} from "./values.ts";

/** bool(value) */
export function truth(value: Value): boolean {
  if (typeof value === "boolean") return value;
  if (value === null) return false;
  if (typeof value === "string") return value !== "";
  if (typeof value === "number") return value !== 0;
  if (Array.isArray(value)) return value.length > 0;
  if (value instanceof Float) return value.value !== 0;
  if (value instanceof Undefined) return false;
  return size(value) !== 0;
}

/** len(value), or undefined for what has none. */
export function size(value: Value): number | undefined {
  const text = textOf(value);
  if (text !== undefined) return length(text);
  if (Array.isArray(value)) return value.length;
  if (value instanceof Tuple) return value.items.length;
  if (value instanceof Dict) return value.size;
  if (value instanceof Undefined) return 0;
  if (value instanceof Range) return value.length;
  return value instanceof DictView ? value.dict.size : undefined;
}

/** len(value) */
export function len(value: Value): number {
  return size(value) ?? fail("TypeError", `object of type '${typeName(value)}' has no len()`);
}

/** iter(value), or undefined for what has none. */
export function iterator(value: Value): Iterator<Value> | undefined {
  const text = textOf(value);
  if (text !== undefined) return characters(text).values();
  if (Array.isArray(value)) return value.values();
  if (value instanceof Tuple) return value.items.values();
  if (value instanceof Dict) return value.keys()[Symbol.iterator]();
  if (value instanceof DictView) return value[Symbol.iterator]();
  if (value instanceof Iter) return value.items;
  if (value instanceof Undefined) return [].values();
  return value instanceof Range ? rangeItems(value) : undefined;
}

function* rangeItems(range: Range): Generator<Value> {
  for (let i = 0; i < range.length; i++) yield range.at(i);
}

/** iter(value). Each item is charged for. */
export function* iterate(value: Value): Generator<Value> {
  const items = iterator(value) ?? fail("TypeError", `'${typeName(value)}' object is not iterable`);
  for (let next = items.next(); !next.done; next = items.next()) {
    chargeItems(1);
    yield next.value;
  }
}

/** list(value) */
export function list(value: Value): Value[] {
  const out: Value[] = [];
  for (const item of iterate(value)) out.push(item);
  allowList(out.length);
  return out;
}

/** A number as JavaScript has it: an int as number or bigint, or the Float; undefined for anything else. */
type Numeric = number | bigint | Float;

function numeric(value: Value): Numeric | undefined {
  if (typeof value === "number" || typeof value === "bigint" || value instanceof Float) return value;
  return typeof value === "boolean" ? Number(value) : undefined;
}

/** An int, or a bool as one; undefined for anything else. */
export function integer(value: Value): number | bigint | undefined {
  const number = numeric(value);
  return number instanceof Float ? undefined : number;
}

/** An int as a number, for counts and indices: beyond ±2^53 it is as good as infinite. Undefined for no int. */
export function index(value: Value): number | undefined {
  const whole = integer(value);
  return whole === undefined ? undefined : Number(whole);
}

/** a == b */
export function equal(a: Value, b: Value): boolean {
  chargeItems(1);
  if (a === b) return !(a instanceof Float && Number.isNaN(a.value));
  const [x, y] = [numeric(a), numeric(b)];
  if (x !== undefined || y !== undefined) return x !== undefined && y !== undefined && compareNumbers(x, y) === 0;
  const [s, t] = [textOf(a), textOf(b)];
  if (s !== undefined || t !== undefined) {
    if (s === undefined || t === undefined || s.length !== t.length) return false;
    chargeCopy(s.length);
    return s === t;
  }
  if (Array.isArray(a)) return Array.isArray(b) && equalItems(a, b);
  if (a instanceof Tuple) return b instanceof Tuple && equalItems(a.items, b.items);
  if (a instanceof Dict) return b instanceof Dict && equalDicts(a, b);
  if (a instanceof Range) return b instanceof Range && equalItems([...rangeItems(a)], [...rangeItems(b)]);
  if (a instanceof DictView) return b instanceof DictView && equalViews(a, b);
  return a instanceof Undefined && b instanceof Undefined;
}

function equalItems(a: readonly Value[], b: readonly Value[]): boolean {
  return a.length === b.length && a.every((item, i) => item === b[i]! || equal(item, b[i]!));
}

function equalDicts(a: Dict, b: Dict): boolean {
  if (a.size !== b.size) return false;
  for (const [key, value] of a.entries()) {
    const other = b.get(key);
    if (other === undefined || !(other === value || equal(value, other))) return false;
  }
  return true;
}

/** Keys and items are sets; two views of values are equal only when they are one. */
function equalViews(a: DictView, b: DictView): boolean {
  if (a.typeName === "dict_values" || a.typeName !== b.typeName || a.dict.size !== b.dict.size) return false;
  if (a.typeName === "dict_items") return equalDicts(a.dict, b.dict);
  return [...a].every((key) => b.dict.has(key));
}

/** Negative, zero or positive; NaN where either is NaN. Exact also between ints and floats. */
function compareNumbers(a: Numeric, b: Numeric): number {
  const [x, y] = [a instanceof Float ? a.value : a, b instanceof Float ? b.value : b];
  if (typeof x === "number" && typeof y === "number") return x < y ? -1 : x > y ? 1 : x === y ? 0 : Number.NaN;
  // JavaScript compares a bigint and a number by their exact values. A bigint beyond 2^53 may equal a float.
  return x < y ? -1 : x > y ? 1 : Number.isNaN(x) || Number.isNaN(y) ? Number.NaN : 0;
}

export type Order = "<" | "<=" | ">" | ">=";

/** a < b and the like. */
export function ordered(operator: Order, a: Value, b: Value): boolean {
  const order = compare(a, b, operator);
  if (operator === "<") return order < 0;
  if (operator === "<=") return order <= 0;
  return operator === ">" ? order > 0 : order >= 0;
}

/** Negative, zero or positive (NaN: neither). @throws TemplateError TypeError for what has no order; names `operator`. */
export function compare(a: Value, b: Value, operator: Order = "<"): number {
  chargeItems(1);
  const [x, y] = [numeric(a), numeric(b)];
  if (x !== undefined && y !== undefined) return compareNumbers(x, y);
  const [s, t] = [textOf(a), textOf(b)];
  if (s !== undefined && t !== undefined) return compareText(s, t);
  if (Array.isArray(a) && Array.isArray(b)) return compareItems(a, b, operator);
  if (a instanceof Tuple && b instanceof Tuple) return compareItems(a.items, b.items, operator);
  if (a instanceof Undefined) a.fail();
  if (b instanceof Undefined) b.fail();
  const types = `'${typeName(a)}' and '${typeName(b)}'`;
  return fail("TypeError", `'${operator}' not supported between instances of ${types}`);
}

function compareItems(a: readonly Value[], b: readonly Value[], operator: Order): number {
  for (let i = 0; i < a.length && i < b.length; i++) {
    if (!equal(a[i]!, b[i]!)) return compare(a[i]!, b[i]!, operator);
  }
  return a.length - b.length;
}

/** item in container */
export function contains(container: Value, item: Value): boolean {
  const text = textOf(container);
  if (text !== undefined) {
    const part = textOf(item);
    if (part === undefined) {
      if (item instanceof Undefined) fail("TypeError", "'in <string>' requires string as left operand, not Undefined");
      fail("TypeError", `'in <string>' requires string as left operand, not ${typeName(item)}`);
    }
    chargeCopy(4 * text.length);
    return text.includes(part);
  }
  if (container instanceof Dict) return container.has(item);
  if (container instanceof DictView && container.typeName === "dict_keys") return container.dict.has(item);
  if (iterator(container) === undefined) fail("TypeError", `argument of type '${typeName(container)}' is not iterable`);
  for (const other of iterate(container)) if (other === item || equal(other, item)) return true;
  return false;
}

export type Arithmetic = "+" | "-" | "*" | "/" | "//" | "%" | "**";

/** a + b and the like. */
export function arithmetic(operator: Arithmetic, a: Value, b: Value): Value {
  const [x, y] = [numeric(a), numeric(b)];
  if (x !== undefined && y !== undefined) {
    if (x instanceof Float || y instanceof Float) return floats(operator, toFloat(x), toFloat(y));
    return integers(operator, x, y);
  }
  const text = textOf(a);
  if (operator === "%" && text !== undefined) return percentFormat(a, text, b);
  if (a instanceof Undefined) a.fail();
  if (b instanceof Undefined) b.fail();
  if (operator === "+") return concatenate(a, b);
  const [sequence, count] = index(b) === undefined ? [b, index(a)] : [a, index(b)];
  if (operator === "*" && count !== undefined && !(sequence instanceof Float)) return repeat(sequence, count, a, b);
  return unsupported(operator === "**" ? "** or pow()" : operator, a, b);
}

function unsupported(operator: string, a: Value, b: Value): never {
  fail("TypeError", `unsupported operand type(s) for ${operator}: '${typeName(a)}' and '${typeName(b)}'`);
}

function concatenate(a: Value, b: Value): Value {
  const [s, t] = [textOf(a), textOf(b)];
  if (s !== undefined && t !== undefined) {
    allowJoined(s.length + t.length);
    if (a instanceof Markup) return new Markup(s + escapeHtml(b));
    return b instanceof Markup ? new Markup(escapeHtml(a) + t) : s + t;
  }
  if (s !== undefined) fail("TypeError", `can only concatenate str (not "${typeName(b)}") to str`);
  if (Array.isArray(a)) {
    if (!Array.isArray(b)) fail("TypeError", `can only concatenate list (not "${typeName(b)}") to list`);
    allowList(a.length + b.length);
    return [...a, ...b];
  }
  if (a instanceof Tuple) {
    if (!(b instanceof Tuple)) fail("TypeError", `can only concatenate tuple (not "${typeName(b)}") to tuple`);
    allowList(a.items.length + b.items.length);
    return new Tuple([...a.items, ...b.items]);
  }
  return unsupported("+", a, b);
}

function repeat(sequence: Value, times: number, a: Value, b: Value): Value {
  const count = Math.max(0, times);
  const text = textOf(sequence);
  if (text !== undefined) {
    allowText(text.length * count);
    return sequence instanceof Markup ? new Markup(text.repeat(count)) : text.repeat(count);
  }
  const items = Array.isArray(sequence) ? sequence : sequence instanceof Tuple ? sequence.items : null;
  if (items === null) return unsupported("*", a, b);
  allowList(items.length * count);
  const out: Value[] = [];
  for (let i = 0; i < count && items.length > 0; i++) for (const item of items) out.push(item);
  return Array.isArray(sequence) ? out : new Tuple(out);
}

function toFloat(value: Numeric): number {
  if (value instanceof Float) return value.value;
  const number = Number(value);
  if (!Number.isFinite(number)) fail("OverflowError", "int too large to convert to float");
  return number;
}

function floats(operator: Arithmetic, a: number, b: number): Value {
  if (operator === "+") return new Float(a + b);
  if (operator === "-") return new Float(a - b);
  if (operator === "*") return new Float(a * b);
  if (operator === "**") return floatPower(a, b);
  if (b === 0) {
    const what =
      operator === "/" ? "float division by zero" : operator === "//" ? "float floor division by zero" : "float modulo";
    fail("ZeroDivisionError", what);
  }
  if (operator === "/") return new Float(a / b);
  let rest = a % b;
  if (rest !== 0 && rest < 0 !== b < 0) rest += b;
  if (operator === "%") return new Float(rest === 0 ? (b < 0 ? -0 : 0) : rest);
  return new Float(Math.round((a - rest) / b));
}

function floatPower(a: number, b: number): Value {
  if (a === 0 && b < 0) fail("ZeroDivisionError", "0.0 cannot be raised to a negative power");
  if (a < 0 && !Number.isInteger(b) && Number.isFinite(b)) fail("TypeError", "complex numbers are not supported");
  const power = a === 1 ? 1 : a ** b;
  if (!Number.isFinite(power) && Number.isFinite(a) && Number.isFinite(b)) {
    fail("OverflowError", "(34, 'Numerical result out of range')");
  }
  return new Float(power);
}

function integers(operator: Arithmetic, a: number | bigint, b: number | bigint): Value {
  if (operator === "/") {
    if (b === 0) fail("ZeroDivisionError", "division by zero");
    return new Float(quotient(a, b));
  }
  if (operator === "**") return integerPower(a, b);
  if (typeof a === "number" && typeof b === "number") {
    const quick = safeIntegers(operator, a, b);
    if (Number.isSafeInteger(quick)) return quick + 0; // -0 is 0
  }
  if (operator === "*" && bitLength(a) + bitLength(b) > MAX_INTEGER_BITS) tooBig();
  const [x, y] = [BigInt(a), BigInt(b)];
  if (operator === "+") return normalInt(x + y);
  if (operator === "-") return normalInt(x - y);
  if (operator === "*") return normalInt(x * y);
  if (y === 0n) fail("ZeroDivisionError", "integer division or modulo by zero");
  const rest = ((x % y) + y) % y;
  return normalInt(operator === "%" ? rest : (x - rest) / y);
}

/** a / b as the nearest double, also where a or b is none. */
function quotient(a: number | bigint, b: number | bigint): number {
  if (typeof a === "number" && typeof b === "number") return a / b;
  const [x, y] = [BigInt(a), BigInt(b)];
  const [top, bottom] = [x < 0n ? -x : x, y < 0n ? -y : y];
  // 70 bits of the result or more, and a last one for the rest: enough to round right.
  const shift = Math.max(0, 70 + bitLength(bottom) - bitLength(top) + 8);
  const scaled = top << BigInt(shift);
  const digits = ((scaled / bottom) << 1n) | (scaled % bottom === 0n ? 0n : 1n);
  const size = toFloat(digits) / 2 ** (shift + 1);
  return x < 0n === y < 0n ? size : -size;
}

function safeIntegers(operator: Arithmetic, a: number, b: number): number {
  if (operator === "+") return a + b;
  if (operator === "-") return a - b;
  if (operator === "*") return a * b;
  if (b === 0)
    fail("ZeroDivisionError", operator === "%" ? "integer modulo by zero" : "integer division or modulo by zero");
  const rest = ((a % b) + b) % b;
  return operator === "%" ? rest : (a - rest) / b;
}

function integerPower(a: number | bigint, b: number | bigint): Value {
  if (b < 0) return floatPower(toFloat(a), toFloat(b));
  const bits = a === 0 || a === 1 || a === -1 ? 1 : BigInt(a).toString(2).length;
  if (bits * Number(b) > MAX_INTEGER_BITS) {
    if (bits > 1) tooBig();
    return a === -1 && BigInt(b) % 2n === 0n ? 1 : normalInt(BigInt(a));
  }
  return normalInt(BigInt(a) ** BigInt(b));
}

function tooBig(): never {
  fail("OverflowError", `an integer of the chat template has more than ${MAX_INTEGER_BITS} bits`);
}

/** -value or +value. */
export function signed(sign: "-" | "+", value: Value): Value {
  if (value instanceof Undefined) value.fail();
  const number = numeric(value);
  if (number === undefined) return fail("TypeError", `bad operand type for unary ${sign}: '${typeName(value)}'`);
  if (number instanceof Float) return new Float(sign === "-" ? -number.value : number.value);
  if (sign === "+") return number;
  return typeof number === "bigint" ? normalInt(-number) : 0 - number;
}

/** markupsafe.escape(): a Markup stays as it is. */
export function escapeHtml(value: Value): string {
  if (value instanceof Markup) return value.text;
  const text = textOf(value) ?? (value instanceof Undefined ? "" : repr(value));
  chargeText(text.length * 5);
  const escaped = text
    .replaceAll("&", "&amp;")
    .replaceAll(">", "&gt;")
    .replaceAll("<", "&lt;")
    .replaceAll("'", "&#39;")
    .replaceAll('"', "&#34;");
  allowText(escaped.length);
  return escaped;
}

/** Is it something that `set x.y = ...` may assign to? */
export function requireNamespace(value: Value | undefined): Namespace {
  if (value instanceof Namespace) return value;
  return fail("TemplateRuntimeError", "cannot assign attribute on non-namespace object");
}
