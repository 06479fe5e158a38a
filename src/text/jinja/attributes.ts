/**
 * x.name and x[key], by the rules of Jinja2's immutable sandbox: what a template may not touch comes back as an
 * Undefined that fails with a SecurityError as soon as it is used.
 */
import { COLLECTION_METHODS } from "./collection-methods.ts";
import { fail } from "./errors.ts";
import type { Native } from "./native.ts";
import { quote, repr } from "./print.ts";
import { describeType, itemAt } from "./slices.ts";
import { STRING_METHODS } from "./string-methods.ts";
import {
  Attributes,
  Dict,
  DictView,
  Float,
  Func,
  GroupTuple,
  normalInt,
  Range,
  Tuple,
  textOf,
  typeName,
  Undefined,
  type Value,
} from "./values.ts";

/** Methods that change their object, by its type. */
const MUTATING: Record<string, ReadonlySet<string>> = {
  list: new Set(["append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"]),
  dict: new Set(["clear", "pop", "popitem", "setdefault", "update"]),
};

/** Attributes that even an Undefined has. */
const OF_ANY_OBJECT = /^__(class|doc|init|module|str|repr|eq|hash|len|iter|bool|call|getitem)__$/;

/** object.name: the attribute, else the item of that name. */
export function getAttribute(object: Value, name: string): Value {
  if (object instanceof Dict) {
    // The usual case first: a field of a message that is no method of dict.
    if (!COLLECTION_METHODS.dict!.has(name) && !MUTATING.dict!.has(name)) {
      const value = object.get(name);
      if (value !== undefined) return value;
      return isPrivate(name) ? unsafe(object, name) : missing(object, name);
    }
  }
  if (object instanceof Undefined) return OF_ANY_OBJECT.test(name) ? unsafe(object, name) : object.fail();
  let found = attribute(object, name);
  if (found === undefined) found = item(object, name);
  return found === undefined ? missing(object, name) : found;
}

/** object[key]: the item, else the attribute of that name. */
export function getItem(object: Value, key: Value): Value {
  if (object instanceof Undefined) object.fail();
  const found = item(object, key);
  if (found !== undefined) return found;
  const name = textOf(key);
  const known = name === undefined ? undefined : attribute(object, name);
  return known === undefined ? missing(object, key) : known;
}

/** The filter attr: the attribute alone. */
export function getOnlyAttribute(object: Value, name: string): Value {
  if (object instanceof Undefined) object.fail();
  const found = attribute(object, name);
  return found === undefined ? missing(object, name) : found;
}

function isPrivate(name: string): boolean {
  return name.startsWith("__") && name.endsWith("__");
}

function missing(object: Value, name: Value): Undefined {
  const text = textOf(name);
  if (text === undefined) return new Undefined(`${describeType(object)} has no element ${repr(name)}`);
  return new Undefined(`${quote(describeType(object))} has no attribute ${quote(text)}`);
}

function unsafe(object: Value, name: string): Undefined {
  return new Undefined(
    `access to attribute ${quote(name)} of ${quote(typeName(object))} object is unsafe.`,
    "SecurityError",
  );
}

/** Python's object[key] where it succeeds. */
function item(object: Value, key: Value): Value | undefined {
  if (object instanceof Dict) return isHashable(key) ? object.get(key) : undefined;
  return itemAt(object, key);
}

function isHashable(key: Value): boolean {
  if (key instanceof Tuple) return key.items.every(isHashable);
  return !Array.isArray(key) && !(key instanceof Dict) && !(key instanceof DictView);
}

function attribute(object: Value, name: string): Value | undefined {
  if (object instanceof Attributes) {
    const found = object.attribute(name);
    return found === undefined && isPrivate(name) ? unsafe(object, name) : found;
  }
  const type = typeName(object);
  if (isPrivate(name) || MUTATING[type]?.has(name)) return unsafe(object, name);
  const method = methodsOf(object)?.get(name);
  if (method) return bound(method, object);
  if (object instanceof Func) return object.attribute(name);
  if (object instanceof GroupTuple) {
    if (name === "grouper") return object.items[0];
    if (name === "list") return object.items[1];
  }
  return numberAttribute(object, name) ?? rangeAttribute(object, name);
}

function methodsOf(object: Value): ReadonlyMap<string, Native> | undefined {
  if (textOf(object) !== undefined) return STRING_METHODS;
  const type = typeName(object);
  return COLLECTION_METHODS[type === "_GroupTuple" ? "tuple" : type];
}

function bound(method: Native, object: Value): Func {
  return new Func(method.name, (args, kwargs) => method.call([object, ...args], kwargs));
}

/** The attributes of ints and floats that make any sense in a template. */
function numberAttribute(object: Value, name: string): Value | undefined {
  const method = (run: () => Value) => new Func(name, run);
  if (object instanceof Float) {
    if (name === "real") return object;
    if (name === "imag") return new Float(0);
    if (name === "is_integer") return method(() => Number.isInteger(object.value));
    return undefined;
  }
  if (typeof object !== "number" && typeof object !== "bigint" && typeof object !== "boolean") return undefined;
  const whole = typeof object === "boolean" ? Number(object) : object;
  if (name === "real" || name === "numerator") return whole;
  if (name === "imag") return 0;
  if (name === "denominator") return 1;
  if (name === "is_integer") return method(() => true);
  if (name === "conjugate") return method(() => whole);
  if (name !== "bit_length" && name !== "bit_count") return undefined;
  const bits = BigInt(whole).toString(2).replace("-", "");
  return method(() => (name === "bit_count" ? bits.replaceAll("0", "").length : whole === 0 ? 0 : bits.length));
}

function rangeAttribute(object: Value, name: string): Value | undefined {
  if (!(object instanceof Range)) return undefined;
  if (name === "start" || name === "stop" || name === "step") return normalInt(BigInt(object[name]));
  return undefined;
}

/** Looks up "a.b.0" step by step, as the filters' `attribute` arguments do. An int is an index. */
export function attributePath(path: Value): (object: Value, fallback?: Value) => Value {
  const text = textOf(path);
  const parts: Value[] =
    path === null
      ? []
      : text === undefined
        ? [path]
        : text.split(".").map((part) => (/^\p{Nd}+$/u.test(part) ? Number(part) : part));
  return (object, fallback) => {
    let value = object;
    for (const part of parts) {
      value = getItem(value, part);
      if (fallback !== undefined && fallback !== null && value instanceof Undefined) value = fallback;
    }
    return value;
  };
}

/** Calls `callee`, where that runs no template code. */
export function callNative(callee: Value, args: readonly Value[], kwargs: ReadonlyMap<string, Value>): Value {
  if (callee instanceof Func) return callee.call(args, kwargs);
  if (callee instanceof Undefined) callee.fail();
  return fail("TypeError", `'${typeName(callee)}' object is not callable`);
}
