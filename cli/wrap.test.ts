import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { builtInNotice } from "./built-in.ts";
import { columnsOf, wrap } from "./wrap.ts";

test("words stay whole, and lines keep within the width", () => {
  expect(wrap("one two three four", 9)).toBe("one two\nthree\nfour");
  expect(wrap("a\n\nb c", 1)).toBe("a\n\nb\nc");
  expect(wrap("incomprehensibilities are long", 10)).toBe("incomprehensibilities\nare long");
});

test("wide characters count twice", () => {
  expect(wrap("日本 語", 5)).toBe("日本\n語");
});

test("any text keeps its words in order", () => {
  fc.assert(
    fc.property(fc.array(fc.string()), fc.integer({ min: 1, max: 200 }), (words, width) => {
      const text = words.join(" ");
      expect(wrap(text, width).replaceAll("\n", " ")).toBe(text.replaceAll("\n", " "));
    }),
  );
});

test("the notice of the built-in model fits narrow and wide terminals", () => {
  for (const columns of [40, 80, 200]) {
    for (const line of builtInNotice("fgserve", columns).split("\n")) expect(line.length).toBeLessThanOrEqual(columns);
  }
  expect(columnsOf({})).toBe(100);
  expect(columnsOf({ columns: 3 })).toBe(20);
});
