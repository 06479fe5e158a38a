/** The messages of a chat, in rounds: a question and its answer. */
import type { ChatMessage } from "../src/types.ts";

export class Conversation {
  readonly #system: ChatMessage[];
  readonly #rounds: { question: string; answer: string }[] = [];

  constructor(system: string | null) {
    this.#system = system === null ? [] : [{ role: "system", content: system }];
  }

  /** The round that the next question opens, from 1. */
  get round(): number {
    return this.#rounds.length + 1;
  }

  /** The conversation so far, with `question` as its last message. */
  messages(question: string): ChatMessage[] {
    const messages = [...this.#system];
    for (const round of this.#rounds) {
      messages.push({ role: "user", content: round.question }, { role: "assistant", content: round.answer });
    }
    messages.push({ role: "user", content: question });
    return messages;
  }

  add(question: string, answer: string): void {
    this.#rounds.push({ question, answer });
  }

  /** Forgets round `round` and all after it. False where there is no such round. */
  resetBefore(round: number): boolean {
    if (!Number.isInteger(round) || round < 1 || round > this.round) return false;
    this.#rounds.length = round - 1;
    return true;
  }
}
