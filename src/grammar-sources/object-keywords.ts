/** JSON Schema's keywords about objects. */
import { isObject } from "../bounded-json.ts";
import type { SchemaTranslator } from "./json-schema.ts";
import { allowsAll, below, type Schema, standsAlone } from "./keywords.ts";
import { namesOf } from "./property-names.ts";
import { refuse } from "./refusal.ts";
import { checkText, countKeyword, pattern } from "./value-keywords.ts";

type Keywords = Record<string, unknown>;

export function objectKeywords(
  given: Keywords,
  at: string,
  out: Keywords,
  parts: Schema[],
  translator: SchemaTranslator,
): void {
  if (given.properties !== undefined) {
    const place = below(at, "properties");
    const properties = translator.named(given.properties, place);
    for (const [name] of properties) checkText(name, below(place, name));
    out.properties = record(properties);
  }
  if (given.patternProperties !== undefined) {
    const place = below(at, "patternProperties");
    const patterns = translator
      .named(given.patternProperties, place)
      .map(([name, schema]): [string, Schema] => [pattern(name, below(place, name), "patternProperties"), schema]);
    if (patterns.length > 0) out.patternProperties = record(patterns);
  }
  if (given.required !== undefined) out.required = required(given.required, below(at, "required"));
  const additional = additionalProperties(given, at, translator.options.closed);
  if (additional) out.additionalProperties = translator.schema(additional.schema, below(at, additional.keyword));
  propertyNames(given, at, out, translator);
  countProperties(given, at, out);
  dependencies(given, at, parts, translator);
}

/** An object of `entries`, also of one that is called __proto__. */
function record(entries: [string, Schema][]): Record<string, Schema> {
  return Object.assign(Object.create(null), Object.fromEntries(entries));
}

function required(names: unknown, at: string): string[] {
  if (!Array.isArray(names)) return refuse(`required (at ${at}) must be an array of names`);
  for (const name of names) {
    if (typeof name !== "string") refuse(`required (at ${at}) must be an array of names`);
    checkText(name, at);
  }
  return [...new Set<string>(names)];
}

/** The schema of properties that are not listed, and the keyword that gives it; null = there is none. */
function additionalProperties(
  given: Keywords,
  at: string,
  closed: boolean,
): { keyword: string; schema: unknown } | null {
  const { additionalProperties, unevaluatedProperties } = given;
  if (additionalProperties !== undefined) return { keyword: "additionalProperties", schema: additionalProperties };
  if (unevaluatedProperties !== undefined && !allowsAll(unevaluatedProperties)) {
    if (!standsAlone(given)) {
      const place = below(at, "unevaluatedProperties");
      refuse(`unevaluatedProperties (at ${place}) is not supported beside $ref, allOf, anyOf or oneOf`);
    }
    return { keyword: "unevaluatedProperties", schema: unevaluatedProperties };
  }
  const lists = given.properties !== undefined || given.patternProperties !== undefined;
  return closed && lists ? { keyword: "additionalProperties", schema: false } : null;
}

/** A grammar cannot tell that two names differ, so it cannot count those that a schema does not name. */
function countProperties(given: Keywords, at: string, out: Keywords): void {
  const required = Array.isArray(out.required) ? (out.required as string[]) : [];
  const optional = Object.keys(out.properties ?? {}).filter((name) => !required.includes(name)).length;
  const certain = required.length;
  const isClosed = out.additionalProperties === false && out.patternProperties === undefined;
  const uncounted = (keyword: string) => {
    const place = below(at, keyword);
    refuse(`${keyword} (at ${place}) is not supported where properties are listed that are not required`);
  };
  const most = countKeyword(given, "maxProperties", at);
  if (most !== undefined && !(isClosed && most >= certain + optional)) {
    if (optional > 0 && !(isClosed && most === certain + 1)) uncounted("maxProperties");
    out.maxProperties = most;
  }
  const least = countKeyword(given, "minProperties", at);
  if (least === undefined) return;
  if (least > certain + 1) {
    const why = "properties of any name, of which it asks for several, may have the same one";
    refuse(`minProperties (at ${below(at, "minProperties")}) is not supported: ${why}; list the names in required`);
  }
  if (least <= certain) return;
  if (optional > 0 && !isClosed) uncounted("minProperties");
  out.minProperties = least;
}

function propertyNames(given: Keywords, at: string, out: Keywords, translator: SchemaTranslator): void {
  if (given.propertyNames === undefined || allowsAll(given.propertyNames)) return;
  const place = below(at, "propertyNames");
  const names = namesOf(translator.schema(given.propertyNames, place), (reference) => translator.definition(reference));
  if (names === "any") return;
  const rest = (out.additionalProperties as Schema | undefined) ?? true;
  if (Array.isArray(names) && out.patternProperties === undefined) {
    for (const name of names) checkText(name, place);
    translator.count(names.length);
    const own = (out.properties ?? {}) as Record<string, Schema>;
    const entries = names.map((name): [string, Schema] => [name, Object.hasOwn(own, name) ? own[name]! : rest]);
    out.properties = record(entries);
    out.additionalProperties = false;
    return;
  }
  if (isObject(names) && !out.properties && !out.patternProperties && !out.required) {
    out.patternProperties = { [names.pattern]: rest };
    out.additionalProperties = false;
    return;
  }
  const why = "with listed names, or with one of pattern, format and lengths where no properties are listed";
  refuse(`propertyNames (at ${place}) is supported ${why}`);
}

/** "Who has this property has those too": either it is not there, or what it asks for holds. */
function dependencies(given: Keywords, at: string, parts: Schema[], translator: SchemaTranslator): void {
  for (const keyword of ["dependentRequired", "dependentSchemas", "dependencies"]) {
    const value = given[keyword];
    if (value === undefined) continue;
    const place = below(at, keyword);
    if (!isObject(value)) refuse(`${keyword} (at ${place}) must be an object`);
    for (const [name, asked] of Object.entries(value)) {
      checkText(name, below(place, name));
      const then: Schema = Array.isArray(asked)
        ? { required: required(asked, below(place, name)) }
        : translator.schema(asked, below(place, name));
      if (allowsAll(then)) continue;
      const without: Schema = { properties: record([[name, false]]) };
      parts.push(then === false ? without : { anyOf: [without, { allOf: [{ required: [name] }, then] }] });
    }
  }
}
