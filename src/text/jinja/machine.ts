/**
 * The machine that runs a template: operations one after the other, on a stack of values. Macros and recursive loops
 * have frames of their own rather than calls of JavaScript, so that the machine can pause between any two operations,
 * and depth is a number.
 */
import { callNative } from "./attributes.ts";
import { type Budget, BudgetError, MAX_CALL_DEPTH, spend } from "./budget.ts";
import { BlockReference, LoopContext, Macro } from "./callables.ts";
import { fail } from "./errors.ts";
import { iterator, size } from "./operators.ts";
import { quote } from "./print.ts";
import { TextBuilder } from "./text-builder.ts";
import { Dict, type Kwargs, Tuple, typeName, Undefined, type Value } from "./values.ts";

export type Operation = (machine: Machine) => void;

/** The operations of a template, a macro, a block or a recursive loop. */
export type Code = Operation[];

/** Variables, and those around them. */
export class Scope {
  readonly variables = new Map<string, Value>();

  constructor(readonly parent: Scope | null) {}

  get(name: string): Value {
    for (let scope: Scope | null = this; scope !== null; scope = scope.parent) {
      const value = scope.variables.get(name);
      if (value !== undefined) return value;
    }
    return new Undefined(`${quote(name)} is undefined`);
  }

  set(name: string, value: Value): void {
    this.variables.set(name, value);
  }
}

/** A loop that is running. */
interface RunningLoop {
  loop: LoopContext;
  /** Around the loop. */
  scope: Scope;
  /** Outputs that were open when it began: break and continue drop the later ones. */
  outputs: number;
  /** Has its body run to the end? Otherwise what follows `else` runs: Jinja2 counts break and continue as not run. */
  completed: boolean;
  /** The items that passed its filter, where they are found before the loop begins. */
  kept: Value[];
}

/** A piece of code that is running. */
class Frame {
  next = 0;
  readonly loops: RunningLoop[] = [];
  /** The innermost is the last; a frame's text is in the first. */
  readonly outputs: TextBuilder[] = [new TextBuilder()];

  constructor(
    readonly code: Code,
    public scope: Scope,
    /** Of a recursive loop: how many are around it. */
    readonly loopDepth: number,
  ) {}
}

export class Machine {
  readonly #stack: Value[] = [];
  readonly #frames: Frame[] = [];
  readonly #budget: Budget;
  readonly #root: Scope;
  #frame: Frame;
  #text: string | null = null;

  constructor(code: Code, scope: Scope, budget: Budget) {
    this.#budget = budget;
    this.#root = scope;
    this.#frame = new Frame(code, scope, 0);
    this.#frames.push(this.#frame);
  }

  /**
   * Runs on, for one slice of the budget.
   * @returns the template's text, or null where there is more to do.
   * @throws TemplateError, TemplateRefusal, BudgetError.
   */
  run(): string | null {
    return spend(this.#budget, () => this.#slice());
  }

  #slice(): string | null {
    const budget = this.#budget;
    while (this.#text === null) {
      const frame = this.#frame;
      const operation = frame.code[frame.next++];
      if (operation === undefined) this.#leave();
      else operation(this);
      budget.charge(1);
      if (budget.used > budget.sliceEnd) break;
    }
    return this.#text;
  }

  push(value: Value): void {
    this.#stack.push(value);
  }

  pop(): Value {
    return this.#stack.pop()!;
  }

  /** Takes the topmost `count` values, the oldest first. */
  popMany(count: number): Value[] {
    return count === 0 ? [] : this.#stack.splice(-count);
  }

  jump(target: number): void {
    this.#frame.next = target;
  }

  get scope(): Scope {
    return this.#frame.scope;
  }

  openScope(): void {
    this.#frame.scope = new Scope(this.#frame.scope);
  }

  closeScope(): void {
    this.#frame.scope = this.#frame.scope.parent!;
  }

  write(text: string): void {
    this.#frame.outputs.at(-1)!.add(text);
  }

  /** From here on, text is kept until closeOutput. */
  openOutput(): void {
    this.#frame.outputs.push(new TextBuilder());
  }

  closeOutput(): string {
    return this.#frame.outputs.pop()!.text();
  }

