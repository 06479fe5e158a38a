/**
 * A template's text → tokens, as Jinja2's lexer makes them with transformers' settings: the first line end after a block
 * and the white space before one on its line are dropped (trim_blocks, lstrip_blocks), and so is the last line end.
 * Every character is looked at a bounded number of times.
 */
import { SPACE } from "./code-points.ts";
import { TemplateError } from "./errors.ts";

export type TokenKind = "data" | "name" | "string" | "number" | "operator" | "begin" | "end" | "eof";

export interface Token {
  kind: TokenKind;
  /** data, string: the text; name, operator: as written; begin, end: of a tag, "{{", "}}", "{%" or "%}". */
  text: string;
  /** Of a number. */
  value?: number | bigint;
  /** A number with a fraction or an exponent. */
  isFloat?: boolean;
  line: number;
}

const sticky = (pattern: string) => new RegExp(pattern, "yu");

const TAG = /\{[{%#]/g;
const RAW = sticky(`\\{%[-+]?[${SPACE}]*raw[${SPACE}]*(?:-%\\}[${SPACE}]*|%\\})`);
const END_RAW = new RegExp(`\\{%([-+]?)[${SPACE}]*endraw[${SPACE}]*(?:\\+%\\}|-%\\}[${SPACE}]*|%\\}\\n?)`, "g");
const END_COMMENT = new RegExp(`\\+#\\}|-#\\}[${SPACE}]*|#\\}\\n?`, "g");
const END_BLOCK = sticky(`\\+%\\}|-%\\}[${SPACE}]*|%\\}\\n?`);
const END_VARIABLE = sticky(`-\\}\\}[${SPACE}]*|\\}\\}`);
const BLANK = sticky(`[${SPACE}]+`);
const FLOAT = sticky("(?:\\d+_)*\\d+(?:(?:\\.(?:\\d+_)*\\d+)?[eE][+-]?(?:\\d+_)*\\d+|\\.(?:\\d+_)*\\d+)");
const INTEGER = sticky("0[bB](?:_?[01])+|0[oO](?:_?[0-7])+|0[xX](?:_?[\\da-fA-F])+|[1-9](?:_?\\d)*|0(?:_?0)*");
const NAME = sticky("[\\p{L}\\p{N}\\p{M}\\p{Pc}]+");
const ASCII_NAME = /[A-Za-z_]\w*(?![^\0-\x7f])/y;
const IDENTIFIER = /^[\p{XID_Start}_][\p{XID_Continue}]*$/u;
const OPERATOR = sticky("//|\\*\\*|[=!<>]=|[-+/*%~[\\](){}<>=.:|,;]");

const CLOSING: Record<string, string> = { "{": "}", "(": ")", "[": "]" };

/** @throws TemplateError TemplateSyntaxError. */
export function tokenize(source: string): Token[] {
  return new Lexer(source).run();
}

class Lexer {
  readonly #source: string;
  readonly #tokens: Token[] = [];
  #at = 0;
  #line = 1;
  /** Where #line was counted up to. */
  #counted = 0;

  constructor(source: string) {
    const text = source.replace(/\r\n?/g, "\n");
    this.#source = text.endsWith("\n") ? text.slice(0, -1) : text;
  }

  run(): Token[] {
    while (this.#at < this.#source.length) this.#text();
    this.#push("eof", "");
    return this.#tokens;
  }

  #fail(message: string): never {
    throw new TemplateError("TemplateSyntaxError", `line ${this.#lineHere()}: ${message}`);
  }

  #lineHere(): number {
    for (let i = this.#counted; i < this.#at; i++) if (this.#source.charCodeAt(i) === 10) this.#line++;
    this.#counted = Math.max(this.#counted, this.#at);
    return this.#line;
  }

  #push(kind: TokenKind, text: string, number?: { value: number | bigint; isFloat: boolean }): void {
    this.#tokens.push({ kind, text, ...number, line: this.#lineHere() });
  }

  /** The match of a sticky pattern here, which is then behind. */
  #take(pattern: RegExp): string | null {
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.#source);
    if (!match) return null;
    this.#at += match[0].length;
    return match[0];
  }

  /** Text up to the next tag, and that tag. */
  #text(): void {
    const start = this.#at;
    TAG.lastIndex = start;
    const tag = TAG.exec(this.#source);
    if (!tag) {
      this.#at = this.#source.length;
      this.#push("data", this.#source.slice(start));
      return;
    }
    const data = this.#source.slice(start, tag.index);
    this.#at = tag.index;
    const mark = this.#source[tag.index + 2] ?? "";
    const kept = this.#beforeTag(data, start, mark, tag[0] !== "{{");
    if (kept !== "") this.#push("data", kept);
    if (tag[0] === "{#") this.#comment();
    else if (tag[0] === "{%" && this.#take(RAW) !== null) this.#raw();
    else {
      this.#at += mark === "-" || mark === "+" ? 3 : 2;
      this.#push("begin", tag[0]);
      if (tag[0] === "{{") this.#inside(END_VARIABLE, "}}");
      else this.#inside(END_BLOCK, "%}");
    }
  }

  /** What remains of the text before a tag. */
  #beforeTag(data: string, start: number, mark: string, isBlock: boolean): string {
    if (mark === "-") return trimEnd(data);
    if (mark === "+" || !isBlock) return data;
    const lineStart = data.lastIndexOf("\n") + 1;
    const startsLine = lineStart > 0 || start === 0 || this.#source[start - 1] === "\n";
    return startsLine && trimEnd(data).length <= lineStart ? data.slice(0, lineStart) : data;
  }

  #comment(): void {
    END_COMMENT.lastIndex = this.#at + 2;
    const end = END_COMMENT.exec(this.#source);
    if (!end) {
      // Nothing at all after the tag is no error in Jinja2.
      if (this.#at + 2 < this.#source.length) this.#fail("Missing end of comment tag");
      this.#at = this.#source.length;
      return;
    }
    this.#at = end.index + end[0].length;
  }

  /** What is between raw and endraw. */
  #raw(): void {
    const start = this.#at;
    END_RAW.lastIndex = start;
    const end = END_RAW.exec(this.#source);
    if (!end) {
      if (start < this.#source.length) this.#fail("Missing end of raw directive");
      return;
    }
    const data = this.#beforeTag(this.#source.slice(start, end.index), start, end[1]!, true);
    if (data !== "") this.#push("data", data);
    this.#at = end.index + end[0].length;
  }

  /** The tokens of a tag, and its end. While a bracket is open, the end's characters are operators. */
  #inside(end: RegExp, name: string): void {
    const open: string[] = [];
    while (open.length > 0 || this.#take(end) === null) {
      if (this.#at >= this.#source.length) this.#fail(`unexpected end of template, '${name}' is missing`);
      if (this.#take(BLANK) !== null || this.#number() || this.#name() || this.#string()) continue;
      const operator = this.#take(OPERATOR);
      if (operator === null) this.#fail(`unexpected char '${this.#source[this.#at]}'`);
      this.#balance(open, operator);
      this.#push("operator", operator);
    }
    this.#push("end", name);
  }

  #balance(open: string[], operator: string): void {
    const closing = CLOSING[operator];
    if (closing !== undefined) open.push(closing);
    else if (operator === "}" || operator === ")" || operator === "]") {
      const expected = open.pop();
      if (expected === undefined) this.#fail(`unexpected '${operator}'`);
      if (expected !== operator) this.#fail(`unexpected '${operator}', expected '${expected}'`);
    }
  }

  #number(): boolean {
    const first = this.#source.charCodeAt(this.#at);
    if (first < 48 || first > 57) return false;
    // After a dot a number is an index: x.1.2
    const float = this.#source[this.#at - 1] === "." ? null : this.#take(FLOAT);
    if (float !== null) {
      this.#push("number", float, { value: Number(float.replaceAll("_", "")), isFloat: true });
      return true;
    }
    const text = this.#take(INTEGER);
    if (text === null) return false;
    const plain = text.replaceAll("_", "");
    if (plain.length > 4300) this.#fail("an integer has more than 4300 digits");
    const value = /^0+$/.test(plain) ? 0n : BigInt(plain);
    const small = Number(value);
    this.#push("number", text, { value: Number.isSafeInteger(small) ? small : value, isFloat: false });
    return true;
  }

  #name(): boolean {
    const plain = this.#take(ASCII_NAME);
    const name = plain ?? this.#take(NAME);
    if (name === null) return false;
    if (plain === null && !IDENTIFIER.test(name)) this.#fail("Invalid character in identifier");
    this.#push("name", name);
    return true;
  }

  #string(): boolean {
    const quote = this.#source[this.#at];
    if (quote !== "'" && quote !== '"') return false;
    const start = this.#at + 1;
    let end = start;
    while (end < this.#source.length && this.#source[end] !== quote) end += this.#source[end] === "\\" ? 2 : 1;
    if (end >= this.#source.length) this.#fail(`unexpected char ${quote}`);
    const text = this.#source.slice(start, end);
    this.#push("string", text.includes("\\") ? this.#unescape(text) : text);
    this.#at = end + 1;
    return true;
  }

  /** Python's escapes. One that it does not know stays as it is. */
  #unescape(text: string): string {
    return text.replace(
      /\\(?:([0-7]{1,3})|x(.{0,2})|u(.{0,4})|U(.{0,8})|N(?:\{[^}]*\})?|(.))/gsu,
      (whole, octal, x, u, long, other) => {
        if (octal !== undefined) return String.fromCodePoint(Number.parseInt(octal, 8));
        if (other !== undefined) return SIMPLE_ESCAPES[other] ?? whole;
        const hex = x ?? u ?? long;
        const size = x !== undefined ? 2 : u !== undefined ? 4 : 8;
        if (hex === undefined || hex.length !== size || /[^\da-fA-F]/.test(hex))
          this.#fail(`unknown escape ${whole} in a string`);
        const code = Number.parseInt(hex, 16);
        return code <= 0x10ffff ? String.fromCodePoint(code) : this.#fail(`unknown escape ${whole} in a string`);
      },
    );
  }
}

const SIMPLE_ESCAPES: Record<string, string> = {
  "\n": "",
  "\\": "\\",
  "'": "'",
  '"': '"',
  a: "\x07",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
};

const SPACES_AT_END = new RegExp(`[${SPACE}]`);

/** str.rstrip(). Scans from the end: a pattern could take the square of the length. */
function trimEnd(text: string): string {
  let end = text.length;
  while (end > 0 && SPACES_AT_END.test(text[end - 1]!)) end--;
  return text.slice(0, end);
}
