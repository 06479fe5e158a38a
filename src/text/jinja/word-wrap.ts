/** textwrap.wrap(), as the filter wordwrap calls it. */
import { allowText } from "./budget.ts";
import { length, strip, unitIndex } from "./code-points.ts";
import { fail } from "./errors.ts";
import { lines } from "./string-methods.ts";

/** Wraps each line of `text` to `width` characters; the parts are joined by `by`. */
export function wordWrap(text: string, width: number, breakLong: boolean, by: string, hyphens: boolean): string {
  if (width <= 0) fail("ValueError", `invalid width ${width} (must be > 0)`);
  allowText(text.length * 16);
  return lines(text, false)
    .map((line) => wrapLine(chunks(line, hyphens), width, breakLong).join(by))
    .join(by);
}

/** White space and words by turns; words are split after a hyphen between letters. */
function chunks(line: string, hyphens: boolean): string[] {
  const parts = line.split(/([\t\n\v\f\r ]+)/).filter((part) => part !== "");
  return hyphens ? parts.flatMap((part) => part.split(/(?<=[^\W\d_]-)(?=[^\W\d_])/u)) : parts;
}

function wrapLine(pieces: string[], width: number, breakLong: boolean): string[] {
  const out: string[] = [];
  const left = pieces.reverse();
  const blank = (piece: string | undefined) => piece !== undefined && strip(piece, null, { left: true, right: true }) === "";
  while (left.length > 0) {
    const row: string[] = [];
    let used = 0;
    if (out.length > 0 && blank(left.at(-1))) left.pop();
    while (left.length > 0 && used + length(left.at(-1)!) <= width) {
      used += length(left.at(-1)!);
      row.push(left.pop()!);
    }
    const next = left.at(-1);
    if (next !== undefined && length(next) > width) {
      if (breakLong) {
        const cut = unitIndex(next, Math.max(1, width - used));
        if (width - used > 0) {
          row.push(next.slice(0, cut));
          left[left.length - 1] = next.slice(cut);
        }
      } else if (row.length === 0) row.push(left.pop()!);
    }
    if (blank(row.at(-1))) row.pop();
    if (row.length > 0) out.push(row.join(""));
  }
  return out;
}
