/** JSON with its numbers kept: 1.0 is a float, and an integer of any size is exact. */
import { Float, normalInt } from "./jinja/values.ts";

/** Where a number may stand that a double, or JavaScript's way to print one, would change. */
const CHANGED_NUMBER = /\d\.0|\d[eE][+-]?\d|\d{16}/;

/**
 * JSON.parse, but for numbers that JavaScript would change: a float that is a whole number becomes a Float, an integer
 * of more than 53 bits a bigint. Chat templates print them as they were written.
 * @throws SyntaxError as JSON.parse does.
 */
export function parseJson(text: string): unknown {
  if (!CHANGED_NUMBER.test(text)) return JSON.parse(text);
  return JSON.parse(text, function (this: unknown, _key: string, value: unknown, context?: { source?: string }) {
    return typeof value === "number" ? number(value, context?.source ?? "") : value;
  } as (this: unknown, key: string, value: unknown) => unknown);
}

function number(value: number, source: string): unknown {
  if (/[.eE]/.test(source)) return Number.isInteger(value) ? new Float(value) : value;
  return Number.isSafeInteger(value) || !/^-?\d+$/.test(source) ? value : normalInt(BigInt(source));
}
