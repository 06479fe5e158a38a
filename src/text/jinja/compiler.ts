/** Statements → the machine's operations. */
import { Macro, TemplateReference } from "./callables.ts";
import { ExpressionCompiler } from "./compile-expressions.ts";
import { fail } from "./errors.ts";
import type { Code, Machine } from "./machine.ts";
import type { Expression, Filter, For, MacroBody, Statement, Target } from "./nodes.ts";
import { iterate, iterator, requireNamespace, truth } from "./operators.ts";
import { quote, str } from "./print.ts";
import { Symbols } from "./symbols.ts";
import { textOf, typeName, Undefined, type Value } from "./values.ts";

/** The operations of a template. @throws TemplateError TemplateSyntaxError; RangeError where it nests too deeply. */
export function compile(statements: Statement[]): Code {
  const blocks = new Map<string, Code>();
  const compiler = new Compiler(blocks, Symbols.of(statements, null));
  compiler.prelude();
  compiler.scope(statements);
  return compiler.code;
}

/** Where break and continue go. */
interface LoopLabels {
  next: number;
  /** Jumps to the loop's end, to be set. */
  breaks: (() => void)[];
}

class Compiler extends ExpressionCompiler {
  readonly #blocks: Map<string, Code>;
  readonly #loops: LoopLabels[] = [];
  #symbols: Symbols;

  /** @param symbols of the scope that is compiled. */
  constructor(blocks: Map<string, Code>, symbols: Symbols) {
    super();
    this.#blocks = blocks;
    this.#symbols = symbols;
  }

  /** `self`, which every template has. */
  prelude(): void {
    const self = new TemplateReference(this.#blocks);
    this.emit((machine) => machine.scope.set("self", self));
  }

  statements(statements: Statement[]): void {
    for (const statement of statements) this.#statement(statement);
  }

  /** The statements of the scope that has just begun. */
  scope(statements: Statement[]): void {
    for (const name of this.#symbols.hidden) {
      this.emit((machine) => machine.scope.set(name, new Undefined(`${quote(name)} is undefined`)));
    }
    this.statements(statements);
  }

  /** The statements of a scope inside. @param parameters names that it has from the start. */
  #inside(statements: Statement[], parameters: string[] = []): void {
    const { soft } = this;
    const around = this.#symbols;
    this.soft = false;
    this.#symbols = Symbols.of(statements, around, parameters);
    this.scope(statements);
    this.#symbols = around;
    this.soft = soft;
  }

