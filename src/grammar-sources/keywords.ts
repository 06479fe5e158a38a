/** What of JSON Schema is refused, and small questions about schemas. */
import { isObject } from "../bounded-json.ts";

/** A schema as llguidance gets it: draft 2020-12, and nothing in it that does not constrain. */
export type Schema = boolean | { [keyword: string]: unknown };

export const TYPES = ["null", "boolean", "integer", "number", "string", "array", "object"];

const isEmptyObject = (value: unknown) => isObject(value) && Object.keys(value).length === 0;
/** Whether a schema allows everything. */
export const allowsAll = (schema: unknown) => schema === true || isEmptyObject(schema);

/**
 * Keywords that no grammar holds an answer to, and when they ask for nothing all the same. Keywords that JSON Schema does not
 * have are notes, as it says itself.
 */
export const UNSUPPORTED: Record<string, (value: unknown, schema: Record<string, unknown>) => boolean> = {
  if: (_value, schema) => !("then" in schema || "else" in schema),
  uniqueItems: (value, { maxItems }) => value === false || maxItems === 0 || maxItems === 1,
  contains: (_value, { minContains, maxContains }) => minContains === 0 && maxContains === undefined,
  $dynamicRef: () => false,
  $recursiveRef: () => false,
  // Draft 3
  extends: isEmptyObject,
  disallow: () => false,
  divisibleBy: () => false,
};

/** Whether nothing but the schema's own `properties` and `items` says what an object or array may hold. */
export function standsAlone(schema: Record<string, unknown>): boolean {
  return !["$ref", "allOf", "anyOf", "oneOf", "if", "dependentSchemas", "dependencies"].some((key) => key in schema);
}

/** The JSON pointer of a schema's part. */
export function below(at: string, key: string | number): string {
  return `${at}/${String(key).replaceAll("~", "~0").replaceAll("/", "~1")}`;
}
