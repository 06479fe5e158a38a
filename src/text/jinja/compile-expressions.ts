/** Expressions → operations that leave one value on the machine's stack. */
import { getAttribute, getItem } from "./attributes.ts";
import { allowJoined } from "./budget.ts";
import { fail } from "./errors.ts";
import { FILTERS } from "./filters.ts";
import type { Code, Machine, Operation } from "./machine.ts";
import { type Native, NO_KWARGS } from "./native.ts";
import type { Arguments, Comparison, Expression, Filter } from "./nodes.ts";
import { arithmetic, contains, equal, list, ordered, signed, truth } from "./operators.ts";
import { quote, str } from "./print.ts";
import { Slice, sliced } from "./slices.ts";
import { TESTS } from "./tests.ts";
import { Dict, type Kwargs, Tuple, textOf, typeName, Undefined, type Value } from "./values.ts";

/** Takes the arguments of a call off the stack. */
type TakeArguments = (machine: Machine) => { args: Value[]; kwargs: Kwargs };

export class ExpressionCompiler {
  readonly code: Code = [];
  /** In an if, a filter or test that does not exist is an error only when it is reached. */
  protected soft = false;

  protected emit(operation: Operation): void {
    this.code.push(operation);
  }

  /** Emits a jump whose target is set later, by the function that comes back: to the place it is called at. */
  protected emitJump(make: (target: () => number) => Operation): () => void {
    let target = 0;
    this.emit(make(() => target));
    return () => {
      target = this.code.length;
    };
  }

  protected jump(): () => void {
    return this.emitJump((target) => (machine) => machine.jump(target()));
  }

  protected jumpIfFalse(): () => void {
    return this.emitJump((target) => (machine) => {
      if (!truth(machine.pop())) machine.jump(target());
    });
  }

  expression(node: Expression): void {
    switch (node.type) {
      case "constant": {
        const { value } = node;
        this.emit((machine) => machine.push(value));
        break;
      }
      case "name": {
        const { name } = node;
        this.emit((machine) => machine.push(machine.scope.get(name)));
        break;
      }
      case "attribute": {
        const { object, name } = node;
        this.expression(object);
        this.emit((machine) => machine.push(getAttribute(machine.pop(), name)));
        break;
      }
      case "item":
        if (node.key.type === "slice")
          this.#binary(node.object, node.key, (object, key) => sliced(object, key as Slice));
        else this.#binary(node.object, node.key, getItem);
        break;
      case "slice":
        this.#slice([node.start, node.stop, node.step]);
        break;
      case "list":
        this.#collect(node.items, (items) => items);
        break;
      case "tuple":
        this.#collect(node.items, (items) => new Tuple(items));
        break;
      case "dict":
        this.#dict(node.entries);
        break;
      case "call":
        this.call(node.callee, node.arguments);
        break;
      case "filter":
        this.filter(node);
        break;
      case "test":
        this.expression(node.value);
        this.#apply("test", node.name, TESTS.get(node.name), node.arguments, (result) => truth(result));
        break;
      case "sign": {
        const { sign } = node;
        this.#unary(node.value, (value) => signed(sign, value));
        break;
      }
      case "not":
        this.#unary(node.value, (value) => !truth(value));
        break;
      case "arithmetic": {
        const { operator } = node;
        this.#binary(node.left, node.right, (left, right) => arithmetic(operator, left, right));
        break;
      }
      case "concat":
        this.#collect(node.parts, concatenated);
        break;
      case "compare":
        this.#compare(node.first, node.rest);
        break;
      case "and":
      case "or":
        this.#logical(node.left, node.right, node.type === "or");
        break;
      case "condition":
        this.#condition(node.test, node.yes, node.no);
        break;
    }
  }

