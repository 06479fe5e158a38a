/** Of which types a tool's argument may be, where the text alone does not tell: `12` is a number, or a string of two digits. */
import { isObject } from "../bounded-json.ts";
import { SchemaPlaces } from "../grammar-sources/schema-places.ts";
import { MAX_SCHEMA_DEPTH } from "../limits.ts";

export type JsonType = "string" | "number" | "boolean" | "null" | "object" | "array";

const ALL: ReadonlySet<JsonType> = new Set<JsonType>(["string", "number", "boolean", "null", "object", "array"]);

/** @param value as JSON.parse gives it. */
export function jsonTypeOf(value: unknown): JsonType {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  const type = typeof value;
  return type === "string" || type === "number" || type === "boolean" ? type : "object";
}

/** The types that the property `name` of a tool's schema may have: all of them, where the schema does not say. */
export function argumentTypes(schema: unknown, name: string): ReadonlySet<JsonType> {
  const properties = isObject(schema) && isObject(schema.properties) ? schema.properties : {};
  return new Types(schema).of(properties[name], 0);
}

class Types {
  readonly #places: SchemaPlaces;
  /** By reference. One that leads back to itself says nothing. */
  readonly #referred = new Map<string, ReadonlySet<JsonType>>();

  constructor(root: unknown) {
    this.#places = new SchemaPlaces(root);
  }

  of(schema: unknown, depth: number): ReadonlySet<JsonType> {
    if (!isObject(schema) || depth > MAX_SCHEMA_DEPTH) return ALL;
    const { type, enum: values, const: value, $ref } = schema;
    const said: ReadonlySet<unknown>[] = [];
    if (type !== undefined) said.push(new Set([type].flat().map((one) => (one === "integer" ? "number" : one))));
    if (Array.isArray(values)) said.push(new Set(values.map(jsonTypeOf)));
    if (value !== undefined) said.push(new Set([jsonTypeOf(value)]));
    if (typeof $ref === "string") said.push(this.#reference($ref, depth));
    for (const any of [schema.anyOf, schema.oneOf]) {
      if (Array.isArray(any)) said.push(new Set(any.flatMap((one) => [...this.of(one, depth + 1)])));
    }
    if (Array.isArray(schema.allOf)) said.push(...schema.allOf.map((one) => this.of(one, depth + 1)));
    return said.reduce((types: ReadonlySet<JsonType>, one) => types.intersection(one as Set<JsonType>), ALL);
  }

  #reference(reference: string, depth: number): ReadonlySet<JsonType> {
    const known = this.#referred.get(reference);
    if (known) return known;
    this.#referred.set(reference, ALL);
    const types = this.of(this.#target(reference), depth + 1);
    this.#referred.set(reference, types);
    return types;
  }

  /** Undefined where the reference leads nowhere. */
  #target(reference: string): unknown {
    try {
      return this.#places.find(reference, "").schema;
    } catch {
      return undefined;
    }
  }
}
