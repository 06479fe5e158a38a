/** Filters that apply another filter, or a test, to each item: map, select and the like. Each item is computed when it is read. */
import { attributePath } from "./attributes.ts";
import { chargeItems } from "./budget.ts";
import { fail } from "./errors.ts";
import { requireFilter } from "./filters.ts";
import { NO_KWARGS, natives } from "./native.ts";
import { iterate, truth } from "./operators.ts";
import { requireTest } from "./tests.ts";
import { Iter, type Kwargs, type Value } from "./values.ts";

function* map(value: Value, args: Value[], kwargs: Kwargs): Generator<Value> {
  if (!truth(value)) return;
  const convert = mapping(args, kwargs);
  for (const item of iterate(value)) {
    chargeItems(16);
    yield convert(item);
  }
}

function mapping([name, ...rest]: Value[], kwargs: Kwargs): (item: Value) => Value {
  const attribute = kwargs.get("attribute");
  if (name === undefined && attribute !== undefined) {
    const unknown = [...kwargs.keys()].find((key) => key !== "attribute" && key !== "default");
    if (unknown !== undefined) fail("FilterArgumentError", `Unexpected keyword argument '${unknown}'`);
    const look = attributePath(attribute);
    return (item) => look(item, kwargs.get("default"));
  }
  if (name === undefined) fail("FilterArgumentError", "map requires a filter argument");
  const filter = requireFilter(name);
  return (item) => filter.call([item, ...rest], kwargs);
}

/** select and reject, of the items or of an attribute of theirs. */
function chooser(keep: boolean, byAttribute: boolean) {
  function* choose(value: Value, args: Value[], kwargs: Kwargs): Generator<Value> {
    if (!truth(value)) return;
    const [attribute] = args;
    if (byAttribute && attribute === undefined) fail("FilterArgumentError", "Missing parameter for attribute name");
    const look = byAttribute ? attributePath(attribute!) : (item: Value) => item;
    const [name, ...rest] = byAttribute ? args.slice(1) : args;
    const test = name === undefined ? null : requireTest(name);
    for (const item of iterate(value)) {
      chargeItems(8);
      const subject = look(item);
      const passes = test === null ? truth(subject) : truth(test.call([subject, ...rest], kwargs ?? NO_KWARGS));
      if (passes === keep) yield item;
    }
  }
  return (value: Value, args: Value[], kwargs: Kwargs) => new Iter(choose(value, args, kwargs));
}

export const SELECT_FILTERS = natives({
  "map value *args **kwargs": (value, args, kwargs) => new Iter(map(value, args, kwargs)),
  "select value *args **kwargs": chooser(true, false),
  "reject value *args **kwargs": chooser(false, false),
  "selectattr value *args **kwargs": chooser(true, true),
  "rejectattr value *args **kwargs": chooser(false, true),
});
