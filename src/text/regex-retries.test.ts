import { describe, expect, test } from "bun:test";
import { judgeRegex, MAX_RETRIES } from "./regex-retries.ts";

const LENGTH = 1_000_000;
const retries = (pattern: string) => judgeRegex(pattern, LENGTH).retries;

describe("patterns of models", () => {
  const contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
  const spaces = String.raw`\s*[\r\n]+|\s+(?!\S)|\s+`;
  test.each([
    String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`,
    String.raw`${contractions}|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|${spaces}`,
    String.raw`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{M}]*[\p{Ll}\p{M}]+${contractions}?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{M}]+[\p{Ll}\p{M}]*${contractions}?|${spaces}`,
    String.raw`[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{M}&&[^\p{Han}]]+${contractions}?|${spaces}`,
    String.raw`[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_${"`"}{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|${spaces}`,
    String.raw`\p{N}{1,3}(?=(?:\p{N}{3})*(?:\P{N}|$))`,
    String.raw`\d{1,3}(?=(?:\d{3})*\b)`,
    " ?[^(\\s|[.,!?…。，、।۔،])]+",
    " {2,}",
    "[0-9][0-9][0-9]",
  ])("%s", (pattern) => expect(retries(pattern)).toBeLessThan(MAX_RETRIES));
});

describe("patterns that may go on without end", () => {
  test.each([
    "(a+)+$",
    "(?:a|a)*[bc]",
    "(?:a|aa)+b",
    "(?:a?){1000}a{1000}",
    "^(?=(a+)+$)",
    "a*a*(?=[bc])",
    "a*(?=b*c)(?:d|e)*[fg]",
    "[ab]{1,5000}[ac]{1,5000}(?:d|e|fg)",
    `${"a?".repeat(40)}b`,
    "x|(?i)a*|b*c*d",
    "(?<n>a*)a*b",
    "(?:a*)?[b\\]c]*d",
    "(?:[[a]b]+,?)+;",
  ])("%s", (pattern) => expect(retries(pattern)).toBeGreaterThan(MAX_RETRIES));
});

test("what does not go back does not count", () => {
  for (const pattern of ["(?>a*)(?>a*)b", "a*+a*+b", "a*a{0,5}"]) expect(retries(pattern)).toBeLessThan(10);
});

test("the shortest match", () => {
  const width = (pattern: string) => judgeRegex(pattern, LENGTH).width;
  expect(
    ["", "a*", "$", "(?=a)", "a|", "a+", " {2,}", "a{3}{2}", "a{,2}", "a{b}", "a|bc", "\\p{L}\\x{41}"].map(width),
  ).toEqual([0, 0, 0, 0, 0, 1, 2, 6, 0, 4, 1, 2]);
});

test("what cannot be judged is refused", () => {
  const patterns = [
    "(a*)*\\1",
    "(?<n>a)\\k<n>",
    "(?<n>a\\g<n>?)",
    "(?~ab)",
    "(?x)(a #\n)+",
    "(?#a)b",
    "[]a]",
    "[a[^]b]]",
    "[\\c]a]",
    "(a",
    "a)",
    "[a",
    "a\\",
    "(".repeat(5000),
    "a".repeat(100_000),
  ];
  for (const pattern of patterns) {
    expect(() => judgeRegex(pattern, LENGTH), pattern.slice(0, 20)).toThrow();
  }
});
