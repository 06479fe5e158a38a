/** The methods of str. On a Markup they give a Markup, and escape the texts that they are given. */
import { allowList, allowText, chargeCopy, chargeItems, chargeText, MAX_LIST_LENGTH } from "./budget.ts";
import * as points from "./code-points.ts";
import { fail } from "./errors.ts";
import { formatText } from "./format.ts";
import { type Native, native, notAnInteger, type Run } from "./native.ts";
import { pad, width } from "./number-format.ts";
import { escapeHtml, index, iterate, truth } from "./operators.ts";
import { isPrintable, str } from "./print.ts";
import { TextBuilder } from "./text-builder.ts";
import { Dict, Float, type Kwargs, Markup, Tuple, textOf, typeName, type Value } from "./values.ts";

/** Where str.splitlines() splits, as the inside of a regular expression's class. */
const LINE_ENDS = "\\n\\r\\v\\f\\x1c-\\x1e\\x85\\u2028\\u2029";
const LINE_END = new RegExp(`\\r\\n|[${LINE_ENDS}]`, "g");
const DIGIT =
  /^[\p{Nd}\xb2\xb3\xb9\u2070\u2074-\u2079\u2080-\u2089\u2460-\u2468\u2474-\u247c\u2488-\u2490\u24ea\u24f5-\u24fd\u24ff\u2776-\u277e\u2780-\u2788\u278a-\u2792]*$/u;

/** An argument that must be text. */
function text(value: Value, what = "argument"): string {
  return textOf(value) ?? fail("TypeError", `${what} must be str, not ${typeName(value)}`);
}

function whole(value: Value | undefined, fallback: number): number {
  if (value === undefined) return fallback;
  return (value instanceof Float ? undefined : index(value)) ?? notAnInteger(value);
}

/** The text between the characters `start` and `end`, and where it begins; null where `start` is past the end. */
function range(
  self: string,
  start: Value | undefined,
  end: Value | undefined,
): { part: string; offset: number } | null {
  if (start === undefined && end === undefined) return { part: self, offset: 0 };
  const length = points.length(self);
  const place = (value: Value | undefined, fallback: number) => {
    const at = value === null ? fallback : whole(value, fallback);
    return Math.max(0, at < 0 ? at + length : at);
  };
  const [first, last] = [place(start ?? null, 0), Math.min(place(end ?? null, length), length)];
  if (first > last) return null;
  return { part: self.slice(points.unitIndex(self, first), points.unitIndex(self, last)), offset: first };
}

function find(self: string, part: Value, start: Value | undefined, end: Value | undefined, last: boolean): number {
  const within = range(self, start, end);
  const wanted = text(part);
  if (within === null) return -1;
  chargeText(within.part.length);
  const unit = last ? within.part.lastIndexOf(wanted) : within.part.indexOf(wanted);
  return unit < 0 ? -1 : points.characterIndex(within.part, unit) + within.offset;
}

function findOrFail(...args: Parameters<typeof find>): number {
  const at = find(...args);
  return at < 0 ? fail("ValueError", "substring not found") : at;
}

function count(self: string, part: Value, start?: Value, end?: Value): number {
  const within = range(self, start, end);
  const wanted = text(part);
  if (within === null) return 0;
  if (wanted === "") return points.length(within.part) + 1;
  return occurrences(within.part, wanted);
}

/** How often `part`, which is not empty, stands in `self`. */
function occurrences(self: string, part: string): number {
  chargeText(self.length);
  let count = 0;
  for (let at = self.indexOf(part); at >= 0; at = self.indexOf(part, at + part.length)) count++;
  chargeItems(count);
  return count;
}

function pieces(self: string, separator: string): string[] {
  chargeText(self.length);
  const parts = self.split(separator, MAX_LIST_LENGTH + 1);
  allowList(parts.length);
  return parts;
}

/** str.startswith and str.endswith: of one text, or of any in a tuple. */
function fits(name: "startswith" | "endswith") {
  return (self: string, wanted: Value, start?: Value, end?: Value): boolean => {
    const within = range(self, start, end);
    const test = (value: Value) => {
      const part = text(value, `${name} first arg`);
      chargeCopy(self.length);
      return within !== null && (name === "startswith" ? within.part.startsWith(part) : within.part.endsWith(part));
    };
    return wanted instanceof Tuple ? wanted.items.some(test) : test(wanted);
  };
}

export function replace(self: string, old: string, by: string, most: number): string {
  chargeText(self.length);
  if (most < 0 && old !== "") {
    if (by.length > old.length) allowText(self.length + occurrences(self, old) * (by.length - old.length));
    return self.replaceAll(old, () => by);
  }
  const limit = most < 0 ? Number.POSITIVE_INFINITY : most;
  const parts = old === "" ? ["", ...points.characters(self), ""] : pieces(self, old);
  const times = Math.min(limit, parts.length - 1);
  allowText(self.length + times * by.length);
  return parts.slice(0, times + 1).join(by) + (times + 1 < parts.length ? old + parts.slice(times + 1).join(old) : "");
}

