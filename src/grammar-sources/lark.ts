/** Texts and regular expressions as Lark has them, in llguidance's dialect. */
import { refuse } from "./refusal.ts";

/** Controls, and DEL: Lark has them only as escapes. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROLS = /[\x00-\x1f\x7f]/g;

/** `text` as a literal of Lark. */
export function larkString(text: string): string {
  if (!text.isWellFormed()) refuse("has half a surrogate pair, which is no text");
  return JSON.stringify(text).replace(
    CONTROLS,
    (control) => `\\x${control.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
}

/** A regular expression of llguidance's dialect, which must match whole, as a literal of Lark. */
export function larkRegex(regex: string): string {
  if (regex === "") return '""';
  return `/${regex.replaceAll("/", "\\/").replaceAll("\n", "\\n").replaceAll("\r", "\\r")}/`;
}
