/** A text made of pieces, as long as the budget allows. */
import { allowText, chargeCopy, chargeItems, MAX_TEXT_LENGTH } from "./budget.ts";

export class TextBuilder {
  readonly #pieces: string[] = [];
  #length = 0;

  /** @throws BudgetError where the text grows too long. */
  add(piece: string): void {
    chargeItems(1);
    this.#length += piece.length;
    if (this.#length > MAX_TEXT_LENGTH) allowText(this.#length);
    this.#pieces.push(piece);
  }

  text(): string {
    chargeCopy(this.#length);
    return this.#pieces.join("");
  }
}