/** str.split and str.rsplit. */
function split(self: string, separator: Value | undefined, most: Value | undefined, fromRight: boolean): string[] {
  const limit = whole(most, -1);
  if (separator === undefined || separator === null) return splitSpaces(self, limit, fromRight);
  const by = text(separator);
  if (by === "") fail("ValueError", "empty separator");
  const parts = pieces(self, by);
  if (limit < 0 || parts.length <= limit + 1) return parts;
  if (fromRight) {
    const at = parts.length - limit;
    return [parts.slice(0, at).join(by), ...parts.slice(at)];
  }
  return [...parts.slice(0, limit), parts.slice(limit).join(by)];
}

function splitSpaces(self: string, limit: number, fromRight: boolean): string[] {
  if (limit < 0) {
    const all = points.words(self);
    allowList(all.length);
    return all;
  }
  const side = { left: !fromRight, right: fromRight };
  const out: string[] = [];
  let rest = points.strip(self, null, side);
  while (rest !== "" && out.length < limit) {
    allowList(1);
    const at = fromRight ? lastSpace(rest) : rest.search(FIRST_SPACE);
    if (at < 0) break;
    out.push(fromRight ? rest.slice(at + 1) : rest.slice(0, at));
    rest = points.strip(fromRight ? rest.slice(0, at) : rest.slice(at), null, side);
  }
  // The last part keeps the white space of its other side.
  if (rest !== "") out.push(rest);
  return fromRight ? out.reverse() : out;
}

const FIRST_SPACE = new RegExp(`[${points.SPACE}]`);

function lastSpace(value: string): number {
  for (let i = value.length - 1; i >= 0; i--) if (points.isSpace(value[i]!)) return i;
  return -1;
}

/** str.splitlines() */
export function lines(self: string, keepEnds: boolean): string[] {
  chargeText(self.length * 2);
  const out: string[] = [];
  let start = 0;
  for (const match of self.matchAll(LINE_END)) {
    const end = match.index + match[0].length;
    out.push(self.slice(start, keepEnds ? end : match.index));
    if (out.length > MAX_LIST_LENGTH) break;
    start = end;
  }
  if (start < self.length) out.push(self.slice(start));
  allowList(out.length);
  return out;
}

function partition(self: string, separator: Value, last: boolean): string[] {
  const by = text(separator);
  if (by === "") fail("ValueError", "empty separator");
  chargeText(self.length);
  const at = last ? self.lastIndexOf(by) : self.indexOf(by);
  if (at < 0) return last ? ["", "", self] : [self, "", ""];
  return [self.slice(0, at), by, self.slice(at + by.length)];
}

/** The character that a field is filled with. */
function filler(fill: Value | undefined): string {
  const character = fill === undefined ? " " : text(fill);
  if (Array.from(character).length === 1) return character;
  return fail("TypeError", "The fill character must be exactly one character long");
}

function justify(align: "left" | "right") {
  return (self: string, size: Value, fill?: Value): string =>
    pad(self, width(String(Math.max(0, whole(size, 0)))), align, filler(fill));
}

/** str.center(): the odd space goes to the left where the width is odd. */
export function center(self: string, size: number, fill = " "): string {
  const missing = width(String(Math.max(0, size))) - points.length(self);
  if (missing <= 0) return self;
  const left = Math.floor(missing / 2) + (missing & size & 1);
  return fill.repeat(left) + self + fill.repeat(missing - left);
}

function zfill(self: string, size: Value): string {
  const missing = width(String(Math.max(0, whole(size, 0)))) - points.length(self);
  if (missing <= 0) return self;
  const sign = /^[+-]/.test(self) ? self[0]! : "";
  return sign + "0".repeat(missing) + self.slice(sign.length);
}

function expandTabs(self: string, size?: Value): string {
  const stop = whole(size, 8);
  let column = 0;
  const out: string[] = [];
  let length = 0;
  for (const character of points.characters(self)) {
    const spaces = stop > 0 ? stop - (column % stop) : 0;
    if (character === "\t") {
      length += spaces;
      allowText(length);
      out.push(" ".repeat(spaces));
      column += spaces;
    } else {
      out.push(character);
      column = character === "\n" || character === "\r" ? 0 : column + 1;
    }
  }
  return out.join("");
}

/** str.isalpha() and the like: true of no empty text. */
function every(pattern: RegExp) {
  return (self: string): boolean => {
    chargeText(self.length * 8);
    return self !== "" && pattern.test(self);
  };
}

