/** Compiled grammars by their text: those that were used last, within bounds. */
import { MAX_CACHED_GRAMMAR_LENGTH, MAX_CACHED_GRAMMARS } from "../limits.ts";
import type { CompiledGrammar } from "./compiled-grammar.ts";

export class GrammarCache {
  /** In the order of their last use. */
  readonly #grammars = new Map<string, CompiledGrammar>();
  #length = 0;

  constructor(
    private readonly most = MAX_CACHED_GRAMMARS,
    private readonly mostLength = MAX_CACHED_GRAMMAR_LENGTH,
  ) {}

  get size(): number {
    return this.#grammars.size;
  }

  get(text: string): CompiledGrammar | null {
    const grammar = this.#grammars.get(text);
    if (!grammar) return null;
    this.#grammars.delete(text);
    this.#grammars.set(text, grammar);
    return grammar;
  }

  /** A text that it does not have yet. Those used longest ago make room. */
  add(text: string, grammar: CompiledGrammar): void {
    this.#grammars.set(text, grammar.use());
    this.#length += text.length;
    for (const oldest of this.#grammars.keys()) {
      if (this.#grammars.size <= this.most && this.#length <= this.mostLength) break;
      if (oldest !== text) this.#remove(oldest);
    }
  }

  clear(): void {
    for (const text of this.#grammars.keys()) this.#remove(text);
  }

  #remove(text: string): void {
    this.#grammars.get(text)!.release();
    this.#grammars.delete(text);
    this.#length -= text.length;
  }
}
