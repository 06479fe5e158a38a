import { expect, test } from "bun:test";
import { MAX_CONNECTIONS, RESERVED_DESCRIPTORS, SPARE_CONNECTIONS } from "../src/limits.ts";
import { descriptorLimit, maxConnections } from "./descriptors.ts";

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

test("the limit is the soft one of open files, and may be none", () => {
  const limits = (soft: string) =>
    `Max processes             7                    7                    processes\nMax open files            ${soft.padEnd(20)} 4096                 files\n`;
  expect(descriptorLimit(limits("1024"))).toBe(1024);
  expect(descriptorLimit(limits("unlimited"))).toBe(Number.POSITIVE_INFINITY);
});
