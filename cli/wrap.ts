/** Text for a terminal's width. */

/** `text` in lines of at most `width` columns, broken at spaces. A longer word stands alone. Line breaks stay. */
export function wrap(text: string, width: number): string {
  return text
    .split("\n")
    .map((paragraph) => {
      const [first, ...words] = paragraph.split(" ");
      const lines = [first!];
      for (const word of words) {
        const longer = `${lines.at(-1)} ${word}`;
        if (Bun.stringWidth(longer) > width) lines.push(word);
        else lines[lines.length - 1] = longer;
      }
      return lines.join("\n");
    })
    .join("\n");
}

/** Columns of the terminal that `stream` is; 100 elsewhere. */
export function columnsOf(stream: { columns?: number }): number {
  return Math.max(stream.columns ?? 100, 20);
}
