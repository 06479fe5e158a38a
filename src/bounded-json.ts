/**
 * zod types for arrays and objects of any size: the size is checked before any entry, and the first fault ends the check.
 * zod's own types check every entry and gather every fault, which takes minutes where there are millions.
 */
import { z } from "zod";
import { parseWith } from "./schema-error.ts";

/** An array of `least` to `most` entries. */
export function boundedArray<S extends z.ZodType>(entry: S, most: number, least = 0) {
  return z
    .custom<z.input<S>[]>((value) => Array.isArray(value), { error: needs("an array") })
    .transform((values, context): z.output<S>[] => {
      if (values.length < least || values.length > most) {
        const range = least > 0 ? `${least} to ${most}` : `at most ${most}`;
        return refuse(context, values, `has ${values.length} entries; ${range} are allowed`);
      }
      const out: z.output<S>[] = [];
      for (const [i, value] of values.entries()) {
        const result = parseWith(entry, value);
        if (!result.success) return passOn(context, values, result.error, i);
        out.push(result.data);
      }
      return out;
    });
}

/** An object of at most `most` keys. `key` and `entry` check; what they transform is ignored. */
export function boundedRecord<V>(key: z.ZodType<string>, entry: z.ZodType<unknown, V>, most: number) {
  return z
    .custom<Record<string, V>>(isObject, { error: needs("an object") })
    .transform((object, context): Record<string, V> => {
      const names = Object.keys(object);
      if (names.length > most) {
        return refuse(context, object, `has ${names.length} entries; at most ${most} are allowed`);
      }
      for (const name of names) {
        for (const result of [parseWith(key, name), parseWith(entry, object[name])]) {
          if (!result.success) return passOn(context, object, result.error, name);
        }
      }
      return object;
    });
}

/** Whether `value` holds at most `most` values, nested ones counted. Its depth must be bounded. */
export function holdsAtMost(value: unknown, most: number): boolean {
  let left = most;
  const visit = (at: unknown): boolean => {
    if (--left < 0) return false;
    if (Array.isArray(at)) return at.length <= left && at.every(visit);
    return !isObject(at) || Object.values(at).every(visit);
  };
  return visit(value);
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** "must be an array", or "is required" where there is nothing. */
function needs(what: string) {
  return ({ input }: { input?: unknown }) => (input === undefined ? "is required" : `must be ${what}`);
}

function refuse(context: z.core.$RefinementCtx, input: unknown, message: string): never {
  context.issues.push({ code: "custom", message, path: [], input });
  return z.NEVER;
}

/** From within a transform: passes on the first issue of another check, of the value at `path` below this one. */
export function passOn(
  context: z.core.$RefinementCtx,
  input: unknown,
  error: z.ZodError,
  ...path: PropertyKey[]
): never {
  const [issue] = error.issues;
  if (issue) context.issues.push({ ...issue, path: [...path, ...issue.path], input } as z.core.$ZodRawIssue);
  return z.NEVER;
}
