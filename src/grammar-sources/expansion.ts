/**
 * How large a schema is once what its allOf refer to stands in their place. llguidance merges the parts of an allOf, also below
 * their properties, and follows their $refs each time: definitions that refer twice to the next one double with every step.
 */
import { isObject } from "../bounded-json.ts";
import { MAX_SCHEMA_EXPANSION } from "../limits.ts";
import type { Schema } from "./keywords.ts";
import { refuse } from "./refusal.ts";

/** Refuses what would grow beyond the bound. `definitions`: by their names, which "#/$defs/name" refers to. */
export function checkExpansion(root: Schema, definitions: ReadonlyMap<string, Schema>): void {
  const sizes = new Map<string, number>();

  const sizeOf = (value: unknown): number => {
    if (typeof value !== "object" || value === null) return 1;
    let size = 1;
    if (isObject(value) && typeof value.$ref === "string") size += sizeOfDefinition(value.$ref);
    for (const inner of Object.values(value)) size += sizeOf(inner);
    return size;
  };

  const sizeOfDefinition = (reference: string): number => {
    const known = sizes.get(reference);
    if (known !== undefined) return known;
    // What refers back to itself is not followed again.
    sizes.set(reference, 1);
    const size = sizeOf(definitions.get(reference.slice("#/$defs/".length)));
    sizes.set(reference, size);
    return size;
  };

  const check = (value: unknown): void => {
    if (typeof value !== "object" || value === null) return;
    if (isObject(value) && Array.isArray(value.allOf) && sizeOf(value.allOf) > MAX_SCHEMA_EXPANSION) {
      refuse(
        `has an allOf whose parts, with all that they refer to, are over ${MAX_SCHEMA_EXPANSION} keywords and values`,
      );
    }
    for (const inner of Object.values(value)) check(inner);
  };

  check(root);
  for (const definition of definitions.values()) check(definition);
}