  /** The statements of a block with a scope of its own. */
  #scoped(body: Statement[]): void {
    this.emit((machine) => machine.openScope());
    this.#inside(body);
    this.emit((machine) => machine.closeScope());
  }

  #statement(node: Statement): void {
    switch (node.type) {
      case "data": {
        const { text } = node;
        this.emit((machine) => machine.write(text));
        break;
      }
      case "output":
        this.expression(node.value);
        this.#output();
        break;
      case "if":
        this.#if(node.branches, node.otherwise);
        break;
      case "for":
        if (node.recursive) this.#recursiveFor(node);
        else this.#for(node);
        break;
      case "break":
        this.#loops.at(-1)!.breaks.push(this.jump());
        break;
      case "continue": {
        const { next } = this.#loops.at(-1)!;
        this.emit((machine) => machine.jump(next));
        break;
      }
      case "set":
        this.#checkNamespaces(node.target);
        this.expression(node.value);
        this.#assign(node.target);
        break;
      case "set block":
        this.#captured(node.body);
        if (node.filter) this.#filterCaptured(node.filter);
        this.#assign(node.target);
        break;
      case "with":
        this.#with(node.targets, node.values, node.body);
        break;
      case "filter block":
        this.#captured(node.body);
        this.#filterCaptured(node.filter);
        this.#outputText();
        break;
      case "macro": {
        this.#macro(node.macro);
        this.#assign({ type: "name", name: node.macro.name! });
        break;
      }
      case "call block":
        this.call(node.call.callee, node.call.arguments, () => this.#macro(node.macro));
        this.#outputText();
        break;
      case "generation":
        this.#scoped(node.body);
        break;
      case "block":
        this.#block(node.name, node.scoped, node.body);
        break;
      case "autoescape":
        this.expression(node.value);
        this.emit((machine) => {
          if (truth(machine.pop())) fail("TemplateRuntimeError", "autoescape is not supported: a prompt is no HTML");
        });
        this.#scoped(node.body);
        break;
      case "other template":
        this.emit(() => fail("TypeError", "no loader for this environment specified"));
        break;
    }
  }

  #output(): void {
    this.emit((machine) => machine.write(str(machine.pop())));
  }

  /** Writes what must be text: Jinja2 does not convert it here. */
  #outputText(): void {
    this.emit((machine) => {
      const value = machine.pop();
      const text = textOf(value);
      if (text === undefined) fail("TypeError", `expected str instance, ${typeName(value)} found`);
      machine.write(text);
    });
  }

  #if(branches: { test: Expression; body: Statement[] }[], otherwise: Statement[]): void {
    const { soft } = this;
    this.soft = true;
    const ends: (() => void)[] = [];
    for (const { test, body } of branches) {
      this.expression(test);
      const next = this.jumpIfFalse();
      this.statements(body);
      ends.push(this.jump());
      next();
    }
    this.statements(otherwise);
    for (const end of ends) end();
    this.soft = soft;
  }

  /** Text kept instead of written, pushed at the end. */
  #captured(body: Statement[]): void {
    this.emit((machine) => machine.openOutput());
    this.#scoped(body);
    this.emit((machine) => machine.push(machine.closeOutput()));
  }

  /** A chain of filters whose innermost value is on the stack. */
  #filterCaptured(node: Filter): void {
    if (node.value?.type === "filter") this.#filterCaptured(node.value);
    this.filter({ ...node, value: null });
  }

  #with(targets: Target[], values: Expression[], body: Statement[]): void {
    // All values are computed outside, before the first is assigned.
    for (const value of values) this.expression(value);
    this.emit((machine) => machine.openScope());
    for (const target of targets.toReversed()) this.#assign(target);
    this.#inside(body, targets.flatMap(namesOf));
    this.emit((machine) => machine.closeScope());
  }

  /** Assigns the topmost value. */
  #assign(target: Target): void {
    const assign = assigner(target);
    this.emit((machine) => assign(machine, machine.pop()));
  }

  #checkNamespaces(target: Target): void {
    if (target.type === "targets") for (const part of target.targets) this.#checkNamespaces(part);
    if (target.type !== "namespace") return;
    const { name } = target;
    this.emit((machine) => requireNamespace(machine.scope.get(name)));
  }

  /** Compiles code that runs in a frame of its own. */
  #separate(symbols: Symbols, emit: (compiler: Compiler) => void): Code {
    const compiler = new Compiler(this.#blocks, symbols);
    emit(compiler);
    return compiler.code;
  }

  /** Pushes a macro. */
  #macro(macro: MacroBody): void {
    const parameters = macro.parameters.map(({ name }) => name);
    const symbols = Symbols.of(macro.body, this.#symbols, [...parameters, "caller", "kwargs", "varargs"]);
    const code = this.#separate(symbols, (compiler) => {
      for (const { name, fallback } of macro.parameters) compiler.#parameter(name, fallback);
      compiler.scope(macro.body);
    });
    this.emit((machine) => machine.push(new Macro(macro, code, machine.scope)));
  }

  /** Gives a parameter that the caller left out its default. */
  #parameter(name: string, fallback: Expression | null): void {
    const given = this.emitJump((target) => (machine) => {
      if (machine.scope.variables.has(name)) machine.jump(target());
    });
    if (fallback) this.expression(fallback);
    else this.emit((machine) => machine.push(new Undefined(`parameter ${quote(name)} was not provided`)));
    this.#assign({ type: "name", name });
    given();
  }

  #block(name: string, scoped: boolean, body: Statement[]): void {
    const symbols = Symbols.of(body, scoped ? this.#symbols : null);
    const code = this.#separate(symbols, (compiler) => compiler.scope(body));
    this.#blocks.set(name, code);
    this.emit((machine) => machine.enterBlock(code, scoped));
    this.#output();
  }

  #for(node: For): void {
    this.expression(node.items);
    // `loop` counts the items that pass the filter: they are found first. Else the filter sees what the body has done.
    if (node.filter && node.usesLoop) this.#filterItems(node);
    this.#loop(node, false);
  }

  #recursiveFor(node: For): void {
    const code = this.#separate(this.#symbols, (compiler) => {
      if (node.filter) compiler.#filterItems(node);
      compiler.#loop(node, true);
    });
    this.expression(node.items);
    this.emit((machine) => machine.enter(code, machine.scope));
    this.#output();
  }

  /** A loop over the topmost value. */
  #loop(node: For, recursive: boolean): void {
    const { soft } = this;
    this.soft = false;
    this.emit((machine) => machine.openLoop(recursive));
    const labels: LoopLabels = { next: this.code.length, breaks: [] };
    const end = this.#nextItem(node.target);
    if (node.filter && !node.usesLoop && !recursive) {
      this.expression(node.filter);
      const { next } = labels;
      this.emit((machine) => {
        if (!truth(machine.pop())) machine.jump(next);
      });
    }
    this.emit((machine) => machine.scope.set("loop", machine.loop.loop));
    this.#loops.push(labels);
    this.#inside(node.body, [...namesOf(node.target), "loop"]);
    this.#loops.pop();
    this.emit((machine) => {
      machine.loop.completed = true;
      machine.jump(labels.next);
    });
    end();
    for (const setBreak of labels.breaks) setBreak();
    const entered = this.emitJump((target) => (machine) => {
      if (machine.closeLoop().completed) machine.jump(target());
    });
    if (node.otherwise.length > 0) this.#scoped(node.otherwise);
    entered();
    this.soft = soft;
  }

  /** Takes the next item; the function that comes back sets where to go after the last. */
  #nextItem(target: Target): () => void {
    const assign = assigner(target);
    return this.emitJump((end) => (machine) => {
      const item = machine.nextItem();
      if (item === undefined) machine.jump(end());
      else assign(machine, item);
    });
  }

  /** Replaces the topmost value by the list of its items that pass the filter. */
  #filterItems(node: For): void {
    this.emit((machine) => machine.openLoop(false));
    const next = this.code.length;
    const { target } = node;
    const end = this.emitJump((at) => (machine) => {
      const item = machine.nextItem();
      if (item === undefined) return machine.jump(at());
      assigner(target)(machine, item);
      machine.loop.kept.push(item);
    });
    this.expression(node.filter!);
    this.emit((machine) => {
      if (!truth(machine.pop())) machine.loop.kept.pop();
      machine.jump(next);
    });
    end();
    this.emit((machine) => machine.push(machine.closeLoop().kept));
  }
}

/** The names that a target assigns. */
function namesOf(target: Target): string[] {
  if (target.type === "name") return [target.name];
  return target.type === "targets" ? target.targets.flatMap(namesOf) : [];
}

function assigner(target: Target): (machine: Machine, value: Value) => void {
  if (target.type === "name") {
    const { name } = target;
    return (machine, value) => machine.scope.set(name, value);
  }
  if (target.type === "namespace") {
    const { name, attribute } = target;
    return (machine, value) => requireNamespace(machine.scope.get(name)).set(attribute, value);
  }
  const assigners = target.targets.map(assigner);
  return (machine, value) => {
    const values = unpack(value, assigners.length);
    for (const [i, assign] of assigners.entries()) assign(machine, values[i]!);
  };
}

function unpack(value: Value, count: number): Value[] {
  if (iterator(value) === undefined) fail("TypeError", `cannot unpack non-iterable ${typeName(value)} object`);
  const values: Value[] = [];
  for (const item of iterate(value)) {
    if (values.length === count) fail("ValueError", `too many values to unpack (expected ${count})`);
    values.push(item);
  }
  if (values.length < count) {
    fail("ValueError", `not enough values to unpack (expected ${count}, got ${values.length})`);
  }
  return values;
}
