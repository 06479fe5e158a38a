/** Python's literals, as models write them into calls, made into JSON piece by piece. */
import { MAX_JSON_DEPTH } from "../limits.ts";
import { type Input, type Reading, Unexpected } from "./input.ts";

type Give = (json: string) => void;

const NAMES = new Map([
  ["True", "true"],
  ["False", "false"],
  ["None", "null"],
  ["true", "true"],
  ["false", "false"],
  ["null", "null"],
]);

/**
 * Reads a string, number, True, False, None, list, tuple or dict with strings as keys; also JSON's words for them.
 * @throws Unexpected where there is none of these, or more than MAX_JSON_DEPTH within each other.
 */
export function* pythonLiteral(input: Input, give: Give, depth = 1): Reading {
  if (depth > MAX_JSON_DEPTH) throw new Unexpected();
  const c = yield* input.peek();
  if (c === '"' || c === "'") yield* pythonString(input, give);
  else if (c === "[" || c === "(") {
    yield* items(input, give, { begin: c, end: c === "[" ? "]" : ")", json: "[]" }, () =>
      pythonLiteral(input, give, depth + 1),
    );
  } else if (c === "{") {
    yield* items(input, give, { begin: "{", end: "}", json: "{}" }, function* () {
      yield* pythonString(input, give);
      yield* input.space();
      yield* input.expect(":");
      yield* input.space();
      give(": ");
      yield* pythonLiteral(input, give, depth + 1);
    });
  } else {
    const word = yield* input.word(/[\w.+-]/);
    const json = jsonWord(word);
    give(json ?? word);
    if (json === null) throw new Unexpected();
  }
}

function* items(
  input: Input,
  give: Give,
  { begin, end, json }: { begin: string; end: string; json: string },
  item: () => Reading,
): Reading {
  yield* input.expect(begin);
  give(json.charAt(0));
  yield* input.space();
  for (let first = true; !(yield* input.skip(end)); first = false) {
    if (!first) give(", ");
    yield* item();
    yield* input.space();
    if (!(yield* input.skip(","))) {
      yield* input.expect(end);
      break;
    }
    yield* input.space();
  }
  give(json.charAt(1));
}

/** A number, True, False or None as JSON; null for other words. */
function jsonWord(word: string): string | null {
  const known = NAMES.get(word);
  if (known !== undefined) return known;
  const parts = /^([+-]?)(\d[\d_]*)?(?:(\.)(\d[\d_]*)?)?([eE][+-]?\d+)?$/.exec(word);
  if (!parts || (parts[2] === undefined && parts[4] === undefined)) return null;
  const [, sign, whole = "0", point = "", fraction = "0", exponent = ""] = parts;
  const digits = whole.replaceAll("_", "").replace(/^0+(?=\d)/, "");
  return `${sign === "-" ? "-" : ""}${digits}${point && `.${fraction.replaceAll("_", "")}`}${exponent}`;
}

/** What follows a backslash, as JSON. */
const ESCAPES: Record<string, string> = {
  n: "\\n",
  t: "\\t",
  r: "\\r",
  b: "\\b",
  f: "\\f",
  v: "\\u000b",
  a: "\\u0007",
  "0": "\\u0000",
  "\\": "\\\\",
  '"': '\\"',
  "'": "'",
  "/": "/",
  "\n": "",
};

/** Digits that follow these letters behind a backslash, the number of a character. */
const HEX_LENGTH: Record<string, number> = { x: 2, u: 4, U: 8 };

function* pythonString(input: Input, give: Give): Reading {
  const quote = yield* input.peek();
  if (quote !== '"' && quote !== "'") throw new Unexpected();
  input.read(1);
  give('"');
  for (;;) {
    yield* input.run(/[^"'\\\p{Cc}]/u, give);
    const c = yield* input.peek();
    if (c === "") throw new Unexpected();
    input.read(1);
    if (c === quote) break;
    give(c === "\\" ? yield* escaped(input) : escapedForJson(c));
  }
  give('"');
}

function* escaped(input: Input): Reading<string> {
  const c = yield* input.peek();
  const length = HEX_LENGTH[c];
  const known = length === undefined ? ESCAPES[c] : "";
  // Any other backslash stands for itself, as in Python.
  if (known === undefined) return "\\\\";
  input.read(1);
  if (length === undefined) return known;
  let hex = "";
  while (hex.length < length) {
    const digit = yield* input.peek();
    if (!/[0-9a-fA-F]/.test(digit)) throw new Unexpected();
    hex += input.read(1);
  }
  const code = Number.parseInt(hex, 16);
  if (code > 0x10ffff) throw new Unexpected();
  // Half of a pair of surrogates stays an escape, as JSON.stringify has it: its other half may be written as one too.
  return escapedForJson(String.fromCodePoint(code));
}

/** A character within a JSON string. */
function escapedForJson(c: string): string {
  return JSON.stringify(c).slice(1, -1);
}
