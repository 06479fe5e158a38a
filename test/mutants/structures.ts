/** Bugs planted in structured outputs: from a schema, a regular expression or a grammar to Lark rules. */
import { inFile, type PlantedBug } from "./bugs.ts";

const folder = "src/grammar-sources";
const tests = [`${folder}/json-schema.test.ts`, "src/structured-outputs.test.ts"];
const regexTests = [`${folder}/regex.test.ts`];
const gbnfTests = [`${folder}/gbnf.test.ts`];

export const structureBugs: PlantedBug[] = [
  ...inFile(
    "src/request/structure-rules.ts",
    ["src/request/structure-rules.test.ts"],
    [
      [
        "const known = this.#rules.get(asked);",
        'const known = this.#rules.get("") ?? this.#rules.get(asked);\n    if (this.#rules.size === 0) this.#rules.add("", structuredRules(spec));',
        "whoever asks gets the rules of another",
      ],
      ["    this.#rules.add(asked, rules);\n", "", "no rules are kept"],
    ],
  ),
  ...inFile(`${folder}/json-rule.ts`, tests, [
    [
      "const ESCAPES = 'nrbtf\\\\\"';",
      "const ESCAPES = 'nrbtf\\\\\"u';",
      "names may be written as \\u escapes, and so escape their schemas",
    ],
    ["whitespace_flexible: !style.compact,", "whitespace_flexible: true,", "compact JSON may have spaces"],
    [
      'source.replaceAll("\\\\s", "[ \\\\t\\\\n\\\\r]")',
      "source",
      "\\s between the parts of JSON allows every space of Unicode",
    ],
  ]),
  ...inFile(`${folder}/json-schema.ts`, tests, [
    ["&& interacting.length <= 1", "", "additionalProperties sees the properties of allOf"],
    [
      "if (areDisjoint(one, branches[j]!, (name) => this.definition(name))) continue;",
      "continue;",
      "oneOf is always anyOf",
    ],
    [
      "if (allowsAll(value)) return [false];",
      "if (allowsAll(value)) return [];",
      "not of everything allows everything",
    ],
    ["if (this.#endless.has(pointer)) return false;", "", "a reference without end is kept beside another way"],
    ["if (!ends(schema, endless)) refuse", "if (false) refuse", "a schema that no value fits is taken"],
    ["if (++this.#depth > MAX_SCHEMA_DEPTH)", "if (false)", "schemas may be nested without bound"],
  ]),
  ...inFile(`${folder}/expansion.ts`, tests, [
    [
      "size += sizeOfDefinition(value.$ref)",
      "size += 1",
      "an allOf may multiply definitions, until there is no memory",
    ],
  ]),
  ...inFile(`${folder}/value-keywords.ts`, tests, [
    ["if (!(multiple > 0)) refuse", "if (false) refuse", "multipleOf may be 0"],
    ["if (!isExact) refuse", "if (false) refuse", "numbers that were rounded are taken as constants"],
    [
      'out[given.exclusiveMinimum === true ? "exclusiveMinimum" : "minimum"]',
      "out.minimum",
      "draft 4's exclusiveMinimum is ignored",
    ],
    ["if (NOT_WRITTEN.test(text)) refuse", "if (false) refuse", "texts are taken that no answer can hold"],
  ]),
  ...inFile(`${folder}/object-keywords.ts`, tests, [
    ["if (least > certain + 1) {", "if (false) {", "properties of one name are counted twice"],
    ["return closed && lists ?", "return lists ?", "all objects that list properties are closed"],
    [
      "parts.push(then === false ? without : { anyOf: [without,",
      "parts.push(then === false ? without : { anyOf: [",
      "what depends on a property is asked for without it",
    ],
  ]),
  ...inFile(`${folder}/formats.ts`, tests, [
    ['0[1-9]|1[0-9]|2[0-8])",', '0[1-9]|1[0-9]|2[0-9])",', "every February has 29 days"],
  ]),
  ...inFile(`${folder}/disjoint.ts`, tests, [
    [
      "common.length === 1 && common[0] ===",
      "common[0] ===",
      "objects that may be something else too count as told apart",
    ],
  ]),
  ...inFile(`${folder}/regex.ts`, regexTests, [
    ['if (this.#next(".")) return DOT;', 'if (this.#next(".")) return ".";', "a dot matches a carriage return"],
    [
      "if (last < first) this.#refuse(",
      "if (false) this.#refuse(",
      "a range may go from a higher character to a lower one",
    ],
    ["if (upper < Number(least))", "if (false)", "a repetition may go from more to less"],
    ["if (pair) {", "if (false) {", "escaped surrogate pairs are refused"],
  ]),
  ...inFile(`${folder}/gbnf.ts`, gbnfTests, [
    ['negated ? "^" : ""', '""', "a negated class is not"],
    ['[least, most] = [sign === "+" ? 1 : 0,', "[least, most] = [0,", "one or more is any number"],
    ["if (most !== null && most < least)", "if (false)", "a repetition may go from more to less"],
  ]),
  ...inFile(`${folder}/gbnf-rules.ts`, gbnfTests, [
    [
      "ends = part === undefined || this.#isRegular(part)",
      "ends = false",
      "each literal ends where the next could still go on",
    ],
    ["if (most === 0) return '\"\"';", "", "a repetition of nothing is refused"],
  ]),
  ...inFile(`${folder}/structural-tag.ts`, tests, [
    [
      'if (isObject(content) && content.type === "any_text" && !ends.includes("")) {',
      "if (false) {",
      "no text may stand in a tag",
    ],
    ["begins with none of the triggers`", "is`", "the error does not say what is wrong with a trigger"],
  ]),
  ...inFile(
    "routes/body/structured.ts",
    ["routes/body/structured.test.ts"],
    [
      ["  if (second) {", "  if (false) {", "two structures at once are taken"],
      [
        '.replace("structured_outputs.whitespace_pattern", "guided_whitespace_pattern")',
        "",
        "an error names another field than the caller's",
      ],
    ],
  ),
];
