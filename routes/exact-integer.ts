/** Integers of a JSON text that a double would round. */
import { fieldText } from "./json-field.ts";

/**
 * The integer that the field `name` of the object `text` is written as; undefined where it is no integer of up to 64 bits.
 * JSON.parse must have accepted the text.
 */
export function exactInteger(text: string, name: string): bigint | undefined {
  const written = fieldText(text, name);
  return written !== undefined && /^-?\d{1,19}$|^\d{20}$/.test(written) ? BigInt(written) : undefined;
}
