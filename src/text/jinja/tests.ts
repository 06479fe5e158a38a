/** Jinja2's tests: what may follow `is`. */
import { fail } from "./errors.ts";
import { FILTERS } from "./filters.ts";
import { type Native, natives, type Run } from "./native.ts";
import { arithmetic, contains, equal, integer, iterator, ordered, size } from "./operators.ts";
import { str } from "./print.ts";
import { isLower, isUpper } from "./string-methods.ts";
import { Attributes, Dict, Float, Func, Markup, PyObject, textOf, Undefined, type Value } from "./values.ts";

const remainder = (value: Value, by: Value) => arithmetic("%", value, by);

/** Jinja2 looks the value up as a key: one that cannot be a key is an error. */
function isName(table: ReadonlyMap<string, Native>, value: Value): boolean {
  return new Dict([[value, null]]).size > 0 && table.has(textOf(value) ?? "");
}

function isCallable(value: Value): boolean {
  return value instanceof Func || value instanceof Undefined || (value instanceof Attributes && value.callable);
}

function isSequence(value: Value): boolean {
  // Views of dicts have a length, but no items by position.
  const name = value instanceof PyObject ? value.typeName : "";
  return size(value) !== undefined && !name.startsWith("dict_");
}

const order = (operator: "<" | "<=" | ">" | ">=") => (a: Value, b: Value) => ordered(operator, a, b);

const TABLE: Record<string, Run> = {
  "odd value": (value) => equal(remainder(value, 2), 1),
  "even value": (value) => equal(remainder(value, 2), 0),
  "divisibleby value num": (value, by) => equal(remainder(value, by), 0),
  "defined value": (value) => !(value instanceof Undefined),
  "undefined value": (value) => value instanceof Undefined,
  "filter value": (value) => isName(FILTERS, value),
  "test value": (value) => isName(TESTS, value),
  "none value": (value) => value === null,
  "boolean value": (value) => typeof value === "boolean",
  "false value": (value) => value === false,
  "true value": (value) => value === true,
  "integer value": (value) => typeof value !== "boolean" && integer(value) !== undefined,
  "float value": (value) => value instanceof Float,
  "lower value": (value) => isLower(str(value)),
  "upper value": (value) => isUpper(str(value)),
  "string value": (value) => textOf(value) !== undefined,
  "mapping value": (value) => value instanceof Dict,
  "number value": (value) => value instanceof Float || integer(value) !== undefined,
  "sequence value": isSequence,
  "sameas value other": (value, other) => value === other,
  "iterable value": (value) => iterator(value) !== undefined,
  "callable value": (value) => isCallable(value),
  "escaped value": (value) => value instanceof Markup,
  "in value seq": (value, sequence) => contains(sequence, value),
  "eq value other": equal,
  "ne value other": (a, b) => !equal(a, b),
  "gt value other": order(">"),
  "ge value other": order(">="),
  "lt value other": order("<"),
  "le value other": order("<="),
};

const ALIASES: Record<string, string> = {
  "==": "eq",
  equalto: "eq",
  "!=": "ne",
  ">": "gt",
  greaterthan: "gt",
  ">=": "ge",
  "<": "lt",
  lessthan: "lt",
  "<=": "le",
};

const named = natives(TABLE);

/** By name, aliases too. The value comes first among the arguments. */
export const TESTS: ReadonlyMap<string, Native> = new Map([
  ...named,
  ...Object.entries(ALIASES).map(([alias, name]) => [alias, named.get(name)!] as const),
]);

/** The test of that name, for select and the like. */
export function requireTest(name: Value): Native {
  return TESTS.get(str(name)) ?? fail("TemplateRuntimeError", `No test named '${str(name)}'.`);
}
