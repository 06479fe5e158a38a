/** llguidance's messages, made readable. */

/** Without what llguidance adds for its own developers: a mark, the parser's state, the stack of a panic. */
export function readableError(message: string): string {
  return message.replace(/\n<(state|backtrace|grammar|non-verbose)\b[\s\S]*/, "").trim();
}
