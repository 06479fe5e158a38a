/** textwrap.wrap(), as the filter wordwrap calls it. */
import { chargeItems } from "./budget.ts";
import { length, strip, unitIndex } from "./code-points.ts";
import { fail } from "./errors.ts";
import { lines } from "./string-methods.ts";

/** Wraps each line of `text` to `width` characters; the parts are joined by `by`. */
export function wordWrap(text: string, width: number, breakLong: boolean, by: string, hyphens: boolean): string {
  if (width <= 0) fail("ValueError", `invalid width ${width} (must be > 0)`);
  chargeItems(2 * text.length);
  return lines(text, false)
    .map((line) => wrapLine(chunks(line, hyphens), width, breakLong, hyphens).join(by))
    .join(by);
}

/** White space and words by turns; words are split after a hyphen between letters. */
function chunks(line: string, hyphens: boolean): string[] {
  const parts = line.split(/([\t\n\v\f\r ]+)/).filter((part) => part !== "");
  return hyphens ? parts.flatMap((part) => part.split(/(?<=[^\W\d_]-)(?=[^\W\d_])/u)) : parts;
}

/** Where to break a word that has `room` characters: after its last hyphen there, if anything else comes before. */
function breakAt(word: string, room: number, hyphens: boolean): number {
  const cut = unitIndex(word, room);
  const hyphen = hyphens ? word.slice(0, cut).lastIndexOf("-") : -1;
  return hyphen > 0 && /[^-]/.test(word.slice(0, hyphen)) ? hyphen + 1 : cut;
}

function wrapLine(pieces: string[], width: number, breakLong: boolean, hyphens: boolean): string[] {
  const out: string[] = [];
  const left = pieces.reverse();
  const blank = (piece: string | undefined) =>
    piece !== undefined && strip(piece, null, { left: true, right: true }) === "";
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
        const cut = breakAt(next, width - used, hyphens);
        row.push(next.slice(0, cut));
        left[left.length - 1] = next.slice(cut);
      } else if (row.length === 0) row.push(left.pop()!);
    }
    if (blank(row.at(-1))) row.pop();
    if (row.length > 0) out.push(row.join(""));
  }
  return out;
}
