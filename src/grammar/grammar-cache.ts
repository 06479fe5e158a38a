/** Compiled grammars by their text: those that were used last, within bounds. It is one of their users. */
import { TextCache } from "../text-cache.ts";
import type { CompiledGrammar } from "./compiled-grammar.ts";

export class GrammarCache extends TextCache<CompiledGrammar> {
  constructor(most?: number, mostLength?: number) {
    super(
      (text) => text.length,
      (grammar) => grammar.release(),
      most,
      mostLength,
    );
  }

  override add(text: string, grammar: CompiledGrammar): void {
    super.add(text, grammar.use());
  }
}
