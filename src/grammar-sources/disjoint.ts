/** Whether two translated schemas have no value in common, as far as that can be told. */
import { isObject } from "../bounded-json.ts";
import { type Schema, TYPES } from "./keywords.ts";

/** Schemas that are looked into within each other. */
const MAX_DEPTH = 8;

type Resolve = (reference: string) => Schema | null;

/** True = no value matches both. False = one may. `resolve` gives what a reference leads to; null = it is not known yet. */
export function areDisjoint(one: Schema, other: Schema, resolve: Resolve, depth = 0): boolean {
  if (one === false || other === false) return true;
  if (one === true || other === true || depth > MAX_DEPTH) return false;
  const left = pieces(one, resolve, depth);
  const right = pieces(other, resolve, depth);
  return left.some((a) => right.some((b) => piecesDisjoint(a, b, resolve, depth + 1)));
}

/** Schemas that all hold where `schema` does. */
function pieces(schema: Schema, resolve: Resolve, depth: number): Record<string, unknown>[] {
  if (!isObject(schema) || depth > MAX_DEPTH) return [];
  const { $ref, allOf } = schema;
  const target = typeof $ref === "string" ? resolve($ref) : null;
  const deeper = [...(target === null ? [] : [target]), ...(Array.isArray(allOf) ? allOf : [])];
  return [schema, ...deeper.flatMap((one: Schema) => pieces(one, resolve, depth + 1))];
}

function piecesDisjoint(
  a: Record<string, unknown>,
  b: Record<string, unknown>,
  resolve: Resolve,
  depth: number,
): boolean {
  if (Array.isArray(a.anyOf) && a.anyOf.every((one) => areDisjoint(one, b, resolve, depth))) return true;
  if (Array.isArray(b.anyOf) && b.anyOf.every((one) => areDisjoint(a, one, resolve, depth))) return true;
  const ours = values(a);
  const theirs = values(b);
  if (ours && theirs) return !ours.some((value) => theirs.some((other) => Bun.deepEquals(value, other)));
  const common = types(a).filter((type) => types(b).includes(type));
  if (common.length === 0) return true;
  return common.length === 1 && common[0] === "object" && objectsDisjoint(a, b, resolve, depth);
}

/** Objects that both match would hold a property that cannot be both. */
function objectsDisjoint(
  a: Record<string, unknown>,
  b: Record<string, unknown>,
  resolve: Resolve,
  depth: number,
): boolean {
  const required = [a.required, b.required].flatMap((names) => (Array.isArray(names) ? (names as string[]) : []));
  return required.some((name) => areDisjoint(property(a, name), property(b, name), resolve, depth));
}

function property(schema: Record<string, unknown>, name: string): Schema {
  const { properties, patternProperties, additionalProperties } = schema;
  if (isObject(properties) && Object.hasOwn(properties, name)) return properties[name] as Schema;
  if (patternProperties !== undefined || additionalProperties === undefined) return true;
  return additionalProperties as Schema;
}

/** The only values that a schema allows; null = it does not list them. */
function values({ const: only, enum: list }: Record<string, unknown>): unknown[] | null {
  return Array.isArray(list) ? list : only === undefined ? null : [only];
}

/** The types that a schema allows, "integer" being part of "number". */
function types(schema: Record<string, unknown>): string[] {
  const listed = values(schema);
  if (listed) return [...new Set(listed.map(typeOf))];
  if (schema.type === undefined) return TYPES.filter((type) => type !== "integer");
  return [schema.type].flat().map((type) => (type === "integer" ? "number" : (type as string)));
}

function typeOf(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}
