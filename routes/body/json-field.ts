/** The text of one field of a JSON object: what JSON.parse would round or rewrite stays as it was sent. */
import { BACKSLASH, CLOSE_ARRAY, CLOSE_OBJECT, COMMA, OPEN_ARRAY, OPEN_OBJECT, QUOTE } from "./json-signs.ts";

/** Characters of a key whose letters are all escaped, for names of up to 20 letters. */
const MAX_KEY_LENGTH = 130;

/** The end of the string that begins at `at`: one past its closing quote. */
function endOfString(text: string, at: number): number {
  let end = at + 1;
  for (let code = text.charCodeAt(end); code !== QUOTE; code = text.charCodeAt(++end)) if (code === BACKSLASH) end++;
  return end + 1;
}

/**
 * The JSON of the field `name` of the object `text`; undefined where there is no such field. The last one counts where the field
 * is repeated, as it does in JSON.parse, which must have accepted the text.
 */
export function fieldText(text: string, name: string): string | undefined {
  const colon = /\s*:\s*/y;
  let found: string | undefined;
  let depth = 0;
  /** Where the field's value begins, while it is read; else -1. */
  let start = -1;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === QUOTE) {
      const end = endOfString(text, i);
      if (depth === 1 && start < 0 && end - i < MAX_KEY_LENGTH && JSON.parse(text.slice(i, end)) === name) {
        colon.lastIndex = end;
        // Without a colon it is a value, not a key.
        if (colon.test(text)) start = colon.lastIndex;
      }
      i = Math.max(end, start) - 1;
      continue;
    }
    const closes = code === CLOSE_OBJECT || code === CLOSE_ARRAY;
    if (depth === 1 && start >= 0 && (closes || code === COMMA)) {
      found = text.slice(start, i).trimEnd();
      start = -1;
    }
    if (closes) depth--;
    else if (code === OPEN_OBJECT || code === OPEN_ARRAY) depth++;
  }
  return found;
}
