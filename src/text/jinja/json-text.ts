/** json.dumps(), as the filter tojson calls it. */
import { chargeText } from "./budget.ts";
import { fail } from "./errors.ts";
import { asFloat } from "./number-format.ts";
import { compare } from "./operators.ts";
import { floatText, integerText } from "./print.ts";
import { TextBuilder } from "./text-builder.ts";
import { Dict, Float, Tuple, textOf, typeName, type Value } from "./values.ts";

export interface JsonStyle {
  ensureAscii: boolean;
  /** One level's indentation; null = all on one line. */
  indent: string | null;
  /** Between items, and between a key and its value. */
  separators: readonly [string, string];
  sortKeys: boolean;
}

/** @throws TemplateError TypeError for what JSON cannot hold, BudgetError where the text grows too long. */
export function jsonText(value: Value, style: JsonStyle): string {
  const writer = new JsonWriter(style);
  writer.write(value, "\n");
  return writer.out.text();
}

class JsonWriter {
  readonly out = new TextBuilder();

  constructor(readonly style: JsonStyle) {}

  #add(text: string): void {
    this.out.add(text);
  }

  /** `newline` is the line end and the indentation of the level that holds `value`. */
  write(value: Value, newline: string): void {
    const text = textOf(value);
    if (text !== undefined) this.#add(this.#string(text));
    else if (Array.isArray(value)) this.#list(value, newline);
    else if (value instanceof Tuple) this.#list(value.items, newline);
    else if (value instanceof Dict) this.#dict(value, newline);
    else this.#add(scalar(value) ?? fail("TypeError", `Object of type ${typeName(value)} is not JSON serializable`));
  }

  #list(items: readonly Value[], newline: string): void {
    this.#add("[");
    this.#items(items, newline, (item, inner) => this.write(item, inner));
    this.#add("]");
  }

  #dict(dict: Dict, newline: string): void {
    const entries = [...dict.entries()];
    if (this.style.sortKeys) entries.sort(([a], [b]) => compare(a, b));
    this.#add("{");
    this.#items(entries, newline, ([key, value], inner) => {
      this.#add(this.#string(keyText(key)) + this.style.separators[1]);
      this.write(value, inner);
    });
    this.#add("}");
  }

  #items<T>(items: readonly T[], newline: string, write: (item: T, inner: string) => void): void {
    const { indent, separators } = this.style;
    const inner = indent === null ? "" : newline + indent;
    for (const [i, item] of items.entries()) {
      this.#add(i === 0 ? inner : separators[0] + inner);
      write(item, inner);
    }
    if (indent !== null && items.length > 0) this.#add(newline);
  }

  #string(text: string): string {
    chargeText(text.length);
    // Python leaves lone surrogates as they are, JSON.stringify does not.
    const quoted = JSON.stringify(text).replace(/\\u(d[89a-f][\da-f]{2})/g, (_, hex) =>
      String.fromCharCode(Number.parseInt(hex, 16)),
    );
    if (!this.style.ensureAscii) return text.includes("\\ud") ? JSON.stringify(text) : quoted;
    return quoted.replace(/[^\0-~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
  }
}

/** A number, bool or None; null for anything else. */
function scalar(value: Value): string | null {
  if (value === null) return "null";
  if (typeof value === "boolean") return String(value);
  if (typeof value === "number" || typeof value === "bigint") return integerText(value);
  return value instanceof Float ? jsonFloat(asFloat(value)!) : null;
}

function jsonFloat(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (Number.isFinite(value)) return floatText(value);
  return value > 0 ? "Infinity" : "-Infinity";
}

function keyText(key: Value): string {
  return (
    textOf(key) ?? scalar(key) ?? fail("TypeError", `keys must be str, int, float, bool or None, not ${typeName(key)}`)
  );
}
