/** x[i] and x[start:stop:step], as Python indexes sequences. */
import { allowList, allowText } from "./budget.ts";
import { characters, isWide } from "./code-points.ts";
import { fail } from "./errors.ts";
import { index } from "./operators.ts";
import { Float, Markup, PyObject, Range, Tuple, textOf, typeName, type Value } from "./values.ts";

/** start:stop:step, between square brackets. */
export class Slice extends PyObject {
  readonly typeName = "slice";

  constructor(
    readonly start: Value,
    readonly stop: Value,
    readonly step: Value,
  ) {
    super();
  }
}

/** The positions that a slice takes of a sequence of `length`: `count` of them from `first` on, `step` apart. */
interface Positions {
  first: number;
  step: number;
  count: number;
}

function bound(value: Value): number | null {
  if (value === null) return null;
  const whole = index(value);
  if (whole !== undefined) return whole;
  return fail("TypeError", "slice indices must be integers or None or have an __index__ method");
}

function positions({ start, stop, step }: Slice, length: number): Positions {
  const stride = bound(step) ?? 1;
  if (stride === 0) fail("ValueError", "slice step cannot be zero");
  const [lowest, highest] = stride > 0 ? [0, length] : [-1, length - 1];
  const place = (value: Value, fallback: number) => {
    const at = bound(value);
    if (at === null) return fallback;
    return Math.min(Math.max(at < 0 ? at + length : at, lowest), highest);
  };
  const first = place(start, stride > 0 ? lowest : highest);
  const end = place(stop, stride > 0 ? highest : lowest);
  return { first, step: stride, count: Math.max(0, Math.ceil((end - first) / stride)) };
}

function pick<T>(items: readonly T[], { first, step, count }: Positions): T[] {
  if (step === 1) return items.slice(first, first + count);
  return Array.from({ length: count }, (_, i) => items[first + i * step]!);
}

/** value[slice] of a sequence; undefined for what cannot be sliced. */
export function sliced(value: Value, slice: Slice): Value | undefined {
  const text = textOf(value);
  if (text !== undefined) {
    const part = slicedText(text, slice);
    return value instanceof Markup ? new Markup(part) : part;
  }
  if (Array.isArray(value)) {
    const part = positions(slice, value.length);
    allowList(part.count);
    return pick(value, part);
  }
  if (value instanceof Tuple) return new Tuple(pick(value.items, positions(slice, value.items.length)));
  if (!(value instanceof Range)) return undefined;
  const { first, step, count } = positions(slice, value.length);
  const start = value.at(first);
  return new Range(start, start + count * step * value.step, step * value.step);
}

function slicedText(text: string, slice: Slice): string {
  if (!isWide(text)) {
    const { first, step, count } = positions(slice, text.length);
    if (step === 1) return text.slice(first, first + count);
  }
  const all = characters(text);
  const part = positions(slice, all.length);
  allowText(part.count);
  return pick(all, part).join("");
}

/** value[at] of a sequence; undefined where there is no such item, or for what is no sequence. */
export function itemAt(value: Value, at: Value): Value | undefined {
  const position = at instanceof Float ? undefined : index(at);
  if (position === undefined) return undefined;
  const text = textOf(value);
  if (text !== undefined) {
    const item = isWide(text) ? characters(text).at(position) : text.at(position);
    return value instanceof Markup && item !== undefined ? new Markup(item) : item;
  }
  if (Array.isArray(value)) return value.at(position);
  if (value instanceof Tuple) return value.items.at(position);
  if (!(value instanceof Range)) return undefined;
  const wanted = position < 0 ? position + value.length : position;
  return wanted >= 0 && wanted < value.length ? value.at(wanted) : undefined;
}

/** "int object" and the like: how Jinja2 names a value's type where an attribute is missing. */
export function describeType(value: Value): string {
  if (value === null) return "None";
  const name = typeName(value);
  const module: Record<string, string> = {
    Markup: "markupsafe.",
    LoopContext: "jinja2.runtime.",
    Macro: "jinja2.runtime.",
    Namespace: "jinja2.utils.",
  };
  return `${module[name] ?? ""}${name} object`;
}
