/**
 * xgrammar's structural tags as Lark rules: the old form (structures and triggers) and the new one (a tree of formats).
 * What has no counterpart is refused by its type.
 */
import { isObject } from "../bounded-json.ts";
import { MAX_REGEX_REPEATS, MAX_SCHEMA_DEPTH, MAX_STRUCTURE_PARTS } from "../limits.ts";
import { larkRegex, larkString } from "./lark.ts";
import { refuse } from "./refusal.ts";
import { translateRegex } from "./regex.ts";

/** Writes what stands in tags: rules that begin with the one called `name`. */
export interface ContentRules {
  json(schema: unknown, name: string): string;
  grammar(text: string, name: string): string;
}

type Fields = Record<string, unknown>;

const ANY_TEXT = "/(?s:.*)/";

/** Lark rules, the first of which is `ruleName`; the others' names begin with it. */
export function structuralTagRules(tag: unknown, ruleName: string, content: ContentRules): string {
  if (!isObject(tag)) refuse("must be an object");
  const writer = new Writer(ruleName, content);
  const isOld = tag.structures !== undefined;
  const expression = isOld
    ? writer.format(triggered(tag), "structures", true)
    : writer.format(tag.format, "format", true);
  return [`${ruleName}: ${expression}`, ...writer.lines].join("\n");
}

/** The old form in the words of the new one. */
function triggered({ structures, triggers }: Fields): Fields {
  const tags = list(structures, "structures").map((one, i) => {
    if (!isObject(one)) return refuse(`structures/${i} must be an object`);
    return { type: "tag", begin: one.begin, content: { type: "json_schema", json_schema: one.schema }, end: one.end };
  });
  return { type: "triggered_tags", triggers, tags };
}

class Writer {
  readonly lines: string[] = [];
  readonly #ruleName: string;
  readonly #content: ContentRules;
  #rules = 0;
  #depth = 0;

  constructor(ruleName: string, content: ContentRules) {
    this.#ruleName = ruleName;
    this.#content = content;
  }

  /** The expression of a format at `at`. `isLast`: nothing follows it, so that it may be text without end. */
  format(format: unknown, at: string, isLast: boolean): string {
    if (!isObject(format)) return refuse(`${at} must be an object with a type`);
    if (++this.#depth > MAX_SCHEMA_DEPTH) refuse(`${at} is nested more than ${MAX_SCHEMA_DEPTH} deep`);
    const expression = this.#expression(format, at, isLast);
    this.#depth--;
    return expression;
  }

  #expression(format: Fields, at: string, isLast: boolean): string {
    if (format.excludes !== undefined && list(format.excludes, `${at}/excludes`, 0).length > 0) {
      refuse(`${at}/excludes is not supported`);
    }
    switch (format.type) {
      case "const_string":
        return larkString(string(format.value, `${at}/value`));
      case "regex":
        return larkRegex(translateRegex(string(format.pattern, `${at}/pattern`)));
      case "json_schema":
        return this.#schema(format, at);
      case "grammar": {
        const name = this.#name();
        this.lines.push(this.#content.grammar(string(format.grammar, `${at}/grammar`), name));
        return name;
      }
      case "any_text":
        if (!isLast) refuse(`${at}: any_text must end the answer or stand in a tag that has an end`);
        return ANY_TEXT;
      case "sequence":
        return this.#sequence(list(format.elements, `${at}/elements`), `${at}/elements`, isLast);
      case "or": {
        const elements = list(format.elements, `${at}/elements`);
        return `(${elements.map((one, i) => this.format(one, `${at}/elements/${i}`, isLast)).join(" | ")})`;
      }
      case "optional":
        return `(${this.format(format.content, `${at}/content`, isLast)})?`;
      case "star":
        return `(${this.format(format.content, `${at}/content`, false)})*`;
      case "plus":
        return `(${this.format(format.content, `${at}/content`, false)})+`;
      case "repeat":
        return this.#repeat(format, at);
      case "tag":
        return this.#tag(format, at, isLast, "");
      case "triggered_tags":
        return this.#triggeredTags(format, at, isLast);
      case "tags_with_separator":
        return this.#separatedTags(format, at);
      default:
        return refuse(`${at} has the type ${JSON.stringify(format.type)}, which is not supported`);
    }
  }

  #name(): string {
    return `${this.#ruleName}_${this.#rules++}`;
  }

  #schema({ json_schema, style }: Fields, at: string): string {
    if (style !== undefined && style !== null && style !== "json")
      refuse(`${at}/style ${JSON.stringify(style)} is not supported`);
    const name = this.#name();
    this.lines.push(this.#content.json(json_schema, name));
    return name;
  }

