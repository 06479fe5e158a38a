/** Regular expressions mean what ECMAScript says, whatever llguidance's own dialect reads in them. */
import { expect, test } from "bun:test";
import { allowed, refusal } from "../structured-testing.ts";

const TEXTS = [
  ..."abcxyzABZ019_-&[]^$.|{}\\/ \"'é€😀",
  "",
  "\n",
  "\r",
  "\t",
  "\u2028",
  "\u0085",
  "\u00a0",
  "\ufeff",
  "ab",
  "aab",
  "abab",
  "a.b",
  "a\nb",
  "a\rb",
  "xaby",
  "foo-bar",
  "2024-01-31",
  "user@example.com",
  "0x1F",
  "aaaaaaaa",
  "ÀÈ",
  "日本",
];

const PATTERNS = [
  "a",
  "^a",
  "a$",
  "^a$",
  "^(a|b)$",
  "^a|b$",
  "(^a|b$)",
  "^.$",
  "^.+$",
  "^[^]$",
  "^[^a]$",
  "^\\d+$",
  "^\\D$",
  "^\\w+$",
  "^\\W$",
  "^\\s$",
  "^\\S$",
  "^[\\s\\S]*$",
  "^[\\d.]+$",
  "^[^\\w]$",
  "^[a&&b]$",
  "^[[]$",
  "^[a[]$",
  "^[\\]\\\\^-]$",
  "^[-a]$",
  "^[a\\-z]$",
  "^\\$|\\^|\\.|\\[$",
  "^a{2}b$",
  "^a{2,}$",
  "^a{0,3}b?$",
  "^(?:ab)+?$",
  "^(?<name>a)+b$",
  "^[A-Z\\u00c0-\\u00de]+$",
  "^\\u{1f600}$",
  "^\\ud83d\\ude00$",
  "^[\\ud83d\\ude00x]$",
  "^\\x41$",
  "^\\cJ$",
  "^\\t|\\n|\\r$",
  "^\\p{Lu}+$",
  "^\\P{L}$",
  "^\\p{Script=Han}+$",
  "^[\\p{Lu}_]+$",
  "^\\/$",
  "^$",
  "",
  "^(a|)$",
  "^\\d{4}-\\d{2}-\\d{2}$",
  "^[^@]+@[^@]+\\.[a-z]{2,}$",
  "^0[xX][0-9a-fA-F]+$",
];

for (const pattern of PATTERNS) {
  test(`/${pattern}/ as a schema's pattern`, async () => {
    const expected = TEXTS.filter((text) => new RegExp(pattern, "u").test(text)).map((text) => JSON.stringify(text));
    // Answers have no control characters that JSON writes as \u.
    const documents = TEXTS.map((text) => JSON.stringify(text));
    expect(await allowed({ json: { type: "string", pattern } }, documents)).toEqual(expected);
  });

  if (pattern === "") continue;
  test(`/${pattern}/ as a whole answer`, async () => {
    const whole = new RegExp(`^(?:${pattern})$`, "u");
    expect(await allowed({ regex: pattern }, TEXTS)).toEqual(TEXTS.filter((text) => whole.test(text)));
  });
}

const REFUSED: [string, RegExp][] = [
  ["a(?=b)", /look-around.*at character 3/],
  ["(?!a)b", /look-around/],
  ["(?<=a)b", /look-around/],
  ["a(?i)b", /look-around, a flag/],
  ["(?s)a", /look-around, a flag/],
  ["\\bword", /word boundary.*character 2/],
  ["(a)\\1", /refers back to a group/],
  ["\\k<n>", /refers back to a group/],
  ["(a", /lacks a \)/],
  ["a)", /\) without its \(/],
  ["[a", /ends too early/],
  ["[b-a]", /range/],
  ["*a", /nothing to repeat/],
  ["a**", /repeats a repetition/],
  ["a{3,2}", /larger number to a smaller/],
  ["a{1000000}", /repeats more than 100000/],
  ["\\A", /\\A, which is not supported/],
  ["\\p", /Property/],
  ["\ud800", /half a surrogate pair/],
  ["\\ud800", /no character/],
  ["a".repeat(20_000), /20000 characters; 16384 are allowed/],
  ["(".repeat(101), /nests groups more than 100 deep/],
];
for (const [pattern, why] of REFUSED) {
  test(`/${pattern.slice(0, 20)}/ is refused: ${why.source}`, () => {
    expect(refusal({ regex: pattern })).toMatch(why);
    expect(refusal({ json: { properties: { a: { pattern } } } })).toMatch(/pattern \(at \/properties\/a\/pattern\)/);
  });
}

test("letters of either case match where the whole expression or a group says so", async () => {
  const texts = ["yes", "YES", "Yes", "no", "NO", "É"];
  expect(await allowed({ regex: "(?i)yes|é" }, texts)).toEqual(["yes", "YES", "Yes", "É"]);
  expect(await allowed({ regex: "(?i:y)es|no" }, texts)).toEqual(["yes", "Yes", "no"]);
  const pattern = { json: { type: "string", pattern: "(?i)^no$" } };
  expect(await allowed(pattern, ['"no"', '"No"', '"nope"'])).toEqual(['"no"', '"No"']);
});
