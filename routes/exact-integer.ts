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

/** Where the value of the field `name` of the object that `text` begins with stands; -1 where there is none. */
function valueStart(text: string, name: string): number {
  let found = -1;
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === QUOTE) {
      const end = endOfString(text, i);
      if (depth === 1 && end - i < MAX_KEY_LENGTH && JSON.parse(text.slice(i, end)) === name) {
        const colon = /\s*:\s*/y;
        colon.lastIndex = end;
        if (colon.test(text)) found = colon.lastIndex;
      }
      i = end - 1;
    } else if (code === 0x7b || code === 0x5b) depth++;
    else if ((code === 0x7d || code === 0x5d) && --depth === 0) break;
  }
  return found;
}

/**
 * The integer that the field `name` of the object `text` is written as, or of the object in its field `inside`; undefined where
 * it is no integer of up to 64 bits. The last one counts where the field is repeated, as it does in JSON.parse, which must have
 * accepted the text.
 */
export function exactInteger(text: string, name: string, inside?: string): bigint | undefined {
  const object = inside === undefined ? text : text.slice(valueStart(text, inside));
  const number = /-?\d+(?![\d.eE])/y;
  number.lastIndex = valueStart(object, name);
  const digits = number.lastIndex < 0 ? undefined : number.exec(object)?.[0];
  return digits !== undefined && digits.length <= MAX_INT64_LENGTH ? BigInt(digits) : undefined;
}
