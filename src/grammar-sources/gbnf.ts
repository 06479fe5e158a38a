/**
 * GBNF, llama.cpp's grammars, which xgrammar's EBNF is close to: read, and written as Lark rules. Line ends may stand anywhere,
 * as xgrammar has it. What is not supported is refused with its line and column.
 */
import { MAX_REGEX_REPEATS, MAX_STRUCTURE_PARTS } from "../limits.ts";
import { larkString } from "./lark.ts";
import { refuse } from "./refusal.ts";

/** A part of a rule. */
export type Part =
  /** A piece of Lark that is a terminal: a literal or a regular expression. */
  | { kind: "terminal"; lark: string }
  | { kind: "rule"; name: string; at: number }
  | { kind: "sequence"; parts: Part[] }
  | { kind: "choice"; parts: Part[] }
  /** `most` null = without end. */
  | { kind: "repeat"; part: Part; least: number; most: number | null };

/** Rules, and where `text` says what is wrong. */
export interface Gbnf {
  rules: Map<string, Part>;
  refuseAt(at: number, what: string): never;
}

/** Groups within groups; llguidance takes 30 levels, some of which are not of the grammar itself. */
const MAX_DEPTH = 20;

const NAME = /[A-Za-z_][\w-]*/y;
const DEFINITION = /([A-Za-z_][\w-]*)\s*::=/y;
const SPACE = /(?:\s|#[^\n]*)*/y;

/** Whether a grammar is GBNF rather than Lark. */
export function isGbnf(text: string): boolean {
  return /^[ \t]*[A-Za-z_][\w-]*\s*::=/m.test(text);
}

export function parseGbnf(text: string): Gbnf {
  return new Parser(text).all();
}

class Parser {
  readonly #text: string;
  #at = 0;
  #depth = 0;

  constructor(text: string) {
    this.#text = text;
  }

  all(): Gbnf {
    const rules = new Map<string, Part>();
    this.#space();
    while (this.#at < this.#text.length) {
      const start = this.#at;
      const name = this.#match(DEFINITION)?.[1];
      if (name === undefined) return this.#refuse("a rule must begin: name ::= ...");
      if (rules.has(name)) return this.#refuse(`the rule ${name} is there already`, start);
      if (rules.size >= MAX_STRUCTURE_PARTS) return this.#refuse(`more than ${MAX_STRUCTURE_PARTS} rules`);
      this.#space();
      rules.set(name, this.#choice());
    }
    if (!rules.has("root")) refuse("has no rule root ::= ...");
    return { rules, refuseAt: (at, what) => this.#refuse(what, at) };
  }

  #refuse(what: string, at = this.#at): never {
    const lines = this.#text.slice(0, at).split("\n");
    return refuse(`line ${lines.length}, column ${lines.at(-1)!.length + 1}: ${what}`);
  }

  #match(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text);
    if (found) this.#at += found[0].length;
    return found;
  }

  #next(text: string): boolean {
    if (!this.#text.startsWith(text, this.#at)) return false;
    this.#at += text.length;
    return true;
  }

  #space(): void {
    this.#match(SPACE);
  }

  #choice(): Part {
    if (++this.#depth > MAX_DEPTH) this.#refuse(`groups are nested more than ${MAX_DEPTH} deep`);
    const parts = [this.#sequence()];
    while (this.#next("|")) {
      this.#space();
      parts.push(this.#sequence());
    }
    this.#depth--;
    return parts.length === 1 ? parts[0]! : { kind: "choice", parts };
  }

  #sequence(): Part {
    const parts: Part[] = [];
    for (;;) {
      const part = this.#part();
      if (!part) return parts.length === 1 ? parts[0]! : { kind: "sequence", parts };
      parts.push(this.#repeated(part));
      this.#space();
    }
  }

  /** One part; null where a sequence ends. */
  #part(): Part | null {
    const start = this.#at;
    const character = this.#text[start];
    if (character === undefined || character === "|" || character === ")") return null;
    if (character === '"' || character === "'") return this.#literal(character);
    if (this.#next("[")) return this.#class(start);
    if (this.#next(".")) return { kind: "terminal", lark: "/(?s:.)/" };
    if (this.#next("(=")) return this.#refuse("look-aheads are not supported", start);
    if (this.#next("(")) {
      this.#space();
      const inner = this.#choice();
      if (!this.#next(")")) this.#refuse("the group that begins here lacks its )", start);
      return inner;
    }
    // The next rule begins.
    if (this.#match(DEFINITION)) {
      this.#at = start;
      return null;
    }
    const name = this.#match(NAME)?.[0];
    if (name !== undefined) return { kind: "rule", name, at: start };
    if (character === "<" || character === "!") this.#refuse("tokens are not supported; write their text");
    return this.#refuse(`${JSON.stringify(character)} is not expected here`);
  }

  #repeated(part: Part): Part {
    const found = this.#match(/\s*(?:([*+?])|\{\s*(\d*)\s*(,?)\s*(\d*)\s*\})/y);
    if (!found) {
      if (/^[ \t]*\{/.test(this.#text.slice(this.#at, this.#at + 40)))
        this.#refuse("a repetition is {n}, {n,} or {n,m}");
      return part;
    }
    const [whole, sign, first = "", comma, second = ""] = found;
    let [least, most]: [number, number | null] = [0, null];
    if (sign !== undefined) [least, most] = [sign === "+" ? 1 : 0, sign === "?" ? 1 : null];
    else if (first === "" && second === "") this.#refuse("a repetition is {n}, {n,} or {n,m}", this.#at - whole.length);
    else {
      least = Number(first);
      most = comma === "" ? least : second === "" ? null : Number(second);
    }
    if (most !== null && most < least) this.#refuse("repeats from a larger number to a smaller one");
    if ((most ?? least) > MAX_REGEX_REPEATS) this.#refuse(`repeats more than ${MAX_REGEX_REPEATS} times`);
    return this.#repeated({ kind: "repeat", part, least, most });
  }

  #literal(quote: string): Part {
    const start = this.#at++;
    let out = "";
    while (!this.#next(quote)) {
      const code = this.#character(start);
      out += String.fromCodePoint(code);
    }
    return { kind: "terminal", lark: larkString(out) };
  }

  /** A class, after its [, as a regular expression. */
  #class(start: number): Part {
    const negated = this.#next("^");
    let items = "";
    while (!this.#next("]")) {
      const first = this.#character(start);
      const ranges = this.#text[this.#at] === "-" && this.#text[this.#at + 1] !== "]";
      if (!ranges) {
        items += hex(first);
        continue;
      }
      this.#at++;
      const last = this.#character(start);
      if (last < first) this.#refuse("a range goes from a lower character to a higher one");
      items += `${hex(first)}-${hex(last)}`;
    }
    if (items === "" && !negated) this.#refuse("a class needs characters", start);
    return { kind: "terminal", lark: items === "" ? "/(?s:.)/" : `/[${negated ? "^" : ""}${items}]/` };
  }

  /** The code point here, of an escape or as it stands, in what begins at `start`. */
  #character(start: number): number {
    const code = this.#text.codePointAt(this.#at);
    if (code === undefined || code === 10) return this.#refuse("what begins here does not end", start);
    this.#at += code > 0xffff ? 2 : 1;
    if (code >= 0xd800 && code <= 0xdfff) this.#refuse("half a surrogate pair is no character", this.#at - 1);
    return code === 0x5c ? this.#escape() : code;
  }

  #escape(): number {
    const coded = this.#match(/x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|u\{([0-9A-Fa-f]{1,6})\}/y);
    if (coded) {
      const code = Number.parseInt(coded[1] ?? coded[2] ?? coded[3] ?? coded[4]!, 16);
      if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        this.#refuse("this escape is no character", this.#at - 1);
      return code;
    }
    const letter = this.#text[this.#at] ?? "";
    const control = CONTROLS[letter];
    if (control === undefined && !/[\\"'[\]\-^?/]/.test(letter))
      this.#refuse(`the escape \\${letter} is not supported`);
    this.#at++;
    return control ?? letter.charCodeAt(0);
  }
}

const CONTROLS: Record<string, number> = { t: 9, n: 10, r: 13, "0": 0, a: 7, b: 8, f: 12, v: 11, e: 27 };

function hex(code: number): string {
  return `\\x{${code.toString(16)}}`;
}
