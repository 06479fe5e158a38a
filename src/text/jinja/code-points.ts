/** Strings as Python counts them: by code points. JavaScript's count UTF-16 code units. */
import { chargeCopy, chargeItems, chargeText } from "./budget.ts";

/** str.isspace(), as the inside of a regular expression's class. JavaScript's \s has U+FEFF, and lacks U+001C and others. */
export const SPACE = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";

const SPACES = new RegExp(`[${SPACE}]`);
const ALL_SPACES = new RegExp(`[${SPACE}]+`, "g");
const SURROGATE = /[\ud800-\udfff]/;

/** Has `text` a character outside the BMP? Where it has none, code units are code points. */
export function isWide(text: string): boolean {
  chargeText(text.length);
  return SURROGATE.test(text);
}

/** The characters of `text`. A surrogate without its other half is one too. */
export function characters(text: string): string[] {
  chargeItems(text.length);
  return isWide(text) ? Array.from(text) : text.split("");
}

/** len(text) */
export function length(text: string): number {
  if (!isWide(text)) return text.length;
  let pairs = 0;
  for (let unit = 0; unit < text.length; unit += isPair(text, unit) ? 2 : 1) if (isPair(text, unit)) pairs++;
  return text.length - pairs;
}

function isPair(text: string, at: number): boolean {
  return (text.charCodeAt(at) & 0xfc00) === 0xd800 && (text.charCodeAt(at + 1) & 0xfc00) === 0xdc00;
}

/** The code unit at which character `index` begins; text.length where there are fewer characters. */
export function unitIndex(text: string, index: number): number {
  if (!isWide(text)) return Math.min(index, text.length);
  let unit = 0;
  for (let i = 0; i < index && unit < text.length; i++) unit += isPair(text, unit) ? 2 : 1;
  return unit;
}

/** How many characters begin before code unit `unit`. */
export function characterIndex(text: string, unit: number): number {
  return length(text.slice(0, unit));
}

export function isSpace(character: string): boolean {
  const code = character.charCodeAt(0);
  if (code < 128) return code === 32 || (code >= 9 && code <= 13) || (code >= 28 && code <= 31);
  return SPACES.test(character);
}

/** str.split() without a separator. */
export function words(text: string): string[] {
  chargeText(text.length);
  return text.split(ALL_SPACES).filter((word) => word !== "");
}

/** str.strip(chars), on the sides asked for. Without `chars`, white space. */
export function strip(text: string, chars: string | null, sides: { left: boolean; right: boolean }): string {
  chargeCopy(text.length);
  const set = chars === null ? null : new Set(chars);
  const drop = (character: string) => (set === null ? isSpace(character) : set.has(character));
  let start = 0;
  let end = text.length;
  while (sides.left && start < end) {
    const size = isPair(text, start) ? 2 : 1;
    if (!drop(text.slice(start, start + size))) break;
    start += size;
  }
  while (sides.right && end > start) {
    const size = end - 2 >= start && isPair(text, end - 2) ? 2 : 1;
    if (!drop(text.slice(end - size, end))) break;
    end -= size;
  }
  chargeText(text.length - (end - start));
  return text.slice(start, end);
}

/** Orders two strings by code points. JavaScript's < puts U+10000 before U+FFFF. */
export function compareText(a: string, b: string): number {
  chargeText(Math.min(a.length, b.length));
  if (a === b) return 0;
  if (!SURROGATE.test(a) && !SURROGATE.test(b)) return a < b ? -1 : 1;
  let at = 0;
  while (at < a.length && at < b.length && a.charCodeAt(at) === b.charCodeAt(at)) at++;
  if (at === a.length || at === b.length) return a.length - b.length;
  // Surrogates stand for the highest code points.
  const rank = (unit: number) => ((unit & 0xf800) === 0xd800 ? unit + 0x10000 : unit);
  return rank(a.charCodeAt(at)) - rank(b.charCodeAt(at));
}

/** Letters whose title case is neither their upper case nor themselves: the digraphs, such as U+01C6, and Greek's. */
const TITLES = new Map<string, string>();
for (let code = 0x1c4; code < 0x2000; code++) {
  const letter = String.fromCharCode(code);
  if (/\p{Lt}/u.test(letter)) {
    TITLES.set(letter.toLowerCase(), letter);
    TITLES.set(letter, letter);
  }
}
for (const [upper, title] of [
  ["\u01c4", "\u01c5"],
  ["\u01c7", "\u01c8"],
  ["\u01ca", "\u01cb"],
  ["\u01f1", "\u01f2"],
] as const)
  TITLES.set(upper, title);

/** One character in title case. */
function titleCase(character: string): string {
  if (/[\u10d0-\u10ff]/.test(character)) return character;
  const known = TITLES.get(character);
  if (known !== undefined) return known;
  const [first = "", ...rest] = character.toUpperCase();
  return first + rest.join("").toLowerCase();
}

/** str.capitalize() */
export function capitalize(text: string): string {
  chargeText(text.length);
  const [first = ""] = text;
  // Lowered as a whole: a sigma at a word's end differs from one within it.
  const lowered = text.toLowerCase();
  return titleCase(first) + lowered.slice(first.toLowerCase().length);
}

/** str.title(): letters after anything but a letter in title case, the others in lower case. */
export function title(text: string): string {
  chargeItems(text.length);
  const lowered = text.toLowerCase();
  const sameShape = lowered.length === text.length;
  let out = "";
  let inWord = false;
  let unit = 0;
  for (const character of text) {
    if (!isCased(character)) out += character;
    else if (!inWord) out += titleCase(character);
    else out += sameShape ? lowered.slice(unit, unit + character.length) : character.toLowerCase();
    inWord = isCased(character);
    unit += character.length;
  }
  return out;
}

export function isCased(character: string): boolean {
  return /[\p{Lu}\p{Ll}\p{Lt}\p{Uppercase}\p{Lowercase}]/u.test(character);
}

/** str.swapcase() */
export function swapCase(text: string): string {
  chargeItems(text.length);
  let out = "";
  for (const character of text) {
    const lower = character.toLowerCase();
    out += /[\p{Lu}\p{Lt}]/u.test(character) ? lower : /\p{Ll}/u.test(character) ? character.toUpperCase() : character;
  }
  return out;
}
