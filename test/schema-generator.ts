/** JSON Schemas of a seeded generator: every keyword that is supported, in nests that stay small. */

type Schema = Record<string, unknown>;

/** A generator of numbers below 1 that repeats with its seed. */
function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

const NAMES = ["name", "age", "tags", "where", "when", "a b", 'quo"ted', "größe", "line\nend", "x/y", "~", "$ref", "0"];
const FORMATS = [
  "date",
  "time",
  "date-time",
  "duration",
  "email",
  "hostname",
  "ipv4",
  "ipv6",
  "uri",
  "uuid",
  "json-pointer",
];
const PATTERNS = [
  "^[a-z]{2,5}$",
  "\\d",
  "^(red|green|blue)( light)?$",
  "^\\w+@\\w+$",
  "^[^\\s\\d]{1,8}$",
  "a.c",
  "^.{3}$",
  "^\\p{Lu}\\p{Ll}*$",
];

class Generator {
  readonly #next: () => number;
  #definitions: Schema = {};

  constructor(seed: number) {
    this.#next = random(seed);
  }

  schema(): Schema {
    this.#definitions = {};
    const schema = this.#any(3);
    const notes = this.#chance(0.3) ? { $schema: "https://json-schema.org/draft/2020-12/schema", title: "T" } : {};
    return Object.keys(this.#definitions).length > 0
      ? { ...notes, ...schema, $defs: this.#definitions }
      : { ...notes, ...schema };
  }

  #below(limit: number): number {
    return Math.floor(this.#next() * limit);
  }

  #chance(share: number): boolean {
    return this.#next() < share;
  }

  #pick<T>(list: readonly T[]): T {
    return list[this.#below(list.length)]!;
  }

  #some<T>(list: readonly T[], least: number, most: number): T[] {
    const left = [...list];
    const count = least + this.#below(most - least + 1);
    return Array.from({ length: count }, () => left.splice(this.#below(left.length), 1)[0]!);
  }

  #any(depth: number): Schema {
    const kinds = [
      () => this.#string(),
      () => this.#number(),
      () => this.#listed(),
      () => this.#pick([{ type: "boolean" }, { type: "null" }, { type: ["string", "null"], maxLength: 4 }]),
      ...(depth > 0
        ? [
            () => this.#object(depth),
            () => this.#object(depth),
            () => this.#array(depth),
            () => this.#choice(depth),
            () => this.#both(depth),
            () => this.#reference(),
            () => this.#recursive(),
          ]
        : []),
    ];
    return this.#pick(kinds)();
  }

  #string(): Schema {
    const schema: Schema = { type: "string" };
    const kind = this.#below(5);
    if (kind === 0) schema.format = this.#pick(FORMATS);
    else if (kind === 1) schema.pattern = this.#pick(PATTERNS);
    else if (kind === 2) schema.maxLength = this.#below(12);
    else if (kind === 3) Object.assign(schema, { minLength: 1 + this.#below(3), maxLength: 4 + this.#below(8) });
    else schema.maxLength = 30;
    return schema;
  }

  #number(): Schema {
    const schema: Schema = { type: this.#pick(["integer", "number"]) };
    const low = this.#below(2000) - 1000;
    if (this.#chance(0.5)) schema[this.#pick(["minimum", "exclusiveMinimum"])] = this.#chance(0.3) ? low + 0.5 : low;
    if (this.#chance(0.5)) schema[this.#pick(["maximum", "exclusiveMaximum"])] = low + 20 + this.#below(500);
    if (this.#chance(0.25)) schema.multipleOf = this.#pick([1, 2, 5, 0.5, 0.25, 10]);
    if (schema.type === "integer" && this.#chance(0.2)) schema.format = "int32";
    return schema;
  }

  #listed(): Schema {
    const values = [null, true, 0, -1.5, 42, "", "yes", 'q"', "é\n", [1, "a"], { k: [] }];
    return this.#chance(0.3) ? { const: this.#pick(values) } : { enum: this.#some(values, 1, 5) };
  }

  #object(depth: number): Schema {
    const names = this.#some(NAMES, 0, 4);
    const properties = Object.fromEntries(names.map((name) => [name, this.#any(depth - 1)]));
    const schema: Schema = { type: "object", properties };
    schema.required = names.filter(() => this.#chance(0.6));
    const kind = this.#below(8);
    if (kind === 0) schema.additionalProperties = this.#any(0);
    else if (kind === 1) schema.patternProperties = { "^x-": this.#any(0), "^[0-9]{2}$": { type: "integer" } };
    else if (kind > 2) schema.additionalProperties = false;
    if (this.#chance(0.1)) schema.minProperties = (schema.required as string[]).length;
    if (kind === 0 && this.#chance(0.5) && names.length === (schema.required as string[]).length) {
      schema.minProperties = names.length + 1;
      schema.maxProperties = names.length + 2;
    }
    if (names.length > 1 && this.#chance(0.2)) schema.dependentRequired = { [names[1]!]: [names[0]!] };
    if (kind === 2 && this.#chance(0.5)) {
      return { type: "object", propertyNames: { enum: ["p", "q"] }, additionalProperties: this.#any(0) };
    }
    if (kind === 2)
      return {
        type: "object",
        propertyNames: { pattern: "^k[0-9]$" },
        additionalProperties: this.#any(0),
        maxProperties: 3,
      };
    return schema;
  }

  #array(depth: number): Schema {
    const schema: Schema = { type: "array", items: this.#any(depth - 1), maxItems: 1 + this.#below(4) };
    if (this.#chance(0.4)) schema.minItems = this.#below((schema.maxItems as number) + 1);
    if (this.#chance(0.3)) {
      schema.prefixItems = [this.#any(0), this.#any(0)];
      if (this.#chance(0.5)) schema.items = false;
      if (schema.items === false) Object.assign(schema, { maxItems: 2, minItems: this.#below(3) });
    }
    return schema;
  }

  #choice(depth: number): Schema {
    if (this.#chance(0.6)) return { anyOf: [this.#any(depth - 1), this.#any(0), { type: "null" }] };
    const branch = (kind: string) => {
      const { properties, ...rest } = this.#closed(depth - 1);
      return { ...rest, properties: { kind: { const: kind }, ...(properties as Schema) }, required: ["kind"] };
    };
    return { oneOf: [branch("cat"), branch("dog"), { type: "integer", maximum: 9 }] };
  }

  #closed(depth: number): Schema {
    const names = this.#some(NAMES, 1, 2);
    const properties = Object.fromEntries(names.map((name) => [name, this.#any(depth)]));
    return { type: "object", properties, additionalProperties: false };
  }

  #both(depth: number): Schema {
    const [one, other, third] = this.#some(NAMES, 3, 3) as [string, string, string];
    return {
      type: "object",
      allOf: [
        { properties: { [one]: this.#any(depth - 1) }, required: [one] },
        { properties: { [other]: { type: "string", maxLength: 9 } } },
      ],
      properties: { [third]: { type: "integer", maximum: 99 } },
    };
  }

  #reference(): Schema {
    const name = this.#pick(["thing", "other thing", "a/b"]);
    // Without references of its own: one to itself would have no end.
    this.#definitions[name] ??= { anyOf: [this.#any(0), this.#any(0)] };
    const pointer = encodeURIComponent(name.replaceAll("/", "~1"));
    return {
      type: "object",
      properties: { it: { $ref: `#/$defs/${pointer}` } },
      required: ["it"],
      additionalProperties: false,
    };
  }

  #recursive(): Schema {
    this.#definitions.tree = {
      type: "object",
      properties: {
        value: { type: "integer", minimum: 0, maximum: 99 },
        below: { type: "array", items: { $ref: "#/$defs/tree" }, maxItems: 2 },
      },
      required: ["value"],
      additionalProperties: false,
    };
    return { $ref: "#/$defs/tree" };
  }
}

export function generatedSchemas(count: number, seed: number): Schema[] {
  const generator = new Generator(seed);
  return Array.from({ length: count }, () => generator.schema());
}
