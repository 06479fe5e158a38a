/** The parser of expressions. Its rules and their precedence are Jinja2's. */
import type { Arguments, Comparison, Expression, Filter, Target } from "./nodes.ts";
import type { Arithmetic } from "./operators.ts";
import { describe, TokenStream } from "./token-stream.ts";
import { Float, Tuple, type Value } from "./values.ts";

const NO_ARGUMENTS: Arguments = { positional: [], keywords: [], rest: null, restKeywords: null };

const CONSTANTS = new Map<string, Value>([
  ["true", true],
  ["True", true],
  ["false", false],
  ["False", false],
  ["none", null],
  ["None", null],
]);

export class ExpressionParser {
  protected readonly stream: TokenStream;
  /** The names that were read since the innermost macro or loop began. */
  protected mentions = new Set<string>();

  constructor(source: string) {
    this.stream = new TokenStream(source);
  }

  protected expression(withCondition = true): Expression {
    return withCondition ? this.#condition() : this.#or();
  }

  #condition(): Expression {
    let yes = this.#or();
    while (this.stream.skip("name", "if")) {
      const test = this.#or();
      const no = this.stream.skip("name", "else") ? this.#condition() : null;
      yes = { type: "condition", test, yes, no };
    }
    return yes;
  }

  #or(): Expression {
    let left = this.#and();
    while (this.stream.skip("name", "or")) left = { type: "or", left, right: this.#and() };
    return left;
  }

  #and(): Expression {
    let left = this.#not();
    while (this.stream.skip("name", "and")) left = { type: "and", left, right: this.#not() };
    return left;
  }

  #not(): Expression {
    if (this.stream.skip("name", "not")) return { type: "not", value: this.#not() };
    return this.#compare();
  }

  #compare(): Expression {
    const first = this.#sum();
    const rest: { operator: Comparison; value: Expression }[] = [];
    for (let operator = this.#comparison(); operator !== null; operator = this.#comparison()) {
      rest.push({ operator, value: this.#sum() });
    }
    return rest.length === 0 ? first : { type: "compare", first, rest };
  }

  #comparison(): Comparison | null {
    if (this.stream.isOperator("==", "!=", "<", "<=", ">", ">=")) return this.stream.next().text as Comparison;
    if (this.stream.skip("name", "in")) return "in";
    const { kind, text } = this.stream.following;
    if (!this.stream.isName("not") || kind !== "name" || text !== "in") return null;
    this.stream.next();
    this.stream.next();
    return "not in";
  }

  /** A rule of operators that bind to the left. */
  #leftToRight(operators: Arithmetic[], operand: () => Expression): Expression {
    let left = operand();
    while (this.stream.isOperator(...operators)) {
      const operator = this.stream.next().text as Arithmetic;
      left = { type: "arithmetic", operator, left, right: operand() };
    }
    return left;
  }

  #sum(): Expression {
    return this.#leftToRight(["+", "-"], () => this.#concat());
  }

  #concat(): Expression {
    const parts = [this.#product()];
    while (this.stream.skip("operator", "~")) parts.push(this.#product());
    return parts.length === 1 ? parts[0]! : { type: "concat", parts };
  }

  #product(): Expression {
    return this.#leftToRight(["*", "/", "//", "%"], () => this.#power());
  }

  #power(): Expression {
    return this.#leftToRight(["**"], () => this.#unary(true));
  }

  #unary(withFilter: boolean): Expression {
    let value: Expression;
    if (this.stream.isOperator("-", "+")) {
      const sign = this.stream.next().text as "-" | "+";
      value = { type: "sign", sign, value: this.#unary(false) };
    } else value = this.#primary();
    value = this.#postfix(value);
    return withFilter ? this.#filtersAndTests(value) : value;
  }

  #primary(): Expression {
    const token = this.stream.current;
    if (token.kind === "name") {
      this.stream.next();
      const constant = CONSTANTS.get(token.text);
      if (constant !== undefined) return { type: "constant", value: constant };
      this.mentions.add(token.text);
      return { type: "name", name: token.text };
    }
    if (token.kind === "string") return { type: "constant", value: this.#strings() };
    if (token.kind === "number") {
      this.stream.next();
      return { type: "constant", value: token.isFloat ? new Float(Number(token.value)) : token.value! };
    }
    if (this.stream.skip("operator", "(")) {
      const inner = this.tuple({ parenthesised: true });
      this.stream.expect("operator", ")");
      return inner;
    }
    if (this.stream.isOperator("[")) return { type: "list", items: this.#listItems() };
    if (this.stream.isOperator("{")) return this.#dict();
    return this.stream.fail(`unexpected ${describe(token)}`);
  }

  /** Strings side by side are one. */
  #strings(): string {
    let text = "";
    while (this.stream.is("string")) text += this.stream.next().text;
    return text;
  }

  /**
   * One expression, or several between commas.
   * @param ends names that end it, beside the tag's end and a closing parenthesis.
   */
  protected tuple(options: { withCondition?: boolean; ends?: string[]; parenthesised?: boolean } = {}): Expression {
    const { withCondition = true, ends = [], parenthesised = false } = options;
    const items: Expression[] = [];
    let isTuple = false;
    for (;;) {
      if (items.length > 0) this.stream.expect("operator", ",");
      if (this.#tupleEnds(ends)) break;
      items.push(this.expression(withCondition));
      if (!this.stream.isOperator(",")) break;
      isTuple = true;
    }
    if (isTuple) return { type: "tuple", items };
    if (items.length > 0) return items[0]!;
    if (!parenthesised) this.stream.fail(`Expected an expression, got ${describe(this.stream.current)}`);
    return { type: "constant", value: new Tuple([]) };
  }

  #tupleEnds(ends: string[]): boolean {
    return this.stream.is("end") || this.stream.isOperator(")") || (ends.length > 0 && this.stream.isName(...ends));
  }

  /** Calls `each` until `close`; between two there is a comma, and one may stand before `close`. */
  #separated(open: string, close: string, each: () => void): void {
    this.stream.expect("operator", open);
    for (let first = true; !this.stream.isOperator(close); first = false) {
      if (!first) this.stream.expect("operator", ",");
      if (this.stream.isOperator(close)) break;
      each();
    }
    this.stream.expect("operator", close);
  }

  #listItems(): Expression[] {
    const items: Expression[] = [];
    this.#separated("[", "]", () => items.push(this.expression()));
    return items;
  }

  #dict(): Expression {
    const entries: [Expression, Expression][] = [];
    this.#separated("{", "}", () => {
      const key = this.expression();
      this.stream.expect("operator", ":");
      entries.push([key, this.expression()]);
    });
    return { type: "dict", entries };
  }

  #postfix(value: Expression): Expression {
    let out = value;
    for (;;) {
      if (this.stream.skip("operator", ".")) out = this.#attribute(out);
      else if (this.stream.isOperator("[")) out = this.#item(out);
      else if (this.stream.isOperator("(")) out = this.#call(out);
      else return out;
    }
  }

  #filtersAndTests(value: Expression): Expression {
    let out = value;
    for (;;) {
      if (this.stream.skip("operator", "|")) out = this.filter(out);
      else if (this.stream.skip("name", "is")) out = this.#test(out);
      else if (this.stream.isOperator("(")) out = this.#call(out);
      else return out;
    }
  }

  #attribute(object: Expression): Expression {
    const token = this.stream.next();
    if (token.kind === "name") return { type: "attribute", object, name: token.text };
    if (token.kind !== "number" || token.isFloat) this.stream.fail("expected name or number", token.line);
    return { type: "item", object, key: { type: "constant", value: token.value! } };
  }

  #item(object: Expression): Expression {
    this.stream.expect("operator", "[");
    const keys: Expression[] = [];
    while (!this.stream.isOperator("]")) {
      if (keys.length > 0) this.stream.expect("operator", ",");
      keys.push(this.#subscript());
    }
    this.stream.expect("operator", "]");
    const key: Expression = keys.length === 1 ? keys[0]! : { type: "tuple", items: keys };
    return { type: "item", object, key };
  }

  #subscript(): Expression {
    const start = this.stream.isOperator(":") ? null : this.expression();
    if (!this.stream.skip("operator", ":")) return start!;
    const part = () => (this.stream.isOperator("]", ",", ":") ? null : this.expression());
    const stop = part();
    const step = this.stream.skip("operator", ":") ? part() : null;
    return { type: "slice", start, stop, step };
  }

  #call(callee: Expression): Expression {
    return { type: "call", callee, arguments: this.#arguments() };
  }

  #arguments(): Arguments {
    const found: Arguments = { positional: [], keywords: [], rest: null, restKeywords: null };
    const ensure = (allowed: boolean) => {
      if (!allowed) this.stream.fail("invalid syntax for function call expression");
    };
    this.#separated("(", ")", () => {
      const { kind, text } = this.stream.following;
      if (this.stream.skip("operator", "*")) {
        ensure(found.rest === null && found.restKeywords === null);
        found.rest = this.expression();
      } else if (this.stream.skip("operator", "**")) {
        ensure(found.restKeywords === null);
        found.restKeywords = this.expression();
      } else if (this.stream.is("name") && kind === "operator" && text === "=") {
        ensure(found.restKeywords === null);
        const name = this.stream.next().text;
        this.stream.next();
        found.keywords.push({ name, value: this.expression() });
      } else {
        ensure(found.rest === null && found.restKeywords === null && found.keywords.length === 0);
        found.positional.push(this.expression());
      }
    });
    return found;
  }

  /** A filter's name and arguments; the bar, if any, is behind. */
  protected filter(value: Expression | null): Filter {
    const name = this.#dottedName();
    return { type: "filter", value, name, arguments: this.stream.isOperator("(") ? this.#arguments() : NO_ARGUMENTS };
  }

  #dottedName(): string {
    let name = this.stream.expect("name").text;
    while (this.stream.skip("operator", ".")) name += `.${this.stream.expect("name").text}`;
    return name;
  }

  #test(value: Expression): Expression {
    const negated = this.stream.skip("name", "not");
    const name = this.#dottedName();
    const test: Expression = { type: "test", value, name, arguments: this.#testArguments() };
    return negated ? { type: "not", value: test } : test;
  }

  /** A test's one argument needs no parentheses. */
  #testArguments(): Arguments {
    if (this.stream.isOperator("(")) return this.#arguments();
    const begins =
      this.stream.is("name") ||
      this.stream.is("string") ||
      this.stream.is("number") ||
      this.stream.isOperator("[", "{");
    if (!begins || this.stream.isName("else", "or", "and")) return NO_ARGUMENTS;
    if (this.stream.isName("is")) this.stream.fail("You cannot chain multiple tests with is");
    return { ...NO_ARGUMENTS, positional: [this.#postfix(this.#primary())] };
  }

  /**
   * What is assigned to: a name, an attribute of a namespace where `namespaces` are allowed, or several.
   * @param ends a name that ends it.
   */
  protected target(namespaces: boolean, ends: string[] = []): Target {
    const targets: Target[] = [];
    let isTuple = false;
    for (;;) {
      if (targets.length > 0) this.stream.expect("operator", ",");
      if (this.#tupleEnds(ends)) break;
      targets.push(this.#singleTarget(namespaces, ends));
      if (!this.stream.isOperator(",")) break;
      isTuple = true;
    }
    if (isTuple) return { type: "targets", targets };
    return targets[0] ?? this.stream.fail(`Expected an expression, got ${describe(this.stream.current)}`);
  }

  #singleTarget(namespaces: boolean, ends: string[]): Target {
    if (this.stream.skip("operator", "(")) {
      const inner = this.target(namespaces, ends);
      this.stream.expect("operator", ")");
      return inner;
    }
    const name = this.nameTarget();
    if (!namespaces || !this.stream.skip("operator", ".")) return { type: "name", name };
    this.mentions.add(name);
    return { type: "namespace", name, attribute: this.stream.expect("name").text };
  }

  /** A name that may be assigned to. */
  protected nameTarget(): string {
    const { text, line } = this.stream.expect("name");
    if (CONSTANTS.has(text)) this.stream.fail(`can't assign to '${text}'`, line);
    return text;
  }
}
