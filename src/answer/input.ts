/**
 * Text that comes in pieces, read by generators: a generator yields where it needs the next piece, and goes on from there.
 * So a format is written as if its text were whole, and how the text is cut cannot change what is read.
 */
import { MAX_HELD_CALL_LENGTH } from "../limits.ts";

/** Reads text and returns a T. It yields when it needs more. */
export type Reading<T = void> = Generator<undefined, T, undefined>;

/** Thrown where what comes is not what was expected. The text that did not fit is still unread. */
export class Unexpected extends Error {}

export class Input {
  #rest = "";
  #held: string | null = null;
  #ended = false;

  push(text: string): void {
    this.#rest += text;
  }

  end(): void {
    this.#ended = true;
  }

  /** What has come and is unread. */
  get rest(): string {
    return this.#rest;
  }

  /** Whether what is read is held. */
  get holds(): boolean {
    return this.#held !== null;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /**
   * Reads so many characters (UTF-16 code units) of `rest`, and returns them.
   * @throws Unexpected when more text is held than may be.
   */
  read(length: number): string {
    const room = this.#held === null ? length : MAX_HELD_CALL_LENGTH - this.#held.length;
    const text = this.#rest.slice(0, Math.min(length, room));
    this.#rest = this.#rest.slice(text.length);
    if (this.#held !== null) this.#held += text;
    if (length > room) throw new Unexpected();
    return text;
  }

  /** Keeps what is read from now on, until release(). */
  hold(): void {
    this.#held = "";
  }

  /** The text that was read since hold(); it is kept no longer. */
  release(): string {
    const text = this.#held ?? "";
    this.#held = null;
    return text;
  }

  /** The next character, unread; "" at the end. */
  *peek(): Reading<string> {
    while (this.#rest === "" && !this.#ended) yield;
    return this.#rest.charAt(0);
  }

  /** Reads past spaces and line ends. */
  *space(): Reading {
    for (;;) {
      const length = this.#rest.search(/[^ \t\r\n]/);
      this.read(length < 0 ? this.#rest.length : length);
      if (length >= 0 || this.#ended) return;
      yield;
    }
  }

  /** Whether exactly this text comes next; it is read then. */
  *skip(text: string): Reading<boolean> {
    while (this.#rest.length < text.length && text.startsWith(this.#rest) && !this.#ended) yield;
    if (!this.#rest.startsWith(text)) return false;
    this.read(text.length);
    return true;
  }

  /** Reads this text, where it comes next, or as much of it as there is before the end. */
  *skipEnd(text: string): Reading {
    if (!(yield* this.skip(text)) && this.#ended && text.startsWith(this.#rest)) this.read(this.#rest.length);
  }

  /** Reads exactly this text. @throws Unexpected where something else comes. */
  *expect(text: string): Reading {
    if (!(yield* this.skip(text))) throw new Unexpected();
  }

  /** Reads all characters that a pattern of single characters matches, as they come, into `give`. */
  *run(character: RegExp, give: (text: string) => void): Reading {
    for (;;) {
      let length = 0;
      while (length < this.#rest.length && character.test(this.#rest.charAt(length))) length++;
      const whole = length === this.#rest.length;
      if (length > 0) give(this.read(length));
      if (!whole || this.#ended) return;
      yield;
    }
  }

  /** Reads a word of such characters. @throws Unexpected where there is none. */
  *word(character: RegExp): Reading<string> {
    let word = "";
    yield* this.run(character, (text) => {
      word += text;
    });
    if (word === "") throw new Unexpected();
    return word;
  }

  /**
   * Reads up to the first of the marks into `give`. Returns the mark, unread; "" at the end. What may be the beginning of a
   * mark waits for what follows. No mark may begin with another.
   */
  *until(marks: readonly string[], give: (text: string) => void): Reading<string> {
    for (;;) {
      const found = firstMark(this.#rest, marks);
      const length = found?.at ?? this.#rest.length - (this.#ended ? 0 : heldBack(this.#rest, marks));
      if (length > 0) give(this.read(length));
      if (found || this.#ended) return found?.mark ?? "";
      yield;
    }
  }
}

function firstMark(text: string, marks: readonly string[]): { mark: string; at: number } | null {
  let first: { mark: string; at: number } | null = null;
  for (const mark of marks) {
    const at = text.indexOf(mark);
    if (at >= 0 && (first === null || at < first.at)) first = { mark, at };
  }
  return first;
}

/** How many characters at the end of the text may begin a mark. */
function heldBack(text: string, marks: readonly string[]): number {
  let most = 0;
  for (const mark of marks) {
    for (let length = Math.min(mark.length - 1, text.length); length > most; length--) {
      if (text.endsWith(mark.slice(0, length))) most = length;
    }
  }
  return most;
}
