/**
 * Python's values as a template sees them.
 *
 * None is null, bool is boolean, and str is string (compared by code points, see strings.ts). An int is a number while
 * it is safe (|n| < 2^53) and a bigint beyond; a float is a Float, since 1.0 and 1 print differently. A list is an array.
 * Everything else is an object of a class below. JavaScript's undefined is no value: it stands for an argument not given.
 */
import { chargeItems } from "./budget.ts";
import { fail } from "./errors.ts";

export type Value = null | boolean | number | bigint | string | Value[] | PyObject;

/** All values that JavaScript has no type for. */
export abstract class PyObject {
  /** type(x).__name__ */
  abstract readonly typeName: string;
}

export class Float extends PyObject {
  readonly typeName = "float";
  readonly value: number;

  constructor(value: number) {
    super();
    this.value = value;
  }

  toJSON(): number {
    return this.value;
  }
}

/** markupsafe.Markup: a str that counts as HTML; what is added to it is escaped. Made by the filters escape and safe. */
export class Markup extends PyObject {
  readonly typeName = "Markup";
  readonly text: string;

  constructor(text: string) {
    super();
    this.text = text;
  }
}

export class Tuple extends PyObject {
  readonly typeName: string = "tuple";
  readonly items: readonly Value[];

  constructor(items: readonly Value[]) {
    super();
    this.items = items;
  }
}

/** What groupby yields: a pair whose parts have names. */
export class GroupTuple extends Tuple {
  override readonly typeName = "_GroupTuple";
}

/** A missing variable, attribute or item. It prints as nothing, is false, and fails when anything is asked of it. */
export class Undefined extends PyObject {
  readonly typeName = "Undefined";
  readonly message: string;
  readonly errorName: "UndefinedError" | "SecurityError";

  constructor(message: string, errorName: "UndefinedError" | "SecurityError" = "UndefinedError") {
    super();
    this.message = message;
    this.errorName = errorName;
  }

  fail(): never {
    fail(this.errorName, this.message);
  }
}

export class Range extends PyObject {
  readonly typeName = "range";
  readonly length: number;

  constructor(
    readonly start: number,
    readonly stop: number,
    readonly step: number,
  ) {
    super();
    this.length = Math.max(0, Math.ceil((stop - start) / step));
  }

  at(index: number): number {
    return this.start + index * this.step;
  }
}

/** A Python iterator: it runs once, has no length, and is always true. `typeName` says what made it. */
export class Iter extends PyObject {
  constructor(
    readonly items: Iterator<Value>,
    readonly typeName = "generator",
  ) {
    super();
  }
}

/** A live view of a dict: keys(), values() or items(). */
export class DictView extends PyObject {
  constructor(
    readonly dict: Dict,
    readonly typeName: "dict_keys" | "dict_values" | "dict_items",
  ) {
    super();
  }

  *[Symbol.iterator](): Generator<Value> {
    for (const [key, value] of this.dict.entries()) {
      if (this.typeName === "dict_keys") yield key;
      else if (this.typeName === "dict_values") yield value;
      else yield new Tuple([key, value]);
    }
  }
}

/** The arguments of a call that were given by name. */
export type Kwargs = ReadonlyMap<string, Value>;

/** Whatever can be called without running template code. */
export class Func extends PyObject {
  readonly typeName: string = "function";

  constructor(
    readonly name: string,
    readonly call: (args: readonly Value[], kwargs: Kwargs) => Value,
  ) {
    super();
  }

  /** undefined where there is none of that name. */
  attribute(_name: string): Value | undefined {
    return undefined;
  }
}

/** An object whose attributes templates may read. */
export abstract class Attributes extends PyObject {
  /** Can it be called? How is the machine's business. */
  readonly callable: boolean = false;
  /** undefined where there is none of that name. */
  abstract attribute(name: string): Value | undefined;
  /** repr() */
  abstract describe(repr: (value: Value) => string): string;
}

/** namespace(): the one object that a template may assign to. */
export class Namespace extends Attributes {
  readonly typeName = "Namespace";
  readonly attributes: Dict;

  constructor(attributes: Dict) {
    super();
    this.attributes = attributes;
    for (const key of attributes.keys()) Namespace.checkName(key);
  }

  set(name: string, value: Value): void {
    Namespace.checkName(name);
    this.attributes.set(name, value);
  }

  attribute(name: string): Value | undefined {
    return this.attributes.get(name);
  }

  describe(repr: (value: Value) => string): string {
    return `<Namespace ${repr(this.attributes)}>`;
  }

  static checkName(name: Value): void {
    if (typeof name !== "string" || !name.startsWith("_")) return;
    fail("SecurityError", `a namespace cannot hold '${name}': names that begin with an underscore are private`);
  }
}

type Key = string | number | bigint | null | symbol | PyObject;

const UNDEFINED_KEY = Symbol("Undefined");
const objectIds = new WeakMap<PyObject, number>();
let lastObjectId = 0;

