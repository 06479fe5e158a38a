/** llguidance's messages, made readable. */

/** Without what llguidance adds for its own developers: a mark, the parser's state, the stack of a panic. */
export function readableError(message: string | null): string | null {
  if (message === null) return null;
  return message.replace(/\n<(state|backtrace|grammar|non-verbose)\b[\s\S]*/, "").trim();
}
