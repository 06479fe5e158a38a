/** The rules of structures, kept by what was asked: finding what no grammar can hold takes many times as long as reading it. */
import { MAX_CACHED_GRAMMAR_LENGTH, MAX_CACHED_GRAMMARS } from "../limits.ts";
import { type StructuredOutputs, structuredRules } from "../structured-outputs.ts";

export class StructureRules {
  /** In the order in which they came. */
  readonly #rules = new Map<string, string>();
  #length = 0;

  constructor(
    private readonly most = MAX_CACHED_GRAMMARS,
    private readonly mostLength = MAX_CACHED_GRAMMAR_LENGTH,
  ) {}

  /** Those that are kept. */
  get size(): number {
    return this.#rules.size;
  }

  /** @throws what structuredRules() throws. */
  of(spec: StructuredOutputs): string {
    const asked = JSON.stringify(spec);
    const known = this.#rules.get(asked);
    if (known !== undefined) return known;
    const rules = structuredRules(spec);
    this.#rules.set(asked, rules);
    this.#length += asked.length + rules.length;
    for (const [oldest, itsRules] of this.#rules) {
      if (this.#rules.size <= this.most && this.#length <= this.mostLength) break;
      this.#rules.delete(oldest);
      this.#length -= oldest.length + itsRules.length;
    }
    return rules;
  }
}
