/**
 * Regular expressions, from ECMAScript's dialect (which JSON Schema uses) to that of llguidance. What the two write alike but
 * mean differently is spelled out: `.`, \d, \w, \s, brackets and && within a class. Python's spelling of named groups passes.
 */
import { MAX_REGEX_DEPTH, MAX_REGEX_LENGTH, MAX_REGEX_REPEATS } from "../limits.ts";
import { refuse } from "./refusal.ts";

const DIGIT = "0-9";
const WORD = "0-9A-Za-z_";
const SPACE =
  "\\t\\n\\x{b}\\x{c}\\r\\x{20}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}\\x{feff}";
/** Every character but the ends of lines. */
const DOT = "[^\\n\\r\\x{2028}\\x{2029}]";

const CLASSES: Record<string, string> = {
  d: `[${DIGIT}]`,
  D: `[^${DIGIT}]`,
  w: `[${WORD}]`,
  W: `[^${WORD}]`,
  s: `[${SPACE}]`,
  S: `[^${SPACE}]`,
};

const CONTROLS: Record<string, number> = { t: 9, n: 10, v: 11, f: 12, r: 13 };

/** `\x{…}` of every character that could mean something else than itself. */
function literal(code: number): string {
  const character = String.fromCodePoint(code);
  return /^[0-9A-Za-z_ ]$/.test(character) ? character : `\\x{${code.toString(16)}}`;
}

/**
 * `source`, as llguidance reads it. Anchors stay; the caller says whether the whole text must match.
 * @throws Refusal with the place of what cannot be translated.
 */
export function translateRegex(source: string): string {
  if (source.length > MAX_REGEX_LENGTH) {
    refuse(`is a regular expression of ${source.length} characters; ${MAX_REGEX_LENGTH} are allowed`);
  }
  return new Translator(source).all();
}

class Translator {
  readonly #source: string;
  #at = 0;
  #depth = 0;

  constructor(source: string) {
    this.#source = source;
  }

  all(): string {
    // For the whole of it, as Python, Rust and PCRE have it.
    const flag = this.#next("(?i)") ? "(?i)" : "";
    const out = flag + this.#alternatives();
    if (this.#at < this.#source.length) this.#refuse("has a ) without its (");
    return out;
  }

  #refuse(what: string): never {
    refuse(`${what}, at character ${this.#at + 1} of the regular expression`);
  }

  #next(text: string): boolean {
    if (!this.#source.startsWith(text, this.#at)) return false;
    this.#at += text.length;
    return true;
  }

