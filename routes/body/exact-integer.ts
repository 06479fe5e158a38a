/** Integers of a JSON text that a double would round. */
import { fieldText } from "./json-field.ts";

/**
 * The integer that the field `name` of the object `text` is written as, or of the object in its field `inside`; undefined where
 * it is no integer of up to 64 bits. JSON.parse must have accepted the text.
 */
export function exactInteger(text: string, name: string, inside?: string): bigint | undefined {
  const object = inside === undefined ? text : fieldText(text, inside);
  const written = object === undefined ? undefined : fieldText(object, name);
  return written !== undefined && /^-?\d{1,19}$|^\d{20}$/.test(written) ? BigInt(written) : undefined;
}