  #sequence(elements: unknown[], at: string, isLast: boolean): string {
    const parts = elements.map((one, i) => this.format(one, `${at}/${i}`, isLast && i === elements.length - 1));
    return `(${parts.join(" ")})`;
  }

  #repeat({ min, max, content }: Fields, at: string): string {
    const least = whole(min ?? 0, `${at}/min`);
    const most = max === undefined || max === null || max === -1 ? null : whole(max, `${at}/max`);
    if (most !== null && most < least) refuse(`${at}/max is less than min`);
    const inner = this.format(content, `${at}/content`, false);
    return most === 0 ? '""' : `(${inner}){${least},${most ?? ""}}`;
  }

  /** A tag, of whose begin `read` has been read. */
  #tag(tag: Fields, at: string, isLast: boolean, read: string): string {
    const begin = string(tag.begin, `${at}/begin`).slice(read.length);
    const ends = (Array.isArray(tag.end) ? tag.end : [tag.end]).map((end, i) => string(end, `${at}/end/${i}`));
    const end = `(${ends.map(larkString).join(" | ")})`;
    const opening = begin === "" ? "" : `${larkString(begin)} `;
    const { content } = tag;
    if (isObject(content) && content.type === "any_text" && !ends.includes("")) {
      const name = this.#name();
      this.lines.push(`${name}[lazy]: ${ANY_TEXT} ${end}`);
      return `(${opening}${name})`;
    }
    const inner = this.format(content, `${at}/content`, isLast && ends.every((text) => text === ""));
    return `(${opening}${inner} ${end})`;
  }

  /** Text in which tags may stand: after a trigger, one of its tags must go on. */
  #triggeredTags(format: Fields, at: string, isLast: boolean): string {
    const triggers = list(format.triggers, `${at}/triggers`).map((one, i) => string(one, `${at}/triggers/${i}`, 1));
    const byTrigger = new Map<string, string[]>(triggers.map((trigger) => [trigger, []]));
    const tags = list(format.tags, `${at}/tags`);
    for (const [i, tag] of tags.entries()) {
      const place = `${at}/tags/${i}`;
      if (!isObject(tag)) return refuse(`${place} must be an object`);
      const begin = string(tag.begin, `${place}/begin`);
      const trigger = triggers.find((one) => begin.startsWith(one));
      if (trigger === undefined) return refuse(`${place}/begin begins with none of the triggers`);
      byTrigger.get(trigger)!.push(this.#tag(tag, place, isLast && format.stop_after_first === true, trigger));
    }
    const calls: string[] = [];
    for (const [trigger, itsTags] of byTrigger) {
      if (itsTags.length === 0) continue;
      const head = this.#name();
      this.lines.push(`${head}[lazy]: ${ANY_TEXT} ${larkString(trigger)}`);
      calls.push(`${head} (${itsTags.join(" | ")})`);
    }
    const call = `(${calls.join(" | ")})`;
    const certain = format.at_least_one === true;
    if (certain && format.stop_after_first === true) return call;
    if (!isLast) refuse(`${at}: triggered_tags must end the answer`);
    if (format.stop_after_first === true) return `(${call} | ${ANY_TEXT})`;
    return `${call}${certain ? "+" : "*"} ${ANY_TEXT}`;
  }

  #separatedTags(format: Fields, at: string): string {
    const tags = list(format.tags, `${at}/tags`).map((tag, i) => {
      if (!isObject(tag)) return refuse(`${at}/tags/${i} must be an object`);
      return this.#tag(tag, `${at}/tags/${i}`, false, "");
    });
    const tag = this.#name();
    this.lines.push(`${tag}: ${tags.join(" | ")}`);
    const separator = larkString(string(format.separator ?? "", `${at}/separator`));
    const all = format.stop_after_first === true ? tag : `${tag} (${separator} ${tag})*`;
    return format.at_least_one === true ? `(${all})` : `(${all})?`;
  }
}

function list(value: unknown, at: string, least = 1): unknown[] {
  if (!Array.isArray(value) || value.length < least) return refuse(`${at} must be an array with entries`);
  if (value.length > MAX_STRUCTURE_PARTS) refuse(`${at} has more than ${MAX_STRUCTURE_PARTS} entries`);
  return value;
}

function string(value: unknown, at: string, least = 0): string {
  if (typeof value !== "string" || value.length < least)
    return refuse(`${at} must be a ${least > 0 ? "non-empty " : ""}string`);
  return value;
}

function whole(value: unknown, at: string): number {
  if (typeof value !== "number" || !Number.isInteger(value) || value < 0 || value > MAX_REGEX_REPEATS) {
    return refuse(`${at} must be a whole number from 0 to ${MAX_REGEX_REPEATS}`);
  }
  return value;
}
