/** Integers of a JSON text that a double would round. */

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** Characters of a key whose letters are all escaped, for names of up to 20 letters. */
const MAX_KEY_LENGTH = 130;

/** Digits of a 64-bit integer, with its sign. */
const MAX_INT64_LENGTH = 20;

/** The end of the string that begins at `at`: one past its closing quote. */
function endOfString(text: string, at: number): number {
  let end = at + 1;
  for (let code = text.charCodeAt(end); code !== QUOTE; code = text.charCodeAt(++end)) if (code === BACKSLASH) end++;
  return end + 1;
}

/**
 * The integer that the field `name` of the object `text` is written as; undefined where it is no integer of up to 64 bits. The
 * last one counts where the field is repeated, as it does in JSON.parse, which must have accepted the text.
 */
export function exactInteger(text: string, name: string): bigint | undefined {
  let found: string | undefined;
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === QUOTE) {
      const end = endOfString(text, i);
      if (depth === 1 && end - i < MAX_KEY_LENGTH && JSON.parse(text.slice(i, end)) === name) {
        const number = /\s*:\s*(-?\d+)?(?![\d.eE])/y;
        number.lastIndex = end;
        const match = number.exec(text);
        if (match) found = match[1];
      }
      i = end - 1;
    } else if (code === 0x7b || code === 0x5b) depth++;
    else if (code === 0x7d || code === 0x5d) depth--;
  }
  return found !== undefined && found.length <= MAX_INT64_LENGTH ? BigInt(found) : undefined;
}
