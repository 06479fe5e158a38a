/** Values that are kept by a text: those used last, within bounds of their number and their length. */
import { MAX_CACHED_GRAMMAR_LENGTH, MAX_CACHED_GRAMMARS } from "./limits.ts";

export class TextCache<V> {
  /** In the order of their last use. */
  readonly #values = new Map<string, V>();
  #length = 0;

  /**
   * @param lengthOf characters that a value and its text take; the same each time it is asked
   * @param release told of each value that is no longer kept
   */
  constructor(
    private readonly lengthOf: (text: string, value: V) => number,
    private readonly release: (value: V) => void = () => {},
    private readonly most = MAX_CACHED_GRAMMARS,
    private readonly mostLength = MAX_CACHED_GRAMMAR_LENGTH,
  ) {}

  get size(): number {
    return this.#values.size;
  }

  /** Null where it is not kept. */
  get(text: string): V | null {
    const value = this.#values.get(text);
    if (value === undefined) return null;
    this.#values.delete(text);
    this.#values.set(text, value);
    return value;
  }

  /** A text that it does not have yet. Those used longest ago make room; the newest stays, however long it is. */
  add(text: string, value: V): void {
    this.#values.set(text, value);
    this.#length += this.lengthOf(text, value);
    for (const oldest of this.#values.keys()) {
      if (this.#values.size <= this.most && this.#length <= this.mostLength) break;
      if (oldest !== text) this.#remove(oldest);
    }
  }

  clear(): void {
    for (const text of this.#values.keys()) this.#remove(text);
  }

  #remove(text: string): void {
    const value = this.#values.get(text)!;
    this.#values.delete(text);
    this.#length -= this.lengthOf(text, value);
    this.release(value);
  }
}