  /** Begins to run `code`; its text is pushed when it ends. */
  enter(code: Code, scope: Scope, loopDepth = 0): void {
    if (this.#frames.length >= MAX_CALL_DEPTH) {
      throw new BudgetError(`macros and loops of the chat template call each other more than ${MAX_CALL_DEPTH} deep`);
    }
    this.#frame = new Frame(code, scope, loopDepth);
    this.#frames.push(this.#frame);
  }

  /** Begins to run a block, which sees the template's own variables only; or those here, where it is scoped. */
  enterBlock(code: Code, scoped: boolean): void {
    this.enter(code, new Scope(scoped ? this.scope : this.#root));
  }

  #leave(): void {
    const text = this.#frames.pop()!.outputs[0]!.text();
    const caller = this.#frames.at(-1);
    if (caller === undefined) this.#text = text;
    else {
      this.#frame = caller;
      this.push(text);
    }
  }

  /** Calls `callee`; the result is pushed, at once or when its code has run. */
  call(callee: Value, args: readonly Value[], kwargs: Kwargs): void {
    if (callee instanceof Macro) this.#callMacro(callee, args, kwargs);
    else if (callee instanceof LoopContext) this.#callLoop(callee, args);
    else if (callee instanceof BlockReference) this.enterBlock(callee.code, false);
    else this.push(callNative(callee, args, kwargs));
  }

  #callMacro({ body, code, scope }: Macro, args: readonly Value[], kwargs: Kwargs): void {
    const { name, parameters, mentions } = body;
    const inner = new Scope(scope);
    const named = new Map(kwargs);
    for (const [i, parameter] of parameters.entries()) {
      const value = args[i] ?? (args[i] === null ? null : named.get(parameter.name));
      if (i >= args.length) named.delete(parameter.name);
      if (value !== undefined) inner.set(parameter.name, value);
    }
    const takes = (special: string) =>
      mentions.has(special) && !parameters.some((parameter) => parameter.name === special);
    if (takes("caller")) {
      inner.set("caller", named.get("caller") ?? new Undefined("No caller defined"));
      named.delete("caller");
    }
    const [unknown] = named.keys();
    if (takes("kwargs")) inner.set("kwargs", new Dict(named));
    else if (unknown !== undefined) {
      fail("TypeError", `macro ${name === null ? "None" : quote(name)} takes no keyword argument ${quote(unknown)}`);
    }
    if (takes("varargs")) inner.set("varargs", new Tuple(args.slice(parameters.length)));
    else if (args.length > parameters.length) {
      fail(
        "TypeError",
        `macro ${name === null ? "None" : quote(name)} takes not more than ${parameters.length} argument(s)`,
      );
    }
    this.enter(code, inner);
  }

  #callLoop({ recursion, depth0 }: LoopContext, args: readonly Value[]): void {
    if (recursion === null) {
      fail("TypeError", "The loop must have the 'recursive' marker to be called recursively.");
    }
    if (args.length !== 1) fail("TypeError", "loop() takes one argument: the items to loop over");
    this.push(args[0]!);
    this.enter(recursion.code, recursion.scope, depth0 + 1);
  }

  /** Begins a loop over the topmost value. */
  openLoop(recursive: boolean): void {
    const value = this.pop();
    const items = iterator(value);
    if (items === undefined) fail("TypeError", `'${typeName(value)}' object is not iterable`);
    const { scope, code, loopDepth, outputs, loops } = this.#frame;
    const loop = new LoopContext(items, size(value), recursive ? { code, scope } : null, loopDepth);
    loops.push({ loop, scope, outputs: outputs.length, completed: false, kept: [] });
  }

  get loop(): RunningLoop {
    return this.#frame.loops.at(-1)!;
  }

  /** The next item of the loop, in a scope of its own; undefined after the last. */
  nextItem(): Value | undefined {
    const { loop, scope, outputs } = this.loop;
    // After `continue` or `break` in a block that keeps its text, that text is lost.
    this.#frame.outputs.length = outputs;
    this.#frame.scope = new Scope(scope);
    return loop.next();
  }

  /** Ends the loop, also by break. */
  closeLoop(): RunningLoop {
    const ended = this.#frame.loops.pop()!;
    this.#frame.outputs.length = ended.outputs;
    this.#frame.scope = ended.scope;
    return ended;
  }
}
