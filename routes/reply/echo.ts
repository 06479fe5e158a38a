/** With `echo`: the prompts, which begin the answers; and where each token begins in the text that is returned. */
import { codePoints } from "../../src/generation/text-offsets.ts";
import type { FastgenApi, Generation, PositionLogprobs } from "../../src/types.ts";
import type { Run } from "../run.ts";
import type { CompletionPosition, TokenNames } from "./logprobs.ts";

export class Echo {
  readonly #run: Run;
  /** By prompt. */
  readonly #texts: string[];
  /** Whether log probabilities of the prompts are listed. */
  readonly withLogprobs: boolean;

  constructor(run: Run, fields: { logprobs: number | null; skip_special_tokens: boolean }) {
    this.#run = run;
    this.withLogprobs = fields.logprobs !== null;
    const { skip_special_tokens } = fields;
    this.#texts = run.generations.map(
      ({ prompt_text, prompt_token_ids }) =>
        prompt_text ?? run.fastgen.detokenize(prompt_token_ids, { skip_special_tokens }),
    );
  }

  /** What the choice `index` begins with. */
  text(index: number): string {
    return this.#texts[Math.floor(index / this.#run.n)]!;
  }

  /** Whether the prompt's log probabilities are still to come. One choice brings them for all choices of its prompt. */
  waits(index: number): boolean {
    return this.withLogprobs && this.#run.generationOf(index).prompt_logprobs === null;
  }
}

/** One choice's tokens in its text: the echo, then the answer. Offsets are in characters of the whole. */
export class ListedText {
  readonly #echoLength: number;
  readonly #nameOf: TokenNames;
  /** Where the text ends; Infinity while the answer goes on. */
  #end: number;

  /** `answer`: the whole answer; null while it goes on. */
  constructor(echo: string, answer: string | null, nameOf: TokenNames) {
    this.#echoLength = codePoints(echo);
    this.#end = answer === null ? Number.POSITIVE_INFINITY : this.#echoLength + codePoints(answer);
    this.#nameOf = nameOf;
  }

  /** The answer has `characters`, and ends with them. */
  endsAfter(characters: number): void {
    this.#end = this.#echoLength + characters;
  }

  /** The tokens of an echoed prompt; may be iterated again. */
  prompt({ prompt_token_ids, prompt_logprobs }: Generation, fastgen: FastgenApi): Iterable<CompletionPosition> {
    const nameOf = this.#nameOf;
    const id = prompt_token_ids[0]!;
    const first = { id, token: fastgen.tokenText(id) };
    return {
      *[Symbol.iterator]() {
        for (const position of prompt_logprobs ?? []) {
          yield { token: nameOf(position ?? first), position, offset: position?.text_offset ?? 0 };
        }
      },
    };
  }

  /** Tokens of the answer; may be iterated again. Those of a stop string that was cut off stand at the text's end. */
  answer(positions: readonly PositionLogprobs[]): Iterable<CompletionPosition> {
    const place = (position: PositionLogprobs) => Math.min(this.#echoLength + position.text_offset, this.#end);
    const nameOf = this.#nameOf;
    return {
      *[Symbol.iterator]() {
        for (const position of positions) yield { token: nameOf(position), position, offset: place(position) };
      },
    };
  }
}
