/** The frames of a streamed text completion. */
import type { z } from "zod";
import type { FastgenError } from "../../src/errors.ts";
import { codePoints } from "../../src/generation/text-offsets.ts";
import type { Chunk } from "../../src/types.ts";
import { streamUsage } from "../body/fields.ts";
import type { completionSchema } from "../body/schemas.ts";
import { type Echo, ListedText } from "../reply/echo.ts";
import { completionLogprobs, type TokenNames, tokenNames } from "../reply/logprobs.ts";
import { Rollouts } from "../reply/rollout.ts";
import { DONE, errorFrame, FrameEnds, type Frames } from "../reply/sse.ts";
import { changedVersionsJson } from "../reply/weight-versions.ts";
import type { Run } from "../run.ts";

export type Fields = z.output<typeof completionSchema>;

interface ChoiceState {
  /** The start of its frames, up to the text. */
  head: string;
  listed: ListedText;
  /** Characters of the answer so far; counted where log probabilities are listed. */
  length: number;
}

export class CompletionFrames implements Frames {
  /** Of the request only this is kept: its text may be large, and a stream may last long. */
  readonly #returnIds: boolean;
  readonly #withLogprobs: boolean;
  readonly #nameOf: TokenNames;
  readonly #run: Run;
  readonly #echo: Echo | null;
  readonly #envelope: string;
  readonly #choices: ChoiceState[] = [];
  /** Pieces that wait for their prompt's log probabilities. */
  #held: Chunk[] = [];
  readonly #ends: FrameEnds;
  readonly #rollouts: Rollouts | null;

  constructor(envelope: object, run: Run, fields: Fields, echo: Echo | null) {
    this.#run = run;
    this.#returnIds = fields.return_token_ids ?? false;
    this.#withLogprobs = fields.logprobs !== null;
    this.#rollouts = Rollouts.asked(fields, run);
    this.#nameOf = tokenNames(fields.return_tokens_as_token_ids);
    this.#echo = echo;
    this.#envelope = JSON.stringify(envelope).slice(0, -1);
    this.#ends = new FrameEnds(run, streamUsage(fields));
  }

  chunk(chunk: Chunk): string {
    if (this.#held.length === 0 && !this.#echo?.waits(chunk.index)) return this.#frames(chunk);
    const held = [...this.#held, chunk];
    this.#held = held.filter(({ index }) => this.#echo?.waits(index));
    return held.map((piece) => (this.#held.includes(piece) ? "" : this.#frames(piece))).join("");
  }

  #frames(chunk: Chunk): string {
    const { index, text, finish_reason } = chunk;
    let out = "";
    let choice = this.#choices[index];
    if (!choice) {
      const head = `data: ${this.#envelope},"choices":[{"index":${index},"text":`;
      choice = { head, listed: new ListedText(this.#echo?.text(index) ?? "", null, this.#nameOf), length: 0 };
      this.#choices[index] = choice;
      out = this.#opening(index, choice);
    }
    this.#ends.count(index, chunk.token_ids.length);
    const ids = this.#returnIds ? chunk.token_ids : null;
    this.#rollouts?.add(chunk);
    const wanted = this.#withLogprobs && chunk.logprobs !== null;
    if (text === "" && finish_reason === null && !wanted && !ids) return out;
    const logprobs = wanted ? JSON.stringify(this.#logprobs(choice, chunk)) : "null";
    out += `${choice.head}${JSON.stringify(text)},"logprobs":${logprobs},"finish_reason":`;
    out += finish_reason === null ? "null" : `"${finish_reason}","stop_reason":${JSON.stringify(chunk.stop_reason)}`;
    if (finish_reason !== null) out += changedVersionsJson(chunk);
    if (ids) out += `,"token_ids":${JSON.stringify(ids)}`;
    if (this.#rollouts && finish_reason !== null) out += `,"rollout":${this.#rollouts.jsonOf(index)}`;
    return out + this.#ends.after(index);
  }

  #logprobs(choice: ChoiceState, { text, logprobs, finish_reason }: Chunk) {
    choice.length += codePoints(text);
    if (finish_reason !== null) choice.listed.endsAfter(choice.length);
    return completionLogprobs(choice.listed.answer(logprobs ?? []), this.#nameOf);
  }

  /** A choice's first frame if there is something to say before its first token: the echo, the prompt's ids. */
  #opening(index: number, { head, listed }: ChoiceState): string {
    if (!this.#echo && !this.#returnIds) return "";
    const generation = this.#run.generationOf(index);
    const logprobs = this.#echo?.withLogprobs
      ? completionLogprobs(listed.prompt(generation, this.#run.fastgen), this.#nameOf)
      : null;
    const ids = this.#returnIds ? `,"prompt_token_ids":${JSON.stringify(Array.from(generation.prompt_token_ids))}` : "";
    const text = JSON.stringify(this.#echo?.text(index) ?? "");
    return `${head}${text},"logprobs":${JSON.stringify(logprobs)},"finish_reason":null${ids}${this.#ends.after(index)}`;
  }

  end(): string {
    return this.#ends.last(this.#envelope, this.#run.usage()) + DONE;
  }

  failed(error: FastgenError): string {
    return errorFrame(error);
  }
}
