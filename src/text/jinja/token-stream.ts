/** The tokens of a template, one after the other, with what a parser asks of them. */
import { TemplateError } from "./errors.ts";
import { type Token, type TokenKind, tokenize } from "./lexer.ts";

export class TokenStream {
  readonly #tokens: Token[];
  #at = 0;

  constructor(source: string) {
    this.#tokens = tokenize(source);
  }

  get current(): Token {
    return this.#tokens[this.#at]!;
  }

  get following(): Token {
    return this.#tokens[Math.min(this.#at + 1, this.#tokens.length - 1)]!;
  }

  next(): Token {
    const token = this.current;
    if (token.kind !== "eof") this.#at++;
    return token;
  }

  is(kind: TokenKind): boolean {
    return this.current.kind === kind;
  }

  isName(...names: string[]): boolean {
    return this.current.kind === "name" && names.includes(this.current.text);
  }

  isOperator(...operators: string[]): boolean {
    return this.current.kind === "operator" && operators.includes(this.current.text);
  }

  /** Goes past the current token if it is this one. */
  skip(kind: TokenKind, text: string): boolean {
    const { current } = this;
    const found = current.kind === kind && current.text === text;
    if (found) this.#at++;
    return found;
  }

  expect(kind: TokenKind, text?: string): Token {
    const { current } = this;
    if (current.kind === kind && (text === undefined || current.text === text)) return this.next();
    return this.fail(`expected ${text === undefined ? `a ${kind}` : `'${text}'`}, got ${describe(current)}`);
  }

  fail(message: string, line = this.current.line): never {
    throw new TemplateError("TemplateSyntaxError", `line ${line}: ${message}`);
  }
}

export function describe({ kind, text }: Token): string {
  if (kind === "eof") return "the end of the template";
  return kind === "data" ? "template text" : `'${text}'`;
}
