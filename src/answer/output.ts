/** The parts of an answer, as a format gives them out. Spaces beside calls and beside the marks of reasoning fall away. */
import { MAX_HELD_SPACE } from "../limits.ts";
import type { AnswerPart } from "./parts.ts";

type Kind = "text" | "reasoning";

export class Output {
  #parts: AnswerPart[] = [];
  /** The end of the text or reasoning so far, if it is space: whether it is kept depends on what follows. */
  #space = "";
  #kind: Kind = "text";
  #calls = 0;
  /** Nothing but space has followed the newest call. */
  #afterCall = false;
  readonly #newId: () => string;

  /** @param newId names a call. */
  constructor(newId: () => string) {
    this.#newId = newId;
  }

  get calls(): number {
    return this.#calls;
  }

  /** The parts since the last take(). */
  take(): AnswerPart[] {
    const parts = this.#parts;
    this.#parts = [];
    return parts;
  }

  text(text: string): void {
    this.#write("text", text);
  }

  reasoning(text: string): void {
    this.#write("reasoning", text);
  }

  /** The spaces at the end belong to the mark that follows. */
  dropSpace(): void {
    this.#space = "";
  }

  /** A call begins. @param id the model's own name of it, if it gives one. */
  call(name: string, id = this.#newId()): void {
    this.dropSpace();
    this.#parts.push({ type: "call", index: this.#calls, id, name });
    this.#calls++;
    this.#afterCall = true;
  }

  /** A piece of the newest call's arguments. */
  arguments(text: string): void {
    this.#add({ type: "arguments", index: this.#calls - 1, text });
  }

  /** The answer is over: spaces at its end are text, but for those after a call. */
  end(): void {
    if (!this.#afterCall) this.#give(this.#space);
    this.dropSpace();
  }

  #write(kind: Kind, text: string): void {
    if (text === "") return;
    this.#kind = kind;
    const all = this.#space + text;
    const cut = Math.max(withoutSpace(all), all.length - MAX_HELD_SPACE);
    this.#give(all.slice(0, cut));
    this.#space = all.slice(cut);
  }

  #give(text: string): void {
    if (text === "") return;
    this.#afterCall = false;
    this.#add({ type: this.#kind, text });
  }

  #add(part: Exclude<AnswerPart, { type: "call" }>): void {
    const last = this.#parts.at(-1);
    if (last && last.type === part.type) last.text += part.text;
    else this.#parts.push(part);
  }
}

const SPACE = " \t\r\n";

/** The length of the text without the spaces and line ends at its end. */
function withoutSpace(text: string): number {
  let length = text.length;
  while (length > 0 && SPACE.includes(text.charAt(length - 1))) length--;
  return length;
}
