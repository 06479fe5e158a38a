/** Where tokens begin in a text, in characters: Unicode code points, as Python counts them. */
import type { Detokenizer } from "../text/detokenizer.ts";
import type { Tokenizer } from "../text/tokenizer.ts";

/** The length of a text in code points. */
export function codePoints(text: string): number {
  let count = text.length;
  for (let i = 0; i < text.length; i++) if (isLowSurrogate(text.charCodeAt(i))) count--;
  return count;
}

function isLowSurrogate(code: number): boolean {
  return code >= 0xdc00 && code <= 0xdfff;
}

/** Walks through the tokens of a prompt, in order. */
export class PromptOffsets {
  readonly #tokenizer: Tokenizer;
  readonly #decoder: Detokenizer;
  readonly #text: string | null;
  #characters = 0;
  /** The same in UTF-16 units; counted where there is a text. */
  #units = 0;

  /** `text`: what was tokenised; null for a prompt that was given as ids, whose text is made from them. */
  constructor(tokenizer: Tokenizer, text: string | null, skipSpecialTokens: boolean) {
    this.#tokenizer = tokenizer;
    this.#decoder = tokenizer.detokenizer({ wholeText: true, skipSpecialTokens });
    this.#text = text;
  }

  /** Where the text of the next token begins. A token without text of its own stands where the next text begins. */
  next(id: number): number {
    const at = this.#characters + Number(this.#decoder.breaksOff(id));
    const piece = this.#pieceOf(id);
    this.#units += piece.length;
    this.#characters += codePoints(piece);
    return at;
  }

  /** The part of the text that a token completes. */
  #pieceOf(id: number): string {
    const text = this.#text;
    if (text === null) return this.#decoder.pushOne(id);
    const isSpecial = this.#tokenizer.isSpecial(id);
    const piece = isSpecial ? this.#tokenizer.tokenText(id) : this.#decoder.pushOne(id);
    // A special token is in the text where its writer put it; the tokenizer adds others.
    if (isSpecial && !text.startsWith(piece, this.#units)) return "";
    return piece.slice(0, text.length - this.#units);
  }
}
