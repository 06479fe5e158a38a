/**
 * JSON Schemas, from what callers send to what llguidance reads. What it would leave out is refused here, by keyword and place,
 * so that an answer that ends by itself is always valid; so is what it reads in another way, or else it is written anew.
 * Drafts 4 to 2020-12 are taken. Notes (title, default, examples, unknown keywords, ...) are left out.
 */
import { isObject } from "../bounded-json.ts";
import { MAX_SCHEMA_DEPTH, MAX_SCHEMA_KEYWORDS } from "../limits.ts";
import { arrayKeywords } from "./array-keywords.ts";
import { areDisjoint } from "./disjoint.ts";
import { checkExpansion } from "./expansion.ts";
import { endlessDefinitions, ends } from "./finite.ts";
import { allowsAll, below, type Schema, TYPES, UNSUPPORTED } from "./keywords.ts";
import { objectKeywords } from "./object-keywords.ts";
import { refuse } from "./refusal.ts";
import { SchemaPlaces } from "./schema-places.ts";
import { checkValue, numberKeywords, stringKeywords } from "./value-keywords.ts";

type Keywords = Record<string, unknown>;

export interface SchemaOptions {
  /** Objects that list properties have no others, unless their schema says so. */
  closed: boolean;
}

/**
 * `schema`, as llguidance reads it.
 * @throws Refusal that names a keyword and its place.
 */
export function translateSchema(schema: unknown, options: SchemaOptions): Keywords {
  const translated = new SchemaTranslator(schema, options).root();
  if (translated === false) refuse("allows no value at all");
  return translated === true ? {} : translated;
}

export class SchemaTranslator {
  readonly options: SchemaOptions;
  readonly #places: SchemaPlaces;
  readonly #endless: ReadonlySet<string>;
  /** By the pointer of a schema that is referred to: its name, and what became of it, null while it is being translated. */
  readonly #definitions = new Map<string, { name: string; schema: Schema | null }>();
  #keywords = 0;
  #depth = 0;

  /** `endless`: pointers of schemas that no value fits which ends. */
  constructor(root: unknown, options: SchemaOptions, endless: ReadonlySet<string> = new Set()) {
    this.#places = new SchemaPlaces(root);
    this.#endless = endless;
    this.options = options;
  }

