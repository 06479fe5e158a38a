import { expect, test } from "bun:test";
import { formatSize } from "./units.ts";

test.each([
  [0, "0 B"],
  [1, "1 B"],
  [1023, "1023 B"],
  [1024, "1 KiB"],
  [180 * 2 ** 20, "180 MiB"],
  [1.5 * 2 ** 30, "1.5 GiB"],
  [2 ** 52, "4096 TiB"],
])("%d is %s", (bytes, text) => {
  expect(formatSize(bytes)).toBe(text);
});

test("what is needed reads as more than what there is, however little is missing", () => {
  for (const have of [1, 1000, 64 * 1024, 2 ** 30 - 1, 2 ** 30, 12_345_678_901]) {
    expect(formatSize(have + 1, Math.ceil)).not.toBe(formatSize(have, Math.floor));
  }
});
