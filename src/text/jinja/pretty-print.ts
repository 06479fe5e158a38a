/** pprint.pformat(), as the filter pprint calls it: dicts sorted by key, and wrapped at 80 columns. */
import { chargeItems } from "./budget.ts";
import { compare } from "./operators.ts";
import { repr } from "./print.ts";
import { Dict, Tuple, type Value } from "./values.ts";

const WIDTH = 80;

export function pprint(value: Value): string {
  return pretty(value, 0, 0);
}

/** `indent`: the column that `value` begins at; `allowance`: what follows its last line. */
function pretty(value: Value, indent: number, allowance: number): string {
  // Every level is written whole once more to see whether it fits.
  const flat = repr(sorted(value));
  if (flat.length <= WIDTH - indent - allowance) return flat;
  if (value instanceof Dict && value.size > 0) return prettyDict(value, indent, allowance);
  if (Array.isArray(value) && value.length > 0) return rows(value, "[", "]", indent, allowance);
  if (!(value instanceof Tuple) || value.items.length === 0) return flat;
  return rows(value.items, "(", value.items.length === 1 ? ",)" : ")", indent, allowance);
}

function rows(items: readonly Value[], open: string, close: string, indent: number, allowance: number): string {
  const parts = items.map((item, i) => {
    return pretty(item, indent + 1, i === items.length - 1 ? allowance + close.length : 1);
  });
  return open + parts.join(`,\n${" ".repeat(indent + 1)}`) + close;
}

function prettyDict(dict: Dict, indent: number, allowance: number): string {
  const entries = sortedEntries(dict);
  const parts = entries.map(([key, value], i) => {
    const name = repr(key);
    const room = i === entries.length - 1 ? allowance + 1 : 1;
    return `${name}: ${pretty(value, indent + name.length + 3, room)}`;
  });
  return `{${parts.join(`,\n${" ".repeat(indent + 1)}`)}}`;
}

function sortedEntries(dict: Dict): [Value, Value][] {
  return [...dict.entries()].sort(([a], [b]) => compare(a, b));
}

/** `value` with all its dicts in the order of their keys. */
function sorted(value: Value): Value {
  chargeItems(1);
  if (Array.isArray(value)) return value.map(sorted);
  if (value instanceof Tuple) return new Tuple(value.items.map(sorted));
  return value instanceof Dict ? new Dict(sortedEntries(value).map(([key, item]) => [key, sorted(item)])) : value;
}
