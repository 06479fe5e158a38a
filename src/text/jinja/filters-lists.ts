/** Filters on lists and dicts. */

import { attributePath } from "./attributes.ts";
import { allowList, BudgetError, chargeItems, MAX_OPERATION_STEPS } from "./budget.ts";
import { characters } from "./code-points.ts";
import { fail } from "./errors.ts";
import { natives, notAnInteger } from "./native.ts";
import { arithmetic, compare, equal, index, iterate, iterator, len, list, truth } from "./operators.ts";
import { Dict, DictView, GroupTuple, Iter, Markup, Tuple, textOf, typeName, Undefined, type Value } from "./values.ts";

function int(value: Value): number {
  return index(value) ?? notAnInteger(value);
}

/** The value that things are sorted, grouped and compared by: strings in lower case, unless case counts. */
function folded(value: Value, caseSensitive: Value): Value {
  const text = textOf(value);
  return text === undefined || truth(caseSensitive) ? value : text.toLowerCase();
}

/** sorted(items, key=..., reverse=...): stable, also in reverse. */
function sortBy(items: Value[], key: (item: Value) => Value, reverse: Value): Value[] {
  if (items.length * Math.log2(items.length + 1) > MAX_OPERATION_STEPS / 2) {
    throw new BudgetError(`the chat template sorts ${items.length} items at once`);
  }
  const keyed = items.map((item) => ({ item, key: key(item) }));
  const sign = truth(reverse) ? -1 : 1;
  keyed.sort((a, b) => sign * compare(a.key, b.key));
  return keyed.map(({ item }) => item);
}

function sort(value: Value, reverse: Value = false, caseSensitive: Value = false, attribute: Value = null): Value[] {
  const name = textOf(attribute);
  const paths = (name === undefined ? [attribute] : name.split(",")).map(attributePath);
  return sortBy(list(value), (item) => new Tuple(paths.map((look) => folded(look(item), caseSensitive))), reverse);
}

function dictSort(value: Value, caseSensitive: Value = false, by: Value = "key", reverse: Value = false): Value[] {
  if (by !== "key" && by !== "value") fail("FilterArgumentError", 'You can only sort by either "key" or "value"');
  if (value instanceof Undefined) value.fail();
  if (!(value instanceof Dict)) return fail("TypeError", `dictsort: a dict is needed, not ${typeName(value)}`);
  const items = Array.from(value.entries(), ([key, item]) => new Tuple([key, item]));
  const at = by === "key" ? 0 : 1;
  return sortBy(items, (item) => folded((item as Tuple).items[at]!, caseSensitive), reverse);
}

function groupBy(value: Value, attribute: Value, fallback: Value = null, caseSensitive: Value = false): Value[] {
  const look = attributePath(attribute);
  const key = (item: Value) => folded(look(item, fallback), caseSensitive);
  const groups: { key: Value; items: Value[] }[] = [];
  for (const item of sortBy(list(value), key, false)) {
    const last = groups.at(-1);
    if (last && equal(last.key, key(item))) last.items.push(item);
    else groups.push({ key: key(item), items: [item] });
  }
  return groups.map(({ items }) => new GroupTuple([look(items[0]!, fallback), items]));
}

function* unique(value: Value, caseSensitive: Value = false, attribute: Value = null): Generator<Value> {
  const look = attributePath(attribute);
  const seen = new Dict();
  for (const item of iterate(value)) {
    chargeItems(16);
    const key = folded(look(item), caseSensitive);
    if (seen.has(key)) continue;
    seen.set(key, true);
    yield item;
  }
}

function extreme(sign: 1 | -1) {
  return (value: Value, caseSensitive: Value = false, attribute: Value = null): Value => {
    const look = attributePath(attribute);
    let best: { item: Value; key: Value } | null = null;
    for (const item of iterate(value)) {
      const key = folded(look(item), caseSensitive);
      if (best === null || sign * compare(key, best.key, sign > 0 ? ">" : "<") > 0) best = { item, key };
    }
    return best === null ? new Undefined("No aggregated item, sequence was empty.") : best.item;
  };
}

function sum(value: Value, attribute: Value = null, start: Value = 0): Value {
  const look = attribute === null ? (item: Value) => item : attributePath(attribute);
  if (textOf(start) !== undefined) fail("TypeError", "sum() can't sum strings [use ''.join(seq) instead]");
  let total = start;
  for (const item of iterate(value)) total = arithmetic("+", total, look(item));
  return total;
}

function* batch(value: Value, size: Value, fill: Value = null): Generator<Value> {
  const most = int(size);
  let row: Value[] = [];
  for (const item of iterate(value)) {
    if (row.length === most) {
      yield row;
      row = [];
    }
    row.push(item);
  }
  if (row.length === 0) return;
  if (fill !== null && row.length < most) {
    allowList(most);
    while (row.length < most) row.push(fill);
  }
  yield row;
}

function* slices(value: Value, count: Value, fill: Value = null): Generator<Value> {
  const items = list(value);
  const parts = int(count);
  if (parts === 0) fail("ZeroDivisionError", "integer division or modulo by zero");
  const [size, extra] = [Math.floor(items.length / parts), items.length % parts];
  let start = 0;
  for (let i = 0; i < parts; i++) {
    chargeItems(8);
    const end = start + size + (i < extra ? 1 : 0);
    const part = items.slice(start, end);
    if (fill !== null && i >= extra) part.push(fill);
    yield part;
    start = end;
  }
}

function reverse(value: Value): Value {
  const text = textOf(value);
  if (text !== undefined) {
    const reversed = characters(text).reverse().join("");
    return value instanceof Markup ? new Markup(reversed) : reversed;
  }
  if (iterator(value) === undefined) fail("FilterArgumentError", "argument must be iterable");
  const items = list(value).reverse();
  return value instanceof Iter ? items : new Iter(items.values(), "list_reverseiterator");
}

function first(value: Value): Value {
  for (const item of iterate(value)) return item;
  return new Undefined("No first item, sequence was empty.");
}

function last(value: Value): Value {
  if (value instanceof Iter) fail("TypeError", `'${value.typeName}' object is not reversible`);
  const item = Array.isArray(value) ? value.at(-1) : list(value).at(-1);
  return item === undefined ? new Undefined("No last item, sequence was empty.") : item;
}

function* items(value: Value): Generator<Value> {
  if (value instanceof Undefined) return;
  if (!(value instanceof Dict)) fail("TypeError", "Can only get item pairs from a mapping.");
  yield* new DictView(value, "dict_items");
}

export const LIST_FILTERS = natives({
  "batch value linecount fill_with?": (...args: [Value, Value, Value?]) => new Iter(batch(...args)),
  "dictsort value case_sensitive? by? reverse?": dictSort,
  "first seq": first,
  "groupby value attribute default? case_sensitive?": groupBy,
  "items value": (value) => new Iter(items(value)),
  "last seq": last,
  "length object": len,
  "list value": list,
  "max value case_sensitive? attribute?": extreme(1),
  "min value case_sensitive? attribute?": extreme(-1),
  "random seq": (value) => {
    const all = list(value);
    const item = all[Math.floor(Math.random() * all.length)];
    return item === undefined ? new Undefined("No random item, sequence was empty.") : item;
  },
  "reverse value": reverse,
  "slice value slices fill_with?": (...args: [Value, Value, Value?]) => new Iter(slices(...args)),
  "sort value reverse? case_sensitive? attribute?": sort,
  "sum iterable attribute? start?": sum,
  "unique value case_sensitive? attribute?": (...args: [Value, Value?, Value?]) => new Iter(unique(...args)),
});