function caseTest(mine: RegExp, other: RegExp) {
  return (self: string): boolean => {
    chargeText(self.length * 8);
    return mine.test(self) && !other.test(self);
  };
}

export const isUpper = caseTest(/[\p{Lu}\p{Uppercase}]/u, /[\p{Ll}\p{Lt}\p{Lowercase}]/u);
export const isLower = caseTest(/[\p{Ll}\p{Lowercase}]/u, /[\p{Lu}\p{Lt}\p{Uppercase}]/u);

function isTitle(self: string): boolean {
  let inWord = false;
  let seen = false;
  for (const character of points.characters(self)) {
    const cased = points.isCased(character);
    if (cased && /[\p{Lu}\p{Lt}]/u.test(character) === inWord) return false;
    inWord = cased;
    seen ||= cased;
  }
  return seen;
}

function join(self: Value, items: Value): Value {
  const isMarkup = self instanceof Markup;
  const joined = joinedText(text(self), items, (item, i) => {
    const part = textOf(item);
    if (part === undefined) fail("TypeError", `sequence item ${i}: expected str instance, ${typeName(item)} found`);
    return isMarkup ? escapeHtml(item) : part;
  });
  return isMarkup ? new Markup(joined) : joined;
}

/** The texts that `convert` makes of the items, with `by` between two. */
export function joinedText(by: string, items: Value, convert: (item: Value, index: number) => string): string {
  const out = new TextBuilder();
  let count = 0;
  for (const item of iterate(items)) {
    if (count > 0 && by !== "") out.add(by);
    out.add(convert(item, count++));
  }
  return out.text();
}

function removeAffix(self: string, affix: Value, prefix: boolean): string {
  const part = text(affix);
  chargeCopy(self.length);
  if (part === "") return self;
  if (prefix) return self.startsWith(part) ? self.slice(part.length) : self;
  return self.endsWith(part) ? self.slice(0, -part.length) : self;
}

function translate(self: string, table: Value): string {
  if (!(table instanceof Dict)) fail("TypeError", `'${typeName(table)}' object is not subscriptable`);
  const mapped = points.characters(self).map((character) => {
    const by = table.get(character.codePointAt(0)!);
    if (by === undefined) return character;
    if (by === null) return "";
    const code = index(by);
    return code === undefined ? text(by) : String.fromCodePoint(code);
  });
  allowText(mapped.reduce((sum, part) => sum + part.length, 0));
  return mapped.join("");
}

function format(self: Value, args: readonly Value[], kwargs: Kwargs): Value {
  return formatText(self, args, kwargs);
}

function formatMap(self: Value, map: Value): Value {
  if (!(map instanceof Dict)) fail("TypeError", "format_map() needs a dict");
  return formatText(self, [], new Map(Array.from(map.entries(), ([key, value]) => [str(key), value])));
}

const BOTH = { left: true, right: true };

const stripper = (sides: { left: boolean; right: boolean }) => (self: string, chars?: Value) => {
  if (chars !== undefined && chars !== null && textOf(chars) === undefined) {
    fail("TypeError", "strip arg must be None or str");
  }
  return points.strip(self, textOf(chars ?? null) ?? null, sides);
};