  #unary(value: Expression, run: (value: Value) => Value): void {
    this.expression(value);
    this.emit((machine) => machine.push(run(machine.pop())));
  }

  #binary(left: Expression, right: Expression, run: (left: Value, right: Value) => Value): void {
    this.expression(left);
    this.expression(right);
    this.emit((machine) => {
      const second = machine.pop();
      machine.push(run(machine.pop(), second));
    });
  }

  #collect(items: Expression[], make: (values: Value[]) => Value): void {
    for (const item of items) this.expression(item);
    const { length } = items;
    this.emit((machine) => machine.push(make(machine.popMany(length))));
  }

  #slice(parts: (Expression | null)[]): void {
    const nodes = parts.map((part): Expression => part ?? { type: "constant", value: null });
    this.#collect(nodes, ([start, stop, step]) => new Slice(start!, stop!, step!));
  }

  #dict(entries: [Expression, Expression][]): void {
    this.#collect(entries.flat(), (values) => {
      const dict = new Dict();
      for (let i = 0; i < values.length; i += 2) dict.set(values[i]!, values[i + 1]!);
      return dict;
    });
  }

  #compare(first: Expression, rest: { operator: Comparison; value: Expression }[]): void {
    this.expression(first);
    const ends: (() => void)[] = [];
    for (const [i, { operator, value }] of rest.entries()) {
      this.expression(value);
      const last = i === rest.length - 1;
      const end = this.emitJump((target) => (machine) => {
        const right = machine.pop();
        const result = compared(operator, machine.pop(), right);
        if (last || !result) {
          machine.push(result);
          machine.jump(target());
        } else machine.push(right);
      });
      ends.push(end);
    }
    for (const end of ends) end();
  }

  /** The second operand is computed only where the first does not decide. */
  #logical(left: Expression, right: Expression, decidedBy: boolean): void {
    this.expression(left);
    const end = this.emitJump((target) => (machine) => {
      const value = machine.pop();
      if (truth(value) !== decidedBy) return;
      machine.push(value);
      machine.jump(target());
    });
    this.expression(right);
    end();
  }

  #condition(test: Expression, yes: Expression, no: Expression | null): void {
    const { soft } = this;
    this.soft = true;
    this.expression(test);
    const otherwise = this.jumpIfFalse();
    this.expression(yes);
    const end = this.jump();
    otherwise();
    if (no !== null) this.expression(no);
    else this.emit((machine) => machine.push(new Undefined(NO_ELSE)));
    end();
    this.soft = soft;
  }

  /** @param caller emits one more argument, named `caller`. */
  protected call(callee: Expression, args: Arguments, caller?: () => void): void {
    this.expression(callee);
    const take = this.#arguments(args, caller);
    this.emit((machine) => {
      const given = take(machine);
      machine.call(machine.pop(), given.args, given.kwargs);
    });
  }

  /** A filter; its value is on the stack already where the node has none. */
  protected filter(node: Filter): void {
    if (node.value !== null) this.expression(node.value);
    this.#apply("filter", node.name, FILTERS.get(node.name), node.arguments, (result) => result);
  }

  #apply(
    what: "filter" | "test",
    name: string,
    run: Native | undefined,
    args: Arguments,
    finish: (result: Value) => Value,
  ): void {
    if (run === undefined && !this.soft) fail("TemplateSyntaxError", `No ${what} named ${quote(name)}.`);
    const take = this.#arguments(args);
    this.emit((machine) => {
      const { args: given, kwargs } = take(machine);
      if (run === undefined) fail("TemplateRuntimeError", `No ${what} named ${quote(name)} found.`);
      given.unshift(machine.pop());
      machine.push(finish(run.call(given, kwargs)));
    });
  }

  #arguments({ positional, keywords, rest, restKeywords }: Arguments, caller?: () => void): TakeArguments {
    for (const argument of positional) this.expression(argument);
    if (rest !== null) this.expression(rest);
    for (const { value } of keywords) this.expression(value);
    if (restKeywords !== null) this.expression(restKeywords);
    caller?.();
    const names = keywords.map(({ name }) => name);
    const seen = new Set<string>();
    const repeated = names.find((name) => seen.size === seen.add(name).size);
    if (repeated !== undefined) fail("TemplateSyntaxError", `keyword argument repeated: ${repeated}`);
    if (names.length === 0 && rest === null && restKeywords === null && !caller) {
      return (machine) => ({ args: machine.popMany(positional.length), kwargs: NO_KWARGS });
    }
    return (machine) => {
      const kwargs = new Map<string, Value>();
      const block = caller && machine.pop();
      const others = restKeywords === null ? null : machine.pop();
      const values = machine.popMany(names.length);
      for (const [i, name] of names.entries()) kwargs.set(name, values[i]!);
      if (others !== null) addKeywords(kwargs, others);
      if (block !== undefined) kwargs.set("caller", block);
      const more = rest === null ? [] : list(machine.pop());
      return { args: [...machine.popMany(positional.length), ...more], kwargs };
    };
  }
}

const NO_ELSE = "the inline if-expression evaluated to false and no else section was defined.";

function concatenated(parts: Value[]): string {
  const texts = parts.map(str);
  const length = texts.reduce((sum, text) => sum + text.length, 0);
  allowJoined(length);
  // Not join(): what + makes shares the memory of its parts, and templates grow texts piece by piece.
  return texts.reduce((joined, text) => joined + text, "");
}

function compared(operator: Comparison, left: Value, right: Value): boolean {
  if (operator === "==") return equal(left, right);
  if (operator === "!=") return !equal(left, right);
  if (operator === "in") return contains(right, left);
  return operator === "not in" ? !contains(right, left) : ordered(operator, left, right);
}

/** Adds the keywords of **others. */
function addKeywords(kwargs: Map<string, Value>, others: Value): void {
  if (others instanceof Undefined) others.fail();
  if (!(others instanceof Dict)) fail("TypeError", `argument after ** must be a mapping, not ${typeName(others)}`);
  for (const [key, value] of others.entries()) {
    const name = textOf(key);
    if (name === undefined) fail("TypeError", "keywords must be strings");
    if (kwargs.has(name)) fail("TypeError", `got multiple values for keyword argument ${quote(name)}`);
    kwargs.set(name, value);
  }
}
