/** The methods of list, tuple, dict and range that do not change their object: the others are forbidden. */
import { allowList, chargeItems } from "./budget.ts";
import { fail } from "./errors.ts";
import { type Native, natives } from "./native.ts";
import { equal, index, iterate, list } from "./operators.ts";
import { repr } from "./print.ts";
import { Dict, DictView, type Range, type Tuple, type Value } from "./values.ts";

function position(
  items: readonly Value[],
  wanted: Value,
  start: Value | undefined,
  end: Value | undefined,
  type: string,
) {
  const place = (value: Value | undefined, fallback: number) => {
    const at = (value === undefined ? fallback : index(value)) ?? fallback;
    return Math.max(0, at < 0 ? at + items.length : at);
  };
  const last = Math.min(place(end, items.length), items.length);
  for (let i = place(start, 0); i < last; i++) if (equal(items[i]!, wanted)) return i;
  return fail("ValueError", type === "list" ? `${repr(wanted)} is not in list` : "tuple.index(x): x not in tuple");
}

function count(items: readonly Value[], wanted: Value): number {
  return items.filter((item) => equal(item, wanted)).length;
}

const LIST_METHODS = natives({
  "copy _self": (self: Value[]) => {
    allowList(self.length);
    return [...self];
  },
  "count _self _value": count,
  "index _self _value _start? _stop?": (self: Value[], wanted, start, stop) =>
    position(self, wanted, start, stop, "list"),
});

const TUPLE_METHODS = natives({
  "count _self _value": (self: Tuple, wanted: Value) => count(self.items, wanted),
  "index _self _value _start? _stop?": (self: Tuple, wanted, start, stop) =>
    position(self.items, wanted, start, stop, "tuple"),
});

const RANGE_METHODS = natives({
  "count _self _value": (self: Range, wanted: Value) => count(list(self), wanted),
  "index _self _value": (self: Range, wanted: Value) => position(list(self), wanted, undefined, undefined, "list"),
});

const DICT_METHODS = natives({
  "copy _self": (self: Dict) => {
    allowList(self.size);
    return new Dict(self.entries());
  },
  "fromkeys _self _iterable _value?": (_self: Dict, keys: Value, value: Value = null) => dictFromKeys(keys, value),
  "get _self _key _default?": (self: Dict, key: Value, fallback: Value = null) => {
    const value = self.get(key);
    return value === undefined ? fallback : value;
  },
  "items _self": (self: Dict) => new DictView(self, "dict_items"),
  "keys _self": (self: Dict) => new DictView(self, "dict_keys"),
  "values _self": (self: Dict) => new DictView(self, "dict_values"),
});

/** dict.fromkeys(keys, value) */
export function dictFromKeys(keys: Value, value: Value): Dict {
  const dict = new Dict();
  for (const key of iterate(keys)) {
    chargeItems(8);
    dict.set(key, value);
  }
  return dict;
}

/** By the type's name, then by the method's. `self` comes first among the arguments. */
export const COLLECTION_METHODS: Record<string, ReadonlyMap<string, Native>> = {
  list: LIST_METHODS,
  tuple: TUPLE_METHODS,
  range: RANGE_METHODS,
  dict: DICT_METHODS,
};
