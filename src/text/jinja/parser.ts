/** The parser of statements: a template's text → what it is made of. */
import { ExpressionParser } from "./expressions.ts";
import type { Expression, Filter, For, MacroBody, Statement } from "./nodes.ts";

/** @throws TemplateError TemplateSyntaxError; RangeError where it nests too deeply. */
export function parse(source: string): Statement[] {
  return new Parser(source).template();
}

/** Blocks in blocks. Python, which Jinja2 compiles to, allows about 100. */
const MAX_DEPTH = 100;

class Parser extends ExpressionParser {
  /** Loops around the current place, as far as the innermost macro. */
  #loops = 0;
  /** All loops around the current place. */
  #fors = 0;
  readonly #blocks = new Set<string>();
  /** Blocks around the current place. */
  #depth = 0;

  template(): Statement[] {
    return this.#statements([]);
  }

  /** Statements up to one of the tags `ends`, which is the current token afterwards; up to the end where there are none. */
  #statements(ends: string[]): Statement[] {
    if (++this.#depth > MAX_DEPTH) this.stream.fail("blocks nest too deeply");
    const statements = this.#statementsAt(ends);
    this.#depth--;
    return statements;
  }

  #statementsAt(ends: string[]): Statement[] {
    const out: Statement[] = [];
    for (;;) {
      const token = this.stream.current;
      if (token.kind === "eof") {
        if (ends.length > 0)
          this.stream.fail(`Unexpected end of template: ${ends.map((end) => `'${end}'`).join(" or ")} is missing`);
        return out;
      }
      this.stream.next();
      if (token.kind === "data") out.push({ type: "data", text: token.text });
      else if (token.text === "{{") {
        out.push({ type: "output", value: this.tuple() });
        this.stream.expect("end", "}}");
      } else {
        if (ends.length > 0 && this.stream.isName(...ends)) return out;
        out.push(...this.#statement(ends));
        this.stream.expect("end", "%}");
      }
    }
  }

