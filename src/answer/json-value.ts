/** JSON within a text that comes in pieces. */
import { type Input, type Reading, Unexpected } from "./input.ts";

/** Characters that JSON has outside of strings. */
const STRUCTURE = /[[\]{}:,\s0-9a-zA-Z+.-]/;

/** Where a JSON value ends, followed character by character: by its brackets and quotes alone. */
class ValueEnd {
  #depth = 0;
  #inString = false;
  #escaped = false;
  #begun = false;
  done = false;

  /** How many of the characters belong to the value. */
  scan(text: string): number {
    let i = 0;
    while (i < text.length && !this.done) {
      if (!this.#take(text.charAt(i))) break;
      i++;
    }
    return i;
  }

  /** Whether the value goes on with this character. */
  #take(c: string): boolean {
    if (this.#inString) return this.#takeInString(c);
    if (c === '"') {
      if (this.#begun && this.#depth === 0) return this.#stop();
      this.#inString = true;
    } else if (c === "{" || c === "[") {
      if (this.#begun && this.#depth === 0) return this.#stop();
      this.#depth++;
    } else if (c === "}" || c === "]") {
      if (this.#depth === 0) return this.#stop();
      this.#depth--;
      this.done = this.#depth === 0;
    } else if (!STRUCTURE.test(c) || (this.#depth === 0 && /[\s,:]/.test(c))) {
      return this.#stop();
    }
    this.#begun = true;
    return true;
  }

  #takeInString(c: string): boolean {
    if (this.#escaped) this.#escaped = false;
    else if (c === "\\") this.#escaped = true;
    else if (c === '"') {
      this.#inString = false;
      this.done = this.#depth === 0;
    }
    return true;
  }

  #stop(): false {
    this.done = true;
    return false;
  }
}

/**
 * Reads a JSON value into `give` as it is written, or as much of one as there is: up to a character that JSON does not have
 * outside of strings. Only brackets and quotes are followed: what a model writes within them is its own.
 */
export function* jsonValue(input: Input, give: (text: string) => void): Reading {
  const end = new ValueEnd();
  for (;;) {
    const length = end.scan(input.rest);
    if (length > 0) give(input.read(length));
    if (end.done || input.ended) return;
    yield;
  }
}

/** Reads a JSON string. @throws Unexpected where there is none. */
export function* jsonString(input: Input): Reading<string> {
  if ((yield* input.peek()) !== '"') throw new Unexpected();
  let text = "";
  yield* jsonValue(input, (piece) => {
    text += piece;
  });
  try {
    return JSON.parse(text) as string;
  } catch {
    throw new Unexpected();
  }
}
