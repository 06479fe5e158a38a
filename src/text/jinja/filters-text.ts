/** Filters that make text. */

import { attributePath } from "./attributes.ts";
import { allowText, chargeItems } from "./budget.ts";
import * as points from "./code-points.ts";
import { fail } from "./errors.ts";
import { toFloat } from "./filters-values.ts";
import { type JsonStyle, jsonText } from "./json-text.ts";
import { NO_KWARGS, natives, notAnInteger } from "./native.ts";
import { width } from "./number-format.ts";
import { arithmetic, escapeHtml, index, iterate, iterator, len, truth } from "./operators.ts";
import { pprint } from "./pretty-print.ts";
import { fixedText, repr, str } from "./print.ts";
import { center, joinedText, lines, replace, STRING_METHODS, stripTags } from "./string-methods.ts";
import { Dict, type Kwargs, Markup, Tuple, textOf, typeName, Undefined, type Value } from "./values.ts";
import { wordWrap } from "./word-wrap.ts";

/** soft_str(value): a Markup stays one. */
function soft(value: Value): Value {
  return value instanceof Markup ? value : str(value);
}

/** The method of str that a filter is named after. */
function method(name: string, value: Value, args: readonly Value[] = []): Value {
  return STRING_METHODS.get(name)!.call([soft(value), ...args], NO_KWARGS);
}

function int(value: Value): number {
  return index(value) ?? notAnInteger(value);
}

/** An argument that is a text, or a TypeError as of a method that it lacks. */
function text(value: Value, what: string): string {
  const found = textOf(value);
  if (found !== undefined) return found;
  if (value instanceof Undefined) value.fail();
  return fail("TypeError", `${what}: a str is needed, not ${typeName(value)}`);
}

function join(value: Value, by: Value = "", attribute: Value = null): string {
  const look = attribute === null ? (item: Value) => item : attributePath(attribute);
  return joinedText(str(by), value, (item) => str(look(item)));
}

function indent(value: Value, by: Value = 4, first: Value = false, blank: Value = false): Value {
  const source = text(value, "indent");
  const width = textOf(by) ?? " ".repeat(Math.max(0, int(by)));
  const all = lines(`${source}\n`, false);
  allowText(source.length + all.length * (width.length + 1));
  const joined = all.map((line, i) => (i > 0 && (line !== "" || truth(blank)) ? width + line : line)).join("\n");
  const out = truth(first) ? width + joined : joined;
  return value instanceof Markup ? new Markup(out) : out;
}

const WORD_START = new RegExp(`([-${points.SPACE}({[<]+)`);

/** The filter title, which knows words by other ends than str.title() does. */
function title(value: Value): string {
  const source = str(value);
  chargeItems(source.length);
  return source
    .split(WORD_START)
    .map((part) => {
      const [first = ""] = part;
      return first.toUpperCase() + part.slice(first.length).toLowerCase();
    })
    .join("");
}

function truncate(
  value: Value,
  size: Value = 255,
  killWords: Value = false,
  end: Value = "...",
  leeway: Value = null,
): Value {
  const [most, tail, slack] = [int(size), str(end), leeway === null ? 5 : int(leeway)];
  const tailLength = points.length(tail);
  if (most < tailLength) fail("ValueError", `expected length >= ${tailLength}, got ${most}`);
  if (len(value) <= most + slack) return value;
  const source = text(value, "truncate");
  const cut = source.slice(0, points.unitIndex(source, most - tailLength));
  const space = truth(killWords) ? -1 : cut.lastIndexOf(" ");
  return (space < 0 ? cut : cut.slice(0, space)) + tail;
}

