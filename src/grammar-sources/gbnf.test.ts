/** llama.cpp's and xgrammar's grammars: what they allow, and where they are wrong. */
import { describe, expect, test } from "bun:test";
import { structuredRules } from "../structured-outputs.ts";
import { allowed, larkAllows, refusal } from "../structured-testing.ts";
import { isGbnf } from "./gbnf.ts";

const JSON_GRAMMAR = String.raw`
root ::= object
value ::= object | array | text | number | ("true" | "false" | "null") gap

object ::=
  "{" gap ( text ":" gap value
    ("," gap text ":" gap value)* )? "}" gap
array ::= "[" gap ( value ("," gap value)* )? "]" gap
text ::=
  "\"" (
    [^"\\\x7F\x00-\x1F] |
    "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) # escapes
  )* "\"" gap
number ::= "-"? ("0" | [1-9] [0-9]{0,15}) ("." [0-9]+)? ([eE] [-+]? [0-9]+)? gap

# nothing, a space, or a line end
gap ::= | " " | "\n" [ \t]{0,20}
`;

const CASES: [name: string, grammar: string, good: string[], bad: string[]][] = [
  ["literals", 'root ::= "a" "b" | "c"', ["ab", "c"], ["a", "abc", ""]],
  ["single quotes", "root ::= 'a\"'", ['a"'], ["a"]],
  ["escapes", String.raw`root ::= "\n\t\"\\\x41\u00e9\U0001F600"`, ['\n\t"\\Aé😀'], ["A"]],
  ["classes", "root ::= [a-cx] [^a-c\\n] [\\]\\-^]", ["ax]", "x\t-", "cd^"], ["aa]", "b\n]", "axa"]],
  ["a minus at the end of a class", "root ::= [a-]+", ["a-a"], ["b"]],
  ["any character", "root ::= . .", ["a\n", "é😀"], ["a"]],
  [
    "repetition",
    'root ::= "a"{2} "b"{1,3} "c"{2,} "d"{0,1} "e"*',
    ["aabcc", "aabbbcccdee"],
    ["abcc", "aabbbbcc", "aabc"],
  ],
  ["repetition of nothing", 'root ::= "a" "b"{0} ("c" | ){0,0} "d"', ["ad"], ["abd", "acd"]],
  ["a repetition of a repetition", 'root ::= ("a"{2})+', ["aa", "aaaa"], ["aaa", ""]],
  ["groups", 'root ::= ("a" | ("b" "c")?) "d"', ["ad", "bcd", "d"], ["bd"]],
  ["empty alternatives", 'root ::= "x" ("a" | ) root | "z"', ["xaxz", "z"], ["x", "xa"]],
  ["comments and line ends", 'root ::= # one\n  "a" # two\n  | b\n\n# three\nb ::=\n  "c"', ["a", "c"], ["b"]],
  ["names with dashes and capitals", 'root ::= a-b A-B\na-b ::= "x"\nA-B ::= "y"', ["xy"], ["xx"]],
  ["no space around ::=", 'root::="a"b\nb::="c"', ["ac"], ["a"]],
  ["left recursion", 'root ::= root "a" | "b"', ["b", "baa"], ["aa"]],
  ["recursion through other rules", 'root ::= "(" inner ")"\ninner ::= root | "x" ', ["(x)", "((x))"], ["(x", "x"]],
  [
    "JSON",
    JSON_GRAMMAR,
    ['{"a": [1, {"b":"x\\n"}], "c": true}', "{}", '{"a":1.5e3}\n  '],
    ["[1]", '{"a"}', '{"a":1,}'],
  ],
  ["overlap that ends early", 'root ::= [a-z]+ "z"', ["az", "zzz"], ["z", "a"]],
];

describe("allows", () => {
  for (const [name, grammar, good, bad] of CASES) {
    test(name, async () => expect(await allowed({ grammar }, [...good, ...bad])).toEqual(good));

    test(`${name}, within another grammar`, async () => {
      const rules = `start: "<" answer ">"\n${structuredRules({ grammar }, "answer")}`;
      for (const text of good) expect([text, await larkAllows(rules, `<${text}>`)]).toEqual([text, true]);
      for (const text of bad) expect([text, await larkAllows(rules, `<${text}>`)]).toEqual([text, false]);
    });
  }
});

describe("refuses", () => {
  const wrong: [string, RegExp][] = [
    ['rot ::= "a"', /has no rule root/],
    ['root ::= "a" foo', /line 1, column 14: there is no rule foo/],
    ['root ::= "a"\nroot ::= "b"', /line 2, column 1: the rule root is there already/],
    ['root ::= "a', /line 1, column 10: what begins here does not end/],
    ["root ::= [a", /line 1, column 10: what begins here does not end/],
    ["root ::= []", /line 1, column 10: a class needs characters/],
    ["root ::= [z-a]", /line 1, column 14: a range/],
    ['root ::= "a"\n  ("b"\nx ::= "c"', /line 2, column 3: the group that begins here lacks its \)/],
    ['root ::= "\\q"', /line 1, column 12: the escape \\q/],
    ['root ::= "\\ud800"', /no character/],
    ['root ::= "a"{3,2}', /larger number/],
    ['root ::= "a"{x}', /a repetition is \{n\}/],
    ['root ::= "a"{}', /a repetition is \{n\}/],
    ['root ::= "a"{200000}', /repeats more than 100000/],
    ['root ::= (= "a") "b"', /line 1, column 10: look-aheads/],
    ["root ::= <think>", /line 1, column 10: tokens are not supported/],
    ['root ::= "a" % "b"', /line 1, column 14: "%" is not expected here/],
    [`root ::= ${"(".repeat(30)}"a"${")".repeat(30)}`, /nested more than 20 deep/],
  ];
  for (const [grammar, why] of wrong) {
    test(grammar.slice(0, 40), () => expect(refusal({ grammar })).toMatch(why));
  }
});

test("GBNF is told from Lark by its definitions", () => {
  expect(isGbnf('# a comment\nroot ::= "a"')).toBeTrue();
  expect(isGbnf('root\n::= "a"')).toBeTrue();
  expect(isGbnf('start: "x ::= y"\n// a ::= b')).toBeFalse();
  expect(isGbnf('start: "a"\n  | "::="')).toBeFalse();
});
