/** How many of a choice's tokens are reasoning. The marks around it count too: they are tokens that no text shows. */
import type { AnswerPart } from "../../src/answer/parts.ts";
import type { ReasoningFormat } from "../../src/answer/reasoning.ts";
import type { Chunk, FastgenApi } from "../../src/types.ts";

export class ReasoningCount {
  tokens = 0;
  readonly #format: ReasoningFormat | null;
  readonly #fastgen: Pick<FastgenApi, "tokenText">;
  /** The end of the text so far, which may be the beginning of the mark that ends reasoning. */
  #tail = "";

  constructor(format: ReasoningFormat | null, fastgen: Pick<FastgenApi, "tokenText">) {
    this.#format = format;
    this.#fastgen = fastgen;
  }

  /** Takes a chunk: whether reasoning was open before it and is open after it, and what was read out of it. */
  count({ token_ids }: Chunk, before: boolean, after: boolean, parts: readonly AnswerPart[]): void {
    if (this.#format === null) return;
    if (!before && !after && !parts.some(({ type }) => type === "reasoning")) return;
    this.tokens += after ? token_ids.length : this.#upToEnd(token_ids, this.#format.end);
    const text = token_ids.map((id) => this.#fastgen.tokenText(id)).join("");
    this.#tail = (this.#tail + text).slice(1 - this.#format.end.length);
  }

  /** Of these tokens, those up to the end of the mark. A chunk has several where nobody has read for a while. */
  #upToEnd(ids: readonly number[], mark: string): number {
    let text = this.#tail;
    const last = ids.findIndex((id) => {
      text += this.#fastgen.tokenText(id);
      return text.includes(mark);
    });
    return last < 0 ? ids.length : last + 1;
  }
}