/** urllib.parse.quote */
function urlQuote(value: Value, safe: string): string {
  const source = str(value);
  chargeItems(source.length);
  let out = "";
  for (const byte of new TextEncoder().encode(source)) {
    const character = String.fromCharCode(byte);
    const plain = byte < 128 && (/[\w.~-]/.test(character) || safe.includes(character));
    out += plain ? character : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return out;
}

function pair(item: Value): [Value, Value] {
  const [key, value, ...more] = iterate(item);
  if (key !== undefined && value !== undefined && more.length === 0) return [key, value];
  return fail("ValueError", "a pair of a key and a value is needed");
}

function urlEncode(value: Value): string {
  const pairs = value instanceof Dict ? Array.from(value.entries()) : null;
  if (textOf(value) !== undefined || iterator(value) === undefined) return urlQuote(value, "/");
  const quoted = (part: Value) => urlQuote(part, "").replaceAll("%20", "+");
  const items = pairs ?? Array.from(iterate(value), pair);
  return items.map(([key, item]) => `${quoted(key)}=${quoted(item)}`).join("&");
}

function xmlAttributes(value: Value, autospace: Value = true): string {
  if (!(value instanceof Dict)) fail("TypeError", `xmlattr: a dict is needed, not ${typeName(value)}`);
  const parts: string[] = [];
  for (const [key, item] of value.entries()) {
    if (item === null || item instanceof Undefined) continue;
    if (/[\s/>=]/.test(text(key, "an attribute name")))
      fail("ValueError", `Invalid character in attribute name: ${repr(key)}`);
    parts.push(`${escapeHtml(key)}="${escapeHtml(item)}"`);
  }
  return (truth(autospace) && parts.length > 0 ? " " : "") + parts.join(" ");
}

function fileSize(value: Value, binary: Value = false): string {
  const bytes = toFloat(value);
  const base = truth(binary) ? 1024 : 1000;
  if (bytes === 1) return "1 Byte";
  if (bytes < base) return `${Math.trunc(bytes)} Bytes`;
  const prefixes = truth(binary)
    ? ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"]
    : ["kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
  for (const [i, prefix] of prefixes.entries()) {
    const unit = base ** (i + 2);
    if (bytes < unit || i === prefixes.length - 1) return `${fixedText((base * bytes) / unit, 1)} ${prefix}`;
  }
  return "";
}

function format(value: Value, args: Value[], kwargs: Kwargs): Value {
  if (args.length > 0 && kwargs.size > 0) {
    fail("FilterArgumentError", "can't handle positional and keyword arguments at the same time");
  }
  return arithmetic("%", soft(value), kwargs.size > 0 ? new Dict(kwargs) : new Tuple(args));
}

function jsonStyle(ensureAscii: Value, indent: Value, separators: Value, sortKeys: Value): JsonStyle {
  const level =
    indent === null ? null : (textOf(indent) ?? " ".repeat(Math.max(0, width(String(Math.max(0, int(indent)))))));
  const pair = separators === null ? null : Array.from(iterate(separators), (part) => text(part, "separators"));
  if (pair !== null && pair.length !== 2) fail("ValueError", "tojson: separators needs two texts");
  return {
    ensureAscii: truth(ensureAscii),
    indent: level,
    separators: pair === null ? [level === null ? ", " : ",", ": "] : [pair[0]!, pair[1]!],
    sortKeys: truth(sortKeys),
  };
}

/** transformers' tojson: json.dumps, without Jinja2's escaping of HTML. */
function toJson(
  value: Value,
  ensureAscii: Value = false,
  indent: Value = null,
  separators: Value = null,
  sortKeys: Value = false,
): string {
  return jsonText(value, jsonStyle(ensureAscii, indent, separators, sortKeys));
}

export const TEXT_FILTERS = natives({
  "capitalize s": (value) => method("capitalize", value),
  "center value width?": (value, size: Value = 80) => {
    const made = center(str(value), int(size));
    return value instanceof Markup ? new Markup(made) : made;
  },
  "escape s": (value) => new Markup(escapeHtml(value)),
  "filesizeformat value binary?": fileSize,
  "forceescape value": (value) => new Markup(escapeHtml(str(value))),
  "format value *args **kwargs": format,
  "indent s width? first? blank?": indent,
  "join value d? attribute?": join,
  "lower s": (value) => method("lower", value),
  "pprint value": (value) => pprint(value),
  "replace s old new count?": (value, old, by, count: Value = null) =>
    replace(str(value), str(old), str(by), count === null ? -1 : int(count)),
  "safe value": (value) => new Markup(str(value)),
  "string object": soft,
  "striptags value": (value) => stripTags(str(value)),
  "title s": title,
  "tojson x ensure_ascii? indent? separators? sort_keys?": toJson,
  "trim value chars?": (value, chars: Value = null) => method("strip", value, [chars]),
  "truncate s length? killwords? end? leeway?": truncate,
  "upper s": (value) => method("upper", value),
  "urlencode value": urlEncode,
  "urlize *args **kwargs": () => fail("FilterArgumentError", "the filter urlize is not supported"),
  "wordcount s": (value) => {
    const source = str(value);
    chargeItems(source.length);
    return source.match(/[\p{L}\p{N}\p{M}_]+/gu)?.length ?? 0;
  },
  "wordwrap s width? break_long_words? wrapstring? break_on_hyphens?": (
    value,
    size: Value = 79,
    breakLong: Value = true,
    by: Value = null,
    hyphens: Value = true,
  ) => wordWrap(text(value, "wordwrap"), int(size), truth(breakLong), by === null ? "\n" : str(by), truth(hyphens)),
  "xmlattr d autospace?": xmlAttributes,
});
