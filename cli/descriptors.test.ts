import { expect, test } from "bun:test";
import { MAX_CONNECTIONS, RESERVED_DESCRIPTORS, SPARE_CONNECTIONS } from "../src/limits.ts";
import { maxConnections } from "./descriptors.ts";

const taken = RESERVED_DESCRIPTORS + SPARE_CONNECTIONS;

test("connections leave descriptors for everything else", () => {
  expect(maxConnections(undefined, 1024)).toBe(1024 - taken);
  expect(maxConnections(undefined, 1_000_000)).toBe(MAX_CONNECTIONS);
  expect(maxConnections(undefined, Number.POSITIVE_INFINITY)).toBe(MAX_CONNECTIONS);
  expect(maxConnections(5, 1024)).toBe(5);
  expect(maxConnections(100_000, 100_000 + taken)).toBe(100_000);
  expect(maxConnections(undefined)).toBeGreaterThan(0);
});

test("a number that does not fit is refused, with what would", () => {
  expect(() => maxConnections(1000, 1024)).toThrow(
    `--max-connections 1000 needs more than the 1024 files that the process may open: raise the limit with ulimit -n ${1000 + taken}, or ask for at most ${1024 - taken} connections`,
  );
  expect(() => maxConnections(undefined, taken)).toThrow("fgserve needs more than the");
  expect(() => maxConnections(1, taken)).toThrow(/ulimit -n \d+$/);
});
