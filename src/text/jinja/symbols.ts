/**
 * Jinja2 decides when it compiles where a name comes from. A name that a scope assigns is that scope's own from the start:
 * a loop or macro in it that reads the name too early finds nothing, even where an outer variable has the name. This finds
 * those names (jinja2/idtracking.py does the same for all names).
 */
import type { Expression, Filter, Statement, Target } from "./nodes.ts";

/** The names that a scope knows when all of it is compiled. */
export class Symbols {
  readonly #known: Set<string>;
  /** Read by scopes inside, so far. */
  readonly #readInside = new Set<string>();
  /** To be hidden from the start of the scope until they are assigned. */
  readonly hidden = new Set<string>();

  /** Branches of ifs around the current place. */
  #branches = 0;

  private constructor(
    readonly around: Symbols | null,
    parameters: Iterable<string>,
  ) {
    this.#known = new Set(parameters);
  }

  /**
   * @param around the scope around this one.
   * @param parameters names that the scope has from the start.
   */
  static of(statements: Statement[], around: Symbols | null, parameters: Iterable<string> = []): Symbols {
    const symbols = new Symbols(around, parameters);
    symbols.#statements(statements);
    return symbols;
  }

  #knows(name: string): boolean {
    if (this.#known.has(name)) return true;
    return this.around === null ? false : this.around.#knows(name);
  }

  #load(node: unknown): void {
    for (const name of namesIn(node)) this.#known.add(name);
  }

  #store(name: string): void {
    if (this.#knows(name)) return;
    this.#known.add(name);
    // What only a branch assigns may still come from outside.
    if (this.#branches === 0 && this.#readInside.has(name)) this.hidden.add(name);
  }

  #target(target: Target): void {
    if (target.type === "name") this.#store(target.name);
    else if (target.type === "namespace") this.#known.add(target.name);
    else for (const part of target.targets) this.#target(part);
  }

  /** Statements with a scope of their own. */
  #inside(node: unknown): void {
    for (const name of namesIn(node)) this.#readInside.add(name);
  }

  #statements(statements: Statement[]): void {
    for (const statement of statements) this.#statement(statement);
  }

  #statement(node: Statement): void {
    switch (node.type) {
      case "output":
        this.#load(node.value);
        break;
      case "if":
        this.#if(node.branches, node.otherwise);
        break;
      case "for":
        this.#load(node.items);
        this.#inside([node.filter, node.body, node.otherwise]);
        break;
      case "set":
        this.#load(node.value);
        this.#target(node.target);
        break;
      case "set block":
        this.#inside([node.body, node.filter]);
        this.#target(node.target);
        break;
      case "with":
        this.#load(node.values);
        this.#inside(node.body);
        break;
      case "filter block":
        this.#load(argumentsOf(node.filter));
        this.#inside(node.body);
        break;
      case "macro":
        this.#inside([node.macro.parameters, node.macro.body]);
        this.#store(node.macro.name!);
        break;
      case "call block":
        this.#load(node.call);
        this.#inside([node.macro.parameters, node.macro.body]);
        break;
      case "generation":
        this.#inside(node.body);
        break;
      case "autoescape":
        this.#inside([node.value, node.body]);
        break;
    }
  }

  #if(branches: { test: Expression; body: Statement[] }[], otherwise: Statement[]): void {
    this.#load(branches[0]!.test);
    this.#branches++;
    for (const { test, body } of branches) {
      this.#load(test);
      this.#statements(body);
    }
    this.#statements(otherwise);
    this.#branches--;
  }
}

function argumentsOf(filter: Filter): unknown[] {
  return [filter.arguments, filter.value?.type === "filter" ? argumentsOf(filter.value) : []];
}

/** The names that are read anywhere in a piece of a template. */
function* namesIn(node: unknown): Generator<string> {
  if (Array.isArray(node)) for (const part of node) yield* namesIn(part);
  else if (typeof node === "object" && node !== null) {
    const { type, name, value } = node as { type?: string; name?: string; value?: unknown };
    if (type === "constant") return;
    if (type === "name") yield name!;
    else for (const part of Object.values(node)) if (part !== value || typeof value === "object") yield* namesIn(part);
  }
}
