/** Filters on numbers, and on values of any kind. */
import { getOnlyAttribute } from "./attributes.ts";
import { strip } from "./code-points.ts";
import { fail } from "./errors.ts";
import { natives, notAnInteger } from "./native.ts";
import { asFloat, parseFloatText, parseInteger } from "./number-format.ts";
import { arithmetic, index, integer, ordered, signed, truth } from "./operators.ts";
import { fixedText, repr, str } from "./print.ts";
import { Float, normalInt, textOf, typeName, Undefined, type Value } from "./values.ts";

const BOTH = { left: true, right: true };

/** float(value), or undefined where Python raises a TypeError or a ValueError. */
function floatOf(value: Value): number | undefined {
  const text = textOf(value);
  if (text !== undefined) return parseFloatText(strip(text, null, BOTH));
  if (value instanceof Undefined) value.fail();
  return asFloat(value);
}

/** float(value) */
export function toFloat(value: Value): number {
  const number = floatOf(value);
  if (number !== undefined) return number;
  if (textOf(value) !== undefined) fail("ValueError", `could not convert string to float: ${repr(value)}`);
  return fail("TypeError", `float() argument must be a string or a real number, not '${typeName(value)}'`);
}

function truncated(value: number): number | bigint {
  return normalInt(BigInt(Math.trunc(value)));
}

function int(value: Value, fallback: Value = 0, base: Value = 10): Value {
  const text = textOf(value);
  if (text !== undefined) {
    const whole = parseInteger(strip(text, null, BOTH), index(base) ?? 10);
    if (whole !== undefined) return whole;
  } else if (value instanceof Undefined) value.fail();
  const whole = integer(value);
  if (whole !== undefined) return whole;
  const number = floatOf(value);
  if (value instanceof Float && number !== undefined && !Number.isFinite(number) && !Number.isNaN(number)) {
    fail("OverflowError", "cannot convert float infinity to integer");
  }
  return number === undefined || !Number.isFinite(number) ? fallback : truncated(number);
}

function float(value: Value, fallback: Value = new Float(0)): Value {
  const number = floatOf(value);
  return number === undefined ? fallback : new Float(number);
}

function round(value: Value, precision: Value = 0, method: Value = "common"): Value {
  if (method !== "common" && method !== "ceil" && method !== "floor") {
    fail("FilterArgumentError", "method must be common, ceil or floor");
  }
  const places = index(precision) ?? notAnInteger(precision);
  if (value instanceof Undefined) value.fail();
  if (method === "common") return rounded(value, places);
  const scale = arithmetic("**", 10, places);
  const scaled = arithmetic("*", value, scale);
  const whole = integer(scaled);
  if (whole !== undefined) return arithmetic("/", whole, scale);
  if (!(scaled instanceof Float)) fail("TypeError", `must be real number, not ${typeName(value)}`);
  return arithmetic("/", truncated(method === "ceil" ? Math.ceil(scaled.value) : Math.floor(scaled.value)), scale);
}

function rounded(value: Value, places: number): Value {
  const whole = integer(value);
  if (whole !== undefined) return roundedInteger(BigInt(whole), places);
  if (!(value instanceof Float)) return fail("TypeError", `type ${typeName(value)} doesn't define __round__ method`);
  if (!Number.isFinite(value.value) || places > 330) return value;
  if (places >= 0) return new Float(Number(fixedText(value.value, places)));
  const scale = 10 ** -places;
  return new Float(Number(fixedText(value.value / scale, 0)) * scale);
}

/** Halves go to the even digit. */
function roundedInteger(value: bigint, places: number): Value {
  if (places >= 0) return normalInt(value);
  if (places < -5000) return 0;
  const unit = 10n ** BigInt(-places);
  const rest = ((value % unit) + unit) % unit;
  const down = value - rest;
  const up = 2n * rest > unit || (2n * rest === unit && (down / unit) % 2n !== 0n);
  return normalInt(up ? down + unit : down);
}

function absolute(value: Value): Value {
  if (value instanceof Undefined) value.fail();
  if (asFloat(value) === undefined) fail("TypeError", `bad operand type for abs(): '${typeName(value)}'`);
  if (value instanceof Float) return new Float(Math.abs(value.value));
  return ordered("<", value, 0) ? signed("-", value) : signed("+", value);
}

export const VALUE_FILTERS = natives({
  "abs _x": absolute,
  "attr obj name": (value, name) => getOnlyAttribute(value, str(name)),
  "default value default_value? boolean?": (value, fallback: Value = "", boolean: Value = false) =>
    value instanceof Undefined || (truth(boolean) && !truth(value)) ? fallback : value,
  "float value default?": float,
  "int value default? base?": int,
  "round value precision? method?": round,
});
