/** llguidance's messages, made readable. */

/** Its words where nothing may follow. */
const NOTHING_FITS = /^NoExtensionBias\b/;

/** Without what llguidance adds for its own developers: a mark, the parser's state, the stack of a panic. */
export function readableError(message: string): string {
  const reason = message.replace(/\n<(state|backtrace|grammar|non-verbose)\b[\s\S]*/, "").trim();
  return reason.replace(NOTHING_FITS, "no text fits it").replace(/^panic: it takes/, "it takes");
}