  /** The body of a block tag up to `end`, which is behind afterwards. */
  #body(end: string): Statement[] {
    const body = this.#bodyUpTo([end]);
    this.stream.next();
    return body;
  }

  #bodyUpTo(ends: string[]): Statement[] {
    this.stream.skip("operator", ":");
    this.stream.expect("end", "%}");
    return this.#statements(ends);
  }

  #statement(ends: string[]): Statement[] {
    const { text, line } = this.stream.expect("name");
    switch (text) {
      case "if":
        return [this.#if()];
      case "for":
        return [this.#for()];
      case "set":
        return [this.#set()];
      case "macro":
        return [{ type: "macro", macro: this.#macro(this.nameTarget(), "endmacro") }];
      case "call":
        return [this.#callBlock()];
      case "with":
        return [this.#with()];
      case "filter":
        return [{ type: "filter block", filter: this.#filters(this.filter(null)), body: this.#body("endfilter") }];
      case "generation":
        return [{ type: "generation", body: this.#macroBody(null, [], "endgeneration").body }];
      case "block":
        return [this.#block()];
      case "print":
        return this.#print();
      case "autoescape":
        return [{ type: "autoescape", value: this.expression(), body: this.#body("endautoescape") }];
      case "break":
      case "continue":
        if (this.#loops === 0) this.stream.fail(`'${text}' outside loop`, line);
        return [{ type: text }];
      case "extends":
      case "include":
      case "import":
      case "from":
        return [this.#otherTemplate(text)];
      default: {
        const expected =
          ends.length > 0 ? ` The innermost block needs ${ends.map((end) => `'${end}'`).join(" or ")}.` : "";
        return this.stream.fail(`Encountered unknown tag '${text}'.${expected}`, line);
      }
    }
  }

  #if(): Statement {
    const branches: { test: Expression; body: Statement[] }[] = [];
    let otherwise: Statement[] = [];
    for (;;) {
      const test = this.tuple({ withCondition: false });
      branches.push({ test, body: this.#bodyUpTo(["elif", "else", "endif"]) });
      const { text } = this.stream.next();
      if (text === "else") otherwise = this.#body("endif");
      if (text !== "elif") return { type: "if", branches, otherwise };
    }
  }

  #for(): For {
    this.#fors++;
    const target = this.target(false, ["in"]);
    this.stream.expect("name", "in");
    const items = this.tuple({ withCondition: false, ends: ["recursive"] });
    const filter = this.stream.skip("name", "if") ? this.expression() : null;
    const recursive = this.stream.skip("name", "recursive");
    const around = this.mentions;
    this.mentions = new Set();
    this.#loops++;
    const body = this.#bodyUpTo(["endfor", "else"]);
    this.#loops--;
    const usesLoop = this.mentions.has("loop");
    for (const name of this.mentions) around.add(name);
    this.mentions = around;
    const otherwise = this.stream.next().text === "else" ? this.#body("endfor") : [];
    this.#fors--;
    return { type: "for", target, items, filter, recursive, body, otherwise, usesLoop };
  }

  protected override nameTarget(): string {
    if (this.#fors > 0 && this.stream.isName("loop")) {
      this.stream.fail("Can't assign to special loop variable in for-loop target");
    }
    return super.nameTarget();
  }

  #set(): Statement {
    const target = this.target(true);
    if (this.stream.skip("operator", "=")) return { type: "set", target, value: this.tuple() };
    const filter = this.stream.skip("operator", "|") ? this.#filters(this.filter(null)) : null;
    return { type: "set block", target, filter, body: this.#body("endset") };
  }

  /** More filters after the first one. */
  #filters(first: Filter): Filter {
    let filter = first;
    while (this.stream.skip("operator", "|")) filter = this.filter(filter);
    return filter;
  }

  #with(): Statement {
    const with_: Statement & { type: "with" } = { type: "with", targets: [], values: [], body: [] };
    while (!this.stream.is("end")) {
      if (with_.targets.length > 0) this.stream.expect("operator", ",");
      with_.targets.push(this.target(false));
      this.stream.expect("operator", "=");
      with_.values.push(this.expression());
    }
    with_.body = this.#body("endwith");
    return with_;
  }

  #signature(): MacroBody["parameters"] {
    const parameters: MacroBody["parameters"] = [];
    this.stream.expect("operator", "(");
    while (!this.stream.isOperator(")")) {
      if (parameters.length > 0) this.stream.expect("operator", ",");
      const name = super.nameTarget();
      const fallback = this.stream.skip("operator", "=") ? this.expression() : null;
      if (fallback === null && parameters.at(-1)?.fallback)
        this.stream.fail("non-default argument follows default argument");
      parameters.push({ name, fallback });
    }
    this.stream.expect("operator", ")");
    return parameters;
  }

  /** A macro from its parameters on. */
  #macro(name: string, end: string): MacroBody {
    return this.#macroBody(name, this.#signature(), end);
  }

  #macroBody(name: string | null, parameters: MacroBody["parameters"], end: string): MacroBody {
    const [around, loops] = [this.mentions, this.#loops];
    this.mentions = new Set();
    this.#loops = 0;
    const body = this.#body(end);
    const { mentions } = this;
    for (const mention of mentions) around.add(mention);
    this.mentions = around;
    this.#loops = loops;
    const caller = parameters.find((parameter) => parameter.name === "caller");
    if (caller && caller.fallback === null && mentions.has("caller")) {
      this.stream.fail(
        'When defining macros or call blocks the special "caller" argument must be omitted or be given a default.',
      );
    }
    return { name, parameters, body, mentions };
  }

  #callBlock(): Statement {
    const parameters = this.stream.isOperator("(") ? this.#signature() : [];
    const call = this.expression();
    if (call.type !== "call") return this.stream.fail("expected call");
    return { type: "call block", call, macro: this.#macroBody(null, parameters, "endcall") };
  }

  #block(): Statement {
    const { text: name, line } = this.stream.expect("name");
    if (this.#blocks.has(name)) this.stream.fail(`block '${name}' defined twice`, line);
    this.#blocks.add(name);
    const scoped = this.stream.skip("name", "scoped");
    this.stream.skip("name", "required");
    const loops = this.#loops;
    this.#loops = 0;
    const body = this.#body("endblock");
    this.#loops = loops;
    this.stream.skip("name", name);
    return { type: "block", name, scoped, body };
  }

  #print(): Statement[] {
    const out: Statement[] = [];
    while (!this.stream.is("end")) {
      if (out.length > 0) this.stream.expect("operator", ",");
      out.push({ type: "output", value: this.expression() });
    }
    return out;
  }

  /** Read to its end, so that only a template that gets there fails. */
  #otherTemplate(tag: string): Statement {
    this.expression();
    if (tag === "import") {
      this.stream.expect("name", "as");
      this.nameTarget();
    }
    if (tag === "from") this.stream.expect("name", "import");
    while (!this.stream.is("end")) this.stream.next();
    return { type: "other template" };
  }
}
