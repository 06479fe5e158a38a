import { expect, test } from "bun:test";
import fc from "fast-check";
import { FastgenError } from "../../src/errors.ts";
import { MAX_JSON_CONTAINERS, MAX_JSON_DEPTH, MAX_JSON_KEYS, MAX_JSON_VALUES } from "../../src/limits.ts";
import { JsonScan } from "./json-scan.ts";

/** What the scan says of `text` sent in pieces of `size` bytes: null, or why it is refused. */
function scan(text: string, size = Number.MAX_SAFE_INTEGER): string | null {
  const bytes = Buffer.from(text);
  const scan = new JsonScan();
  try {
    for (let at = 0; at < bytes.length; at += size) scan.push(bytes.subarray(at, at + size));
    return null;
  } catch (error) {
    expect(error).toBeInstanceOf(FastgenError);
    return (error as FastgenError).message;
  }
}

const filled = (open: string, entry: string, count: number, close: string) =>
  open + Array(count).fill(entry).join() + close;

test.each([
  [
    "depth",
    "[".repeat(MAX_JSON_DEPTH) + "]".repeat(MAX_JSON_DEPTH),
    "[".repeat(MAX_JSON_DEPTH + 1),
    "levels of nesting",
  ],
  ["depth of objects", '{"a":'.repeat(MAX_JSON_DEPTH), '{"a":'.repeat(MAX_JSON_DEPTH + 1), "levels of nesting"],
  [
    "containers",
    filled("[", "[]", MAX_JSON_CONTAINERS - 1, "]"),
    filled("[", "[]", MAX_JSON_CONTAINERS, "]"),
    "arrays and objects",
  ],
  ["values", filled("[", "1", MAX_JSON_VALUES, "]"), filled("[", "1", MAX_JSON_VALUES + 1, "]"), "values"],
  ["keys", filled("{", '"a":1', MAX_JSON_KEYS, "}"), filled("{", '"a":1', MAX_JSON_KEYS + 1, "}"), "keys of objects"],
])("%s: as many as may be pass, one more does not", (_, most, more, says) => {
  for (const size of [1, 7, 65_536, Number.MAX_SAFE_INTEGER]) {
    expect(scan(most, size)).toBeNull();
    expect(scan(more, size)).toContain(says);
  }
});

test("what stands in a string does not count, wherever the pieces end", () => {
  const deep = "[".repeat(2 * MAX_JSON_DEPTH);
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), fc.integer({ min: 1, max: 40 }), (text, size) => {
      const quoted = JSON.stringify([text, `\\"${deep}`, "\\", deep]);
      expect(scan(quoted, size)).toBeNull();
      expect(scan(`${quoted}${deep}`, size)).toContain("levels of nesting");
    }),
  );
});
