/** x[i] and x[start:stop:step], as Python indexes sequences. */
import { allowList } from "./budget.ts";
import { characters, isWide, length, unitIndex } from "./code-points.ts";
import { fail } from "./errors.ts";
import { index } from "./operators.ts";
import { Dict, Float, Markup, PyObject, Range, Tuple, textOf, typeName, Undefined, type Value } from "./values.ts";

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
  /** The end that was asked for, within the sequence. */
  end: number;
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
  return { first, end, step: stride, count: Math.max(0, Math.ceil((end - first) / stride)) };
}

function pick<T>(items: readonly T[], { first, step, count }: Omit<Positions, "end">): T[] {
  if (step === 1) return items.slice(first, first + count);
  return Array.from({ length: count }, (_, i) => items[first + i * step]!);
}

/** value[slice]. @throws TemplateError TypeError for what is no sequence: Jinja2 leaves this to Python. */
export function sliced(value: Value, slice: Slice): Value {
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
  if (value instanceof Range) {
    const { first, end, step } = positions(slice, value.length);
    return new Range(value.at(first), value.at(end), step * value.step);
  }
  if (value instanceof Undefined) value.fail();
  if (value instanceof Dict) fail("TypeError", "unhashable type: 'slice'");
  return fail("TypeError", `'${typeName(value)}' object is not subscriptable`);
}

function slicedText(text: string, slice: Slice): string {
  if (!isWide(text)) {
    const { first, step, count } = positions(slice, text.length);
    if (step === 1) return text.slice(first, first + count);
  }
  const part = positions(slice, length(text));
  if (part.step === 1) {
    return text.slice(unitIndex(text, part.first), unitIndex(text, part.first + part.count));
  }
  return pick(characters(text), part).join("");
}

/** value[at] of a sequence; undefined where there is no such item, or for what is no sequence. */
export function itemAt(value: Value, at: Value): Value | undefined {
  const position = at instanceof Float ? undefined : index(at);
  if (position === undefined) return undefined;
  const text = textOf(value);
  if (text !== undefined) {
    const item = characterAt(text, position);
    return value instanceof Markup && item !== undefined ? new Markup(item) : item;
  }
  if (Array.isArray(value)) return value.at(position);
  if (value instanceof Tuple) return value.items.at(position);
  if (!(value instanceof Range)) return undefined;
  const wanted = position < 0 ? position + value.length : position;
  return wanted >= 0 && wanted < value.length ? value.at(wanted) : undefined;
}

function characterAt(text: string, position: number): string | undefined {
  if (!isWide(text)) return text.at(position);
  const wanted = position < 0 ? position + length(text) : position;
  const unit = wanted < 0 ? text.length : unitIndex(text, wanted);
  return unit < text.length ? String.fromCodePoint(text.codePointAt(unit)!) : undefined;
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