/** dict: keeps the order of insertion; 1, 1.0 and True are one key; tuples are keys by their content. */
export class Dict extends PyObject {
  readonly typeName = "dict";
  readonly #entries = new Map<Key, [Value, Value]>();
  /** Tuples by their content, since a Map compares objects by identity. */
  #tuples: Map<string, symbol> | null = null;

  constructor(entries: Iterable<readonly [Value, Value]> = []) {
    super();
    for (const [key, value] of entries) this.set(key, value);
  }

  get size(): number {
    return this.#entries.size;
  }

  get(key: Value): Value | undefined {
    return this.#entries.get(typeof key === "string" ? key : this.#key(key))?.[1];
  }

  has(key: Value): boolean {
    return this.#entries.has(typeof key === "string" ? key : this.#key(key));
  }

  /** An equal key stays as it was first written, as in Python. */
  set(key: Value, value: Value): void {
    const hashed = this.#key(key);
    const entry = this.#entries.get(hashed);
    if (entry) entry[1] = value;
    else this.#entries.set(hashed, [key, value]);
  }

  entries(): Iterable<[Value, Value]> {
    return this.#entries.values();
  }

  *keys(): Generator<Value> {
    for (const [key] of this.#entries.values()) yield key;
  }

  #key(value: Value): Key {
    if (typeof value === "string" || value === null) return value;
    if (typeof value === "boolean") return value ? 1 : 0;
    if (value instanceof Markup) return value.text;
    if (value instanceof Tuple) {
      const content = tupleKey(value);
      this.#tuples ??= new Map();
      let key = this.#tuples.get(content);
      if (key === undefined) {
        key = Symbol(content);
        this.#tuples.set(content, key);
      }
      return key;
    }
    return scalarKey(value);
  }
}

function scalarKey(value: Exclude<Value, string | null | boolean>): Exclude<Key, string | null> {
  if (typeof value === "number" || typeof value === "bigint") return value;
  if (Array.isArray(value)) fail("TypeError", "unhashable type: 'list'");
  if (value instanceof Float) return Number.isInteger(value.value) ? normalInt(BigInt(value.value)) : value.value;
  if (value instanceof Undefined) return UNDEFINED_KEY;
  if (value instanceof Dict || value instanceof DictView) fail("TypeError", `unhashable type: '${value.typeName}'`);
  return value;
}

/** Equal tuples have equal texts, and only they. */
function tupleKey({ items }: Tuple): string {
  chargeItems(items.length);
  const parts = items.map((item) => {
    if (typeof item === "string") return JSON.stringify(item);
    if (item instanceof Markup) return JSON.stringify(item.text);
    if (item === null) return "n";
    if (typeof item === "boolean") return item ? "1" : "0";
    if (item instanceof Tuple) return `(${tupleKey(item)})`;
    const key = scalarKey(item);
    if (key === UNDEFINED_KEY) return "u";
    if (typeof key !== "object") return String(key);
    let id = objectIds.get(key);
    if (id === undefined) {
      id = ++lastObjectId;
      objectIds.set(key, id);
    }
    return `#${id}`;
  });
  return parts.join(",");
}

/** An int in its one form: a number where it is safe, else a bigint. */
export function normalInt(value: bigint): number | bigint {
  const small = Number(value);
  return Number.isSafeInteger(small) ? small : value;
}

/** type(value).__name__ */
export function typeName(value: Value): string {
  if (value === null) return "NoneType";
  if (typeof value === "boolean") return "bool";
  if (typeof value === "number" || typeof value === "bigint") return "int";
  if (typeof value === "string") return "str";
  return Array.isArray(value) ? "list" : value.typeName;
}

/** The text of a str or a Markup; undefined for anything else. */
export function textOf(value: Value): string | undefined {
  if (typeof value === "string") return value;
  return value instanceof Markup ? value.text : undefined;
}

/**
 * A value of JavaScript or JSON as Python would have it. Whole numbers become ints: where 1.0 must stay 1.0, parse the
 * JSON with parseJson (json.ts), whose values pass through here unchanged. What JSON does not know becomes null.
 */
export function fromJs(value: unknown): Value {
  if (value === null || typeof value === "string" || typeof value === "boolean") return value;
  if (typeof value === "number") {
    if (Number.isSafeInteger(value)) return value + 0; // -0 is 0
    // From 1e21 on JavaScript writes an exponent, and Python's json reads a float.
    if (Number.isInteger(value) && Math.abs(value) < 1e21) return normalInt(BigInt(value));
    return new Float(value);
  }
  if (typeof value === "bigint") return normalInt(value);
  if (value instanceof PyObject) return value;
  if (Array.isArray(value)) return value.map(fromJs);
  if (typeof value !== "object") return null;
  const dict = new Dict();
  for (const [key, item] of Object.entries(value)) if (item !== undefined) dict.set(key, fromJs(item));
  return dict;
}
