/** What templates call and runs template code: macros, recursive loops, blocks. And the object `loop`. */

import { fail } from "./errors.ts";
import type { Code, Scope } from "./machine.ts";
import type { MacroBody } from "./nodes.ts";
import { equal } from "./operators.ts";
import { Attributes, Func, Tuple, Undefined, type Value } from "./values.ts";

export class Macro extends Attributes {
  readonly typeName = "Macro";
  override readonly callable = true;

  constructor(
    readonly body: MacroBody,
    readonly code: Code,
    /** Where it was defined: what it sees of variables. */
    readonly scope: Scope,
  ) {
    super();
  }

  attribute(name: string): Value | undefined {
    const { mentions, parameters } = this.body;
    if (name === "name") return this.body.name;
    if (name === "arguments") return new Tuple(parameters.map((parameter) => parameter.name));
    if (name === "caller") return mentions.has("caller");
    if (name === "catch_kwargs") return mentions.has("kwargs");
    return name === "catch_varargs" ? mentions.has("varargs") : undefined;
  }

  describe(): string {
    return this.body.name === null ? "<Macro anonymous>" : `<Macro '${this.body.name}'>`;
  }
}

/** A block, as {{ self.name() }} writes it once more. */
export class BlockReference extends Attributes {
  readonly typeName = "BlockReference";
  override readonly callable = true;

  constructor(readonly code: Code) {
    super();
  }

  attribute(): undefined {
    return undefined;
  }

  describe(): string {
    return "<BlockReference>";
  }
}

/** `self`: the blocks by name. */
export class TemplateReference extends Attributes {
  readonly typeName = "TemplateReference";

  constructor(readonly blocks: ReadonlyMap<string, Code>) {
    super();
  }

  attribute(name: string): Value | undefined {
    const code = this.blocks.get(name);
    return code && new BlockReference(code);
  }

  describe(): string {
    return "<TemplateReference None>";
  }
}

/** `loop`. It reads its items one ahead at most, unless its length is asked for. */
export class LoopContext extends Attributes {
  readonly typeName = "LoopContext";
  override readonly callable = true;
  index0 = -1;
  #items: Iterator<Value>;
  #length: number | undefined;
  #before: Value | undefined;
  #current: Value | undefined;
  #after: Value | undefined;
  #lastChanged: readonly Value[] | undefined;

  /**
   * @param length of `items`, where it is known.
   * @param recursion what calling the loop runs; null where it is not recursive.
   */
  constructor(
    items: Iterator<Value>,
    length: number | undefined,
    readonly recursion: { code: Code; scope: Scope } | null,
    readonly depth0: number,
  ) {
    super();
    this.#items = items;
    this.#length = length;
  }

  /** The next item, which is then the current one; undefined after the last. */
  next(): Value | undefined {
    const item = this.#peek();
    if (item === undefined) return undefined;
    this.#after = undefined;
    this.#before = this.#current;
    this.#current = item;
    this.index0++;
    return item;
  }

  #peek(): Value | undefined {
    if (this.#after === undefined) {
      const { done, value } = this.#items.next();
      this.#after = done ? undefined : value;
    }
    return this.#after;
  }

  get length(): number {
    if (this.#length === undefined) {
      const rest = [...{ [Symbol.iterator]: () => this.#items }];
      this.#items = rest.values();
      this.#length = rest.length + this.index0 + 1 + (this.#after === undefined ? 0 : 1);
    }
    return this.#length;
  }

  attribute(name: string): Value | undefined {
    switch (name) {
      case "index":
        return this.index0 + 1;
      case "index0":
        return this.index0;
      case "first":
        return this.index0 === 0;
      case "last":
        return this.#peek() === undefined;
      case "length":
        return this.length;
      case "revindex":
        return this.length - this.index0;
      case "revindex0":
        return this.length - this.index0 - 1;
      case "previtem":
        return this.#before ?? (this.#before === null ? null : new Undefined("there is no previous item"));
      case "nextitem": {
        const item = this.#peek();
        return item === undefined ? new Undefined("there is no next item") : item;
      }
      case "depth":
        return this.depth0 + 1;
      case "depth0":
        return this.depth0;
      case "cycle":
        return new Func("cycle", (args) => this.#cycle(args));
      case "changed":
        return new Func("changed", (args) => this.#changed(args));
      default:
        return undefined;
    }
  }

  #cycle(args: readonly Value[]): Value {
    return args.length === 0 ? fail("TypeError", "no items for cycling given") : args[this.index0 % args.length]!;
  }

  #changed(args: readonly Value[]): boolean {
    const last = this.#lastChanged;
    if (last && equal([...last], [...args])) return false;
    this.#lastChanged = args;
    return true;
  }

  describe(): string {
    return `<LoopContext ${this.index0 + 1}/${this.length}>`;
  }
}
