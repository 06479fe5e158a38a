/** JSON Schema's `propertyNames`: which names a translated schema allows, as far as a grammar can hold them. */
import { isObject } from "../bounded-json.ts";
import { MAX_REGEX_REPEATS } from "../limits.ts";
import type { Schema } from "./keywords.ts";

/** Listed names, those that match a pattern, or any; null = it cannot be said in one of these ways. */
export type Names = string[] | { pattern: string } | "any" | null;

/** References within references that are followed. */
const MAX_DEPTH = 8;

/** `resolve` gives what a reference leads to; null = it is not known yet. */
export function namesOf(schema: Schema, resolve: (reference: string) => Schema | null, depth = 0): Names {
  if (schema === false) return [];
  if (!isObject(schema)) return "any";
  const { type, ...asked } = schema;
  if (type !== undefined && ![type].flat().includes("string")) return [];
  const listed = asked.const === undefined ? asked.enum : [asked.const];
  const others = Object.keys(asked).filter((keyword) => keyword !== "const" && keyword !== "enum");
  if (Array.isArray(listed)) {
    return others.length === 0 ? listed.filter((name): name is string => typeof name === "string") : null;
  }
  if (others.length === 0) return "any";
  const [keyword, ...more] = others;
  if (keyword === "$ref" && more.length === 0 && depth < MAX_DEPTH) {
    const target = resolve(asked.$ref as string);
    return target === null ? null : namesOf(target, resolve, depth + 1);
  }
  if (keyword === "anyOf" && more.length === 0) {
    const lists = (asked.anyOf as Schema[]).map((one) => namesOf(one, resolve, depth));
    return lists.every(Array.isArray) ? [...new Set(lists.flat() as string[])] : null;
  }
  if (keyword === "pattern" && more.length === 0) return { pattern: asked.pattern as string };
  if (!others.every((one) => one === "minLength" || one === "maxLength")) return null;
  const { minLength: least = 0, maxLength: most } = asked as { minLength?: number; maxLength?: number };
  if (Math.max(least, most ?? 0) > MAX_REGEX_REPEATS) return null;
  return { pattern: `^(?s:.{${least},${most ?? ""}})$` };
}
