/** The functions that every template has: Jinja2's, and those that transformers adds. */
import { chargeItems } from "./budget.ts";
import { dictFromKeys } from "./collection-methods.ts";
import { fail, TemplateRefusal } from "./errors.ts";
import { Scope } from "./machine.ts";
import { native, notAnInteger, type Run } from "./native.ts";
import { index, iterate, list } from "./operators.ts";
import { str } from "./print.ts";
import { strftime } from "./strftime.ts";
import { Attributes, Dict, Func, type Kwargs, Namespace, Range, textOf, typeName, type Value } from "./values.ts";

/** The sandbox allows no longer range. */
const MAX_RANGE = 100_000;

/** Characters of a format for strftime_now. */
const MAX_DATE_FORMAT = 1000;

function func(signature: string, run: Run): Func {
  const { name, call } = native(signature, run);
  return new Func(name, call);
}

function range(first: Value, second?: Value, third?: Value): Range {
  const [a, b, step] = [first, second, third].map((value) =>
    value === undefined ? undefined : (index(value) ?? notAnInteger(value)),
  );
  const [start, stop] = b === undefined ? [0, a!] : [a!, b];
  if (step === 0) fail("ValueError", "range() arg 3 must not be zero");
  const made = new Range(start, stop, step ?? 1);
  if (made.length <= MAX_RANGE) return made;
  return fail("OverflowError", `Range too big. The sandbox blocks ranges larger than MAX_RANGE (${MAX_RANGE}).`);
}

/** dict(pairs or a dict, name=value, ...) */
function makeDict(args: readonly Value[], kwargs: Kwargs): Dict {
  if (args.length > 1) fail("TypeError", `dict expected at most 1 argument, got ${args.length}`);
  const [from] = args;
  const dict = new Dict(from instanceof Dict ? from.entries() : from === undefined ? [] : pairs(from));
  for (const [key, value] of kwargs) dict.set(key, value);
  return dict;
}

function pairs(value: Value): [Value, Value][] {
  return Array.from(iterate(value), (pair, i) => {
    chargeItems(8);
    const [key, item, ...more] = list(pair);
    if (key !== undefined && item !== undefined && more.length === 0) return [key, item];
    return fail(
      "ValueError",
      `dictionary update sequence element #${i} has length ${list(pair).length}; 2 is required`,
    );
  });
}

const fromKeys = func("fromkeys _iterable _value?", (keys, value: Value = null) => dictFromKeys(keys, value));

class DictFactory extends Func {
  override readonly typeName = "TemplateDict";

  constructor() {
    super("dict", makeDict);
  }

  override attribute(name: string): Value | undefined {
    return name === "fromkeys" ? fromKeys : undefined;
  }
}

class Cycler extends Attributes {
  readonly typeName = "Cycler";
  #at = 0;

  constructor(readonly items: readonly Value[]) {
    super();
    if (items.length === 0) fail("TemplateRuntimeError", "at least one item has to be provided");
  }

  attribute(name: string): Value | undefined {
    if (name === "current") return this.items[this.#at];
    if (name === "pos") return this.#at;
    if (name === "next") return new Func("next", () => this.#next());
    return name === "reset" ? new Func("reset", () => this.#reset()) : undefined;
  }

  #next(): Value {
    const item = this.items[this.#at]!;
    this.#at = (this.#at + 1) % this.items.length;
    return item;
  }

  #reset(): null {
    this.#at = 0;
    return null;
  }

  describe(): string {
    return "<Cycler object>";
  }
}

function joiner(separator: Value = ", "): Func {
  let used = false;
  return new Func("joiner", () => {
    const text = used ? separator : "";
    used = true;
    return text;
  });
}

function notSupported(name: string): Func {
  return new Func(name, () => fail("TemplateRuntimeError", `the function ${name} is not supported`));
}

/** The variables that every template has. `now` gives the time, for strftime_now. */
export function globals(now: () => Date): Scope {
  const scope = new Scope(null);
  const functions = [
    func("range _start _stop? _step?", range),
    new DictFactory(),
    new Func("namespace", (args, kwargs) => new Namespace(makeDict(args, kwargs))),
    new Func("cycler", (args) => new Cycler(args)),
    func("joiner sep?", joiner),
    notSupported("lipsum"),
    func("strftime_now format", (format) => {
      const text = textOf(format);
      if (text === undefined) fail("TypeError", `strftime() argument 1 must be str, not ${typeName(format)}`);
      if (text.length > MAX_DATE_FORMAT) fail("ValueError", `a date format has at most ${MAX_DATE_FORMAT} characters`);
      return strftime(now(), text);
    }),
    func("raise_exception message", (message) => {
      throw new TemplateRefusal(str(message));
    }),
  ];
  for (const made of functions) scope.set(made.name, made);
  return scope;
}