  root(): Schema {
    const schema = this.schema(this.#places.root, "");
    if (this.#definitions.size === 0 || typeof schema === "boolean") return schema;
    const definitions = new Map([...this.#definitions.values()].map(({ name, schema }) => [name, schema!]));
    checkExpansion(schema, definitions);
    const endless = endlessDefinitions(definitions);
    if (!ends(schema, endless)) refuse("allows no value that ends: its $ref lead back to themselves");
    if (endless.size === 0) return { ...schema, $defs: Object.fromEntries(definitions) };
    const pointers = [...this.#definitions].filter(([, { name }]) => endless.has(name)).map(([pointer]) => pointer);
    return new SchemaTranslator(this.#places.root, this.options, new Set([...this.#endless, ...pointers])).root();
  }

  /** Counts against the bounds. */
  count(keywords: number): void {
    this.#keywords += keywords;
    if (this.#keywords > MAX_SCHEMA_KEYWORDS) refuse(`has more than ${MAX_SCHEMA_KEYWORDS} keywords and values`);
  }

  /** The schema at `at`, translated. */
  schema(given: unknown, at: string): Schema {
    if (typeof given === "boolean") return given;
    if (!isObject(given)) return refuse(`${at || "the schema"} must be an object, true or false`);
    this.count(1 + Object.keys(given).length);
    if (++this.#depth > MAX_SCHEMA_DEPTH) refuse(`${at} is nested more than ${MAX_SCHEMA_DEPTH} deep`);
    for (const [keyword, asksForNothing] of Object.entries(UNSUPPORTED)) {
      if (given[keyword] === undefined || asksForNothing(given[keyword], given)) continue;
      refuse(`${keyword} (at ${below(at, keyword)}) is not supported`);
    }
    const out = merge(this.#parts(given, at));
    this.#depth--;
    return out;
  }

  /** Several schemas, at `at/0` and so on. */
  schemas(given: unknown, at: string): Schema[] {
    if (!Array.isArray(given) || given.length === 0) refuse(`${at} must be an array of schemas`);
    return given.map((schema, i) => this.schema(schema, below(at, i)));
  }

  /** Schemas by name, at `at/name`. */
  named(given: unknown, at: string): [name: string, schema: Schema][] {
    if (!isObject(given)) refuse(`${at} must be an object of schemas`);
    return Object.entries(given).map(([name, schema]) => [name, this.schema(schema, below(at, name))]);
  }

  /** What a schema asks for, as schemas that must all hold. Their order decides on the order of an answer's properties. */
  #parts(given: Keywords, at: string): Schema[] {
    const parts: Schema[] = [];
    // Where `properties` stand, their place among the other parts counts.
    const anchor = "properties" in given ? "properties" : Object.keys(given)[0];
    for (const keyword of Object.keys(given)) {
      if (keyword === anchor) parts.push(...this.#plain(given, at));
      parts.push(...this.#applied(keyword, given[keyword], below(at, keyword)));
    }
    return parts;
  }

  /** The keywords that speak of the value itself. */
  #plain(given: Keywords, at: string): Schema[] {
    const out: Keywords = {};
    if (given.type !== undefined) out.type = typeKeyword(given.type, below(at, "type"));
    if (given.const !== undefined) {
      checkValue(given.const, below(at, "const"), this);
      out.const = given.const;
    }
    if (given.enum !== undefined) {
      const place = below(at, "enum");
      if (!Array.isArray(given.enum) || given.enum.length === 0) refuse(`${place} must be an array with values`);
      given.enum.forEach((value, i) => {
        checkValue(value, below(place, i), this);
      });
      out.enum = given.enum;
    }
    const parts: Schema[] = [out];
    numberKeywords(given, at, out);
    stringKeywords(given, at, out, parts);
    arrayKeywords(given, at, out, this);
    objectKeywords(given, at, out, parts, this);
    return parts;
  }

  /** What a keyword asks for by means of whole schemas. */
  #applied(keyword: string, value: unknown, at: string): Schema[] {
    switch (keyword) {
      case "$ref":
        return [this.#reference(value, at)];
      case "allOf":
        return this.schemas(value, at);
      case "anyOf":
        return [anyOf(this.schemas(value, at))];
      case "oneOf":
        return [this.#oneOf(this.schemas(value, at), at)];
      case "not":
        if (value === false) return [];
        if (allowsAll(value)) return [false];
        return refuse(`not (at ${at}) is not supported`);
      default:
        return [];
    }
  }

  /** A grammar cannot tell that only one of several matches: where no two can, oneOf is anyOf. */
  #oneOf(branches: Schema[], at: string): Schema {
    for (const [i, one] of branches.entries()) {
      for (let j = 0; j < i; j++) {
        this.count(1);
        if (areDisjoint(one, branches[j]!, (name) => this.definition(name))) continue;
        const why = `entries ${j} and ${i} may both match; use anyOf, or a required property with another const in each`;
        refuse(`oneOf (at ${at}) is not supported where several entries may match: ${why}`);
      }
    }
    return anyOf(branches);
  }

  #reference(reference: unknown, at: string): Schema {
    if (typeof reference !== "string") refuse(`${at} must be a string`);
    const { pointer, schema } = this.#places.find(reference, at);
    if (this.#endless.has(pointer)) return false;
    let definition = this.#definitions.get(pointer);
    if (!definition) {
      definition = { name: `d${this.#definitions.size}`, schema: null };
      this.#definitions.set(pointer, definition);
      const depth = this.#depth;
      this.#depth = 0;
      definition.schema = this.schema(schema, pointer);
      this.#depth = depth;
    }
    return { $ref: `#/$defs/${definition.name}` };
  }

  /** What "#/$defs/d0" refers to; null while it is not known. */
  definition(reference: string): Schema | null {
    const name = reference.slice("#/$defs/".length);
    for (const definition of this.#definitions.values()) if (definition.name === name) return definition.schema;
    return null;
  }
}

function typeKeyword(type: unknown, at: string): unknown {
  const types = Array.isArray(type) ? type : [type];
  if (types.length === 0) refuse(`${at} must name a type`);
  for (const one of types) {
    if (!TYPES.includes(one)) refuse(`${at} must be one of ${TYPES.join(", ")}, or an array of them`);
  }
  return types.length === 1 ? types[0] : types;
}

function anyOf(branches: Schema[]): Schema {
  if (branches.some(allowsAll)) return true;
  const possible = branches.filter((branch) => branch !== false);
  if (possible.length === 0) return false;
  return possible.length === 1 ? possible[0]! : { anyOf: possible };
}

/** Keywords that mean what they mean by what stands beside them. */
const INTERACTING = ["properties", "patternProperties", "additionalProperties", "prefixItems", "items"];

/** One schema that holds where all of `parts` hold. */
function merge(parts: Schema[]): Schema {
  const real = parts.filter((part) => !allowsAll(part)) as (Keywords | false)[];
  if (real.includes(false)) return false;
  if (real.length === 0) return true;
  const keywords = real.flatMap((part) => Object.keys(part));
  const interacting = real.filter((part) => INTERACTING.some((keyword) => part && Object.hasOwn(part, keyword)));
  const fitInOne = new Set(keywords).size === keywords.length && interacting.length <= 1;
  return fitInOne ? Object.assign({}, ...real) : { allOf: real };
}