/** What a method makes of the text alone. */
const ON_TEXT: Record<string, Run> = {
  "capitalize _self": points.capitalize,
  "casefold _self": (self: string) => self.replaceAll("\u1e9e", "ss").replaceAll("\xdf", "ss").toLowerCase(),
  "center _self _width _fill?": (self: string, size: Value, fill?: Value) => center(self, whole(size, 0), filler(fill)),
  "count _self _sub _start? _end?": count,
  "encode _self encoding? errors?": () => fail("TypeError", "bytes are not supported"),
  "endswith _self _suffix _start? _end?": fits("endswith"),
  "expandtabs _self tabsize?": expandTabs,
  "find _self _sub _start? _end?": (self, part, start, end) => find(self, part, start, end, false),
  "index _self _sub _start? _end?": (self, part, start, end) => findOrFail(self, part, start, end, false),
  "isalnum _self": every(/^[\p{L}\p{N}]*$/u),
  "isalpha _self": every(/^\p{L}*$/u),
  "isascii _self": (self: string) => {
    chargeText(self.length);
    return !/\P{ASCII}/u.test(self);
  },
  "isdecimal _self": every(/^\p{Nd}*$/u),
  "isdigit _self": every(DIGIT),
  "isidentifier _self": every(/^[\p{XID_Start}_]\p{XID_Continue}*$/u),
  "islower _self": isLower,
  "isnumeric _self": every(/^\p{N}*$/u),
  "isprintable _self": (self: string) => points.characters(self).every(isPrintable),
  "isspace _self": every(new RegExp(`^[${points.SPACE}]*$`)),
  "istitle _self": isTitle,
  "isupper _self": isUpper,
  "ljust _self _width _fill?": justify("left"),
  "lower _self": (self: string) => {
    chargeText(self.length);
    return self.toLowerCase();
  },
  "lstrip _self _chars?": stripper({ left: true, right: false }),
  "partition _self _sep": (self, separator) => new Tuple(partition(self, separator, false)),
  "removeprefix _self _prefix": (self, prefix) => removeAffix(self, prefix, true),
  "removesuffix _self _suffix": (self, suffix) => removeAffix(self, suffix, false),
  "replace _self _old _new _count?": (self, old, by, most?: Value) =>
    replace(self, text(old), text(by), whole(most, -1)),
  "rfind _self _sub _start? _end?": (self, part, start, end) => find(self, part, start, end, true),
  "rindex _self _sub _start? _end?": (self, part, start, end) => findOrFail(self, part, start, end, true),
  "rjust _self _width _fill?": justify("right"),
  "rpartition _self _sep": (self, separator) => new Tuple(partition(self, separator, true)),
  "rsplit _self sep? maxsplit?": (self, separator, most) => split(self, separator, most, true),
  "rstrip _self _chars?": stripper({ left: false, right: true }),
  "split _self sep? maxsplit?": (self, separator, most) => split(self, separator, most, false),
  "splitlines _self keepends?": (self, keepEnds?: Value) => lines(self, truth(keepEnds ?? false)),
  "startswith _self _prefix _start? _end?": fits("startswith"),
  "strip _self _chars?": stripper(BOTH),
  "swapcase _self": points.swapCase,
  "title _self": points.title,
  "translate _self _table": translate,
  "upper _self": (self: string) => {
    chargeText(self.length);
    return self.toUpperCase();
  },
  "zfill _self _width": zfill,
};

/** Methods that need to know whether they are called on a Markup. */
const ON_VALUE: Record<string, Run> = {
  "format _self *args **kwargs": format,
  "format_map _self _map": formatMap,
  "join _self _iterable": join,
  "striptags _self": (self: Value) => stripTags(textOf(self)!),
  "unescape _self": (self: Value) => unescapeHtml(textOf(self)!),
};

/** Markup.striptags(): the text without comments and tags, its white space made single. */
export function stripTags(markup: string): string {
  chargeText(markup.length * 2);
  const withoutComments = dropBetween(markup, "<!--", "-->");
  return unescapeHtml(points.words(dropBetween(withoutComments, "<", ">")).join(" "));
}

function dropBetween(value: string, open: string, close: string): string {
  const out: string[] = [];
  let at = 0;
  for (;;) {
    const start = value.indexOf(open, at);
    const end = start < 0 ? -1 : value.indexOf(close, start);
    if (end < 0) break;
    out.push(value.slice(at, start));
    at = end + close.length;
  }
  return out.join("") + value.slice(at);
}

const ENTITIES: Record<string, string> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\xa0" };

function unescapeHtml(markup: string): string {
  return markup.replace(/&(?:#(\d{1,7})|#[xX]([\da-fA-F]{1,6})|(\w{2,4}));/g, (entity, decimal, hex, name) => {
    if (name !== undefined) return ENTITIES[name] ?? entity;
    const code = decimal === undefined ? Number.parseInt(hex, 16) : Number(decimal);
    return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : "\ufffd";
  });
}

const RETURNS_TEXT =
  /^(casefold|center|expandtabs|ljust|replace|rjust|zfill|.*strip|capitalize|lower|swapcase|title|translate|upper|remove.*)$/;

/** Calls `run` with the text of a str or Markup; texts that come out of a Markup are Markups. */
function onText(signature: string, run: Run): Native {
  const { name } = native(signature, run);
  const escapes = name === "replace" || name === "rjust" || name === "ljust" || name === "center";
  return native(signature, (self: Value, ...args: (Value | undefined)[]) => {
    if (!(self instanceof Markup)) return run(self, ...args);
    const given = escapes ? args.map((arg) => (typeof arg === "string" ? escapeHtml(arg) : arg)) : args;
    return asMarkup(run(self.text, ...given), name);
  });
}

function asMarkup(result: Value, name: string): Value {
  if (typeof result === "string") return RETURNS_TEXT.test(name) ? new Markup(result) : result;
  const wrap = (item: Value) => (typeof item === "string" ? new Markup(item) : item);
  if (Array.isArray(result)) return result.map(wrap);
  return result instanceof Tuple ? new Tuple(result.items.map(wrap)) : result;
}

/** By name. `self` comes first among the arguments. */
export const STRING_METHODS: ReadonlyMap<string, Native> = new Map(
  [
    ...Object.entries(ON_TEXT).map(([signature, run]) => onText(signature, run)),
    ...Object.entries(ON_VALUE).map(([signature, run]) => native(signature, run)),
  ].map((method) => [method.name, method]),
);
