/** The rules of structures, kept by what was asked: finding what no grammar can hold takes many times as long as reading it. */
import { type StructuredOutputs, structuredRules } from "../structured-outputs.ts";
import { TextCache } from "../text-cache.ts";

export class StructureRules {
  readonly #rules: TextCache<string>;

  constructor(most?: number, mostLength?: number) {
    this.#rules = new TextCache((asked, rules) => asked.length + rules.length, undefined, most, mostLength);
  }

  /** Those that are kept. */
  get size(): number {
    return this.#rules.size;
  }

  /** @throws what structuredRules() throws. */
  of(spec: StructuredOutputs): string {
    const asked = JSON.stringify(spec);
    const known = this.#rules.get(asked);
    if (known !== null) return known;
    const rules = structuredRules(spec);
    this.#rules.add(asked, rules);
    return rules;
  }
}