  /** The code point here, which is then behind. */
  #take(): number {
    const code = this.#source.codePointAt(this.#at);
    if (code === undefined) this.#refuse("ends too early");
    if (code >= 0xd800 && code <= 0xdfff) this.#refuse("has half a surrogate pair");
    this.#at += code > 0xffff ? 2 : 1;
    return code;
  }

  #alternatives(): string {
    if (++this.#depth > MAX_REGEX_DEPTH) this.#refuse(`nests groups more than ${MAX_REGEX_DEPTH} deep`);
    let out = "";
    while (this.#at < this.#source.length && this.#source[this.#at] !== ")") {
      out += this.#next("|") ? "|" : this.#term();
    }
    this.#depth--;
    return out;
  }

  #term(): string {
    if (this.#next("^")) return "^";
    if (this.#next("$")) return "$";
    const atom = this.#atom();
    const repeats = this.#quantifier();
    return atom + repeats;
  }

  #atom(): string {
    if (this.#next("(")) return this.#group();
    if (this.#next("[")) return this.#class();
    if (this.#next(".")) return DOT;
    if (this.#next("\\")) return this.#escape();
    if (/[*+?]/.test(this.#source[this.#at]!)) this.#refuse("has nothing to repeat");
    return literal(this.#take());
  }

  #group(): string {
    const named = /^\?P?<([A-Za-z_$][\w$]*)>/.exec(this.#source.slice(this.#at, this.#at + 100));
    const opening = this.#next("?i:") ? "(?i:" : "(?:";
    if (named) this.#at += named[0].length;
    else if (opening === "(?:" && !this.#next("?:") && this.#source[this.#at] === "?") {
      this.#refuse("has a look-around, a flag, or another kind of group that is not supported");
    }
    const inner = this.#alternatives();
    if (!this.#next(")")) this.#refuse("lacks a )");
    return `${opening}${inner})`;
  }

  /** *, +, ?, {m}, {m,} or {m,n}, or nothing. Lazy ones match the same texts. */
  #quantifier(): string {
    const found = /^(?:[*+?]|\{(\d+)(,(\d*))?\})/.exec(this.#source.slice(this.#at, this.#at + 40));
    if (!found) return "";
    const [whole, least, range, most] = found;
    if (least !== undefined) {
      const upper = range === undefined ? Number(least) : most ? Number(most) : Number(least);
      if (upper < Number(least)) this.#refuse("repeats from a larger number to a smaller one");
      if (upper > MAX_REGEX_REPEATS) this.#refuse(`repeats more than ${MAX_REGEX_REPEATS} times`);
    }
    this.#at += whole.length;
    this.#next("?");
    if (/[*+?]/.test(this.#source[this.#at] ?? "")) this.#refuse("repeats a repetition");
    return whole;
  }

  /** What follows a backslash outside of a class. */
  #escape(): string {
    const letter = this.#source[this.#at] ?? "";
    if (letter in CLASSES || letter === "p" || letter === "P") return this.#classEscape();
    if (/[bB]/.test(letter)) this.#refuse("has a word boundary, which is not supported");
    if (/[1-9k]/.test(letter)) this.#refuse("refers back to a group, which is not supported");
    return literal(this.#character());
  }

  /** \d, \p{L} and their like: a class of their own. */
  #classEscape(): string {
    const letter = this.#source[this.#at]!;
    const known = CLASSES[letter];
    if (known) {
      this.#at++;
      return known;
    }
    const property = /^[pP]\{\^?[\w=]+\}/.exec(this.#source.slice(this.#at, this.#at + 80));
    if (!property) this.#refuse("has a \\p without a {Property}");
    this.#at += property[0].length;
    return `\\${property[0]}`;
  }

  /** The code point of an escape that means one character. */
  #character(): number {
    const rest = this.#source.slice(this.#at, this.#at + 12);
    const pair = /^u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})/i.exec(rest);
    if (pair) {
      this.#at += pair[0].length;
      return String.fromCharCode(Number.parseInt(pair[1]!, 16), Number.parseInt(pair[2]!, 16)).codePointAt(0)!;
    }
    const hex = /^(?:x([0-9a-f]{2})|u([0-9a-f]{4})|u\{([0-9a-f]{1,6})\})/i.exec(rest);
    if (hex) {
      const code = Number.parseInt(hex[1] ?? hex[2] ?? hex[3]!, 16);
      if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) this.#refuse("escapes what is no character");
      this.#at += hex[0].length;
      return code;
    }
    const control = /^c([A-Za-z])/.exec(rest);
    if (control) {
      this.#at += 2;
      return control[1]!.charCodeAt(0) % 32;
    }
    const letter = rest[0] ?? "";
    if (letter in CONTROLS) {
      this.#at++;
      return CONTROLS[letter]!;
    }
    if (/^0(?!\d)/.test(rest)) {
      this.#at++;
      return 0;
    }
    if (/[0-9A-Za-z]/.test(letter)) this.#refuse(`has \\${letter}, which is not supported`);
    return this.#take();
  }

  #class(): string {
    const negated = this.#next("^");
    let items = "";
    while (!this.#next("]")) {
      const first = this.#classItem();
      const ranges = this.#source[this.#at] === "-" && this.#source[this.#at + 1] !== "]";
      if (!ranges) {
        items += typeof first === "number" ? literal(first) : first;
        continue;
      }
      this.#at++;
      const last = this.#classItem();
      if (typeof first !== "number" || typeof last !== "number") {
        // As in ECMAScript without its flags: \w-x is \w, - and x.
        for (const item of [first, 0x2d, last]) items += typeof item === "number" ? literal(item) : item;
        continue;
      }
      if (last < first) this.#refuse("has a range from a higher character to a lower one");
      items += `${literal(first)}-${literal(last)}`;
    }
    if (items === "") return negated ? "(?s:.)" : "[^\\x{0}-\\x{10ffff}]";
    return `[${negated ? "^" : ""}${items}]`;
  }

  /** A character's code point, or a class within this one. */
  #classItem(): number | string {
    if (!this.#next("\\")) return this.#take();
    const letter = this.#source[this.#at] ?? "";
    if (letter in CLASSES || letter === "p" || letter === "P") return this.#classEscape();
    if (this.#next("b")) return 8;
    return this.#character();
  }
}
