/** Which schemas have a value that ends, where they refer to each other. */
import { isObject } from "../bounded-json.ts";
import type { Schema } from "./keywords.ts";

/**
 * The names of the definitions that no value fits which ends: each one would hold another. `definitions` are translated
 * schemas, which refer to each other as "#/$defs/name".
 */
export function endlessDefinitions(definitions: ReadonlyMap<string, Schema>): Set<string> {
  const endless = new Set(definitions.keys());
  let found = true;
  while (found) {
    found = false;
    for (const name of endless) {
      if (!ends(definitions.get(name)!, endless)) continue;
      endless.delete(name);
      found = true;
    }
  }
  return endless;
}

/** Whether a value that ends may fit `schema`, given the definitions for which none is known. */
export function ends(schema: Schema, endless: ReadonlySet<string>): boolean {
  if (!isObject(schema)) return schema;
  const { $ref, allOf, anyOf } = schema;
  if (typeof $ref === "string" && endless.has($ref.slice("#/$defs/".length))) return false;
  if (Array.isArray(allOf) && !allOf.every((one) => ends(one, endless))) return false;
  if (Array.isArray(anyOf) && !anyOf.some((one) => ends(one, endless))) return false;
  if (schema.type === "object") return objectEnds(schema, endless);
  return schema.type === "array" ? arrayEnds(schema, endless) : true;
}

function objectEnds({ properties, required }: Record<string, unknown>, endless: ReadonlySet<string>): boolean {
  if (!isObject(properties) || !Array.isArray(required)) return true;
  return required.every((name) => !Object.hasOwn(properties, name) || ends(properties[name] as Schema, endless));
}

function arrayEnds(schema: Record<string, unknown>, endless: ReadonlySet<string>): boolean {
  const {
    minItems = 0,
    prefixItems,
    items = true,
  } = schema as { minItems?: number; prefixItems?: Schema[]; items?: Schema };
  const prefix = prefixItems ?? [];
  if (!prefix.slice(0, minItems).every((item) => ends(item, endless))) return false;
  return minItems <= prefix.length || ends(items, endless);
}
