/** JSON Schema's keywords about arrays, of draft 2020-12 and of older ones. */
import type { SchemaTranslator } from "./json-schema.ts";
import { allowsAll, below, standsAlone } from "./keywords.ts";
import { refuse } from "./refusal.ts";
import { countKeyword } from "./value-keywords.ts";

type Keywords = Record<string, unknown>;

export function arrayKeywords(given: Keywords, at: string, out: Keywords, translator: SchemaTranslator): void {
  for (const keyword of ["minItems", "maxItems"]) {
    const count = countKeyword(given, keyword, at);
    if (count !== undefined) out[keyword] = count;
  }
  // Before draft 2020-12, `items` could be what prefixItems is now, and additionalItems what `items` is.
  const isOld = Array.isArray(given.items);
  const prefix = isOld ? "items" : "prefixItems";
  if (given[prefix] !== undefined) {
    if (isOld && given.prefixItems !== undefined)
      refuse(`prefixItems (at ${at}/prefixItems) does not go with an array in items`);
    const schemas =
      (given[prefix] as unknown[]).length === 0 ? [] : translator.schemas(given[prefix], below(at, prefix));
    if (schemas.length > 0) out.prefixItems = schemas;
  }
  const rest = isOld ? "additionalItems" : "items";
  const items = given[rest] ?? unevaluatedItems(given, at);
  if (items !== undefined) out.items = translator.schema(items, below(at, rest));
}

/** The schema of items that nothing else speaks of. */
function unevaluatedItems(given: Keywords, at: string): unknown {
  const { unevaluatedItems } = given;
  if (unevaluatedItems === undefined || allowsAll(unevaluatedItems)) return undefined;
  if (standsAlone(given) && given.contains === undefined) return unevaluatedItems;
  return refuse(`unevaluatedItems (at ${at}/unevaluatedItems) is not supported beside $ref, allOf, anyOf or oneOf`);
}
