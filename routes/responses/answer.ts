/** The answer of a response while it grows, and the Response object at its end. */
import type { Blocks } from "../conversation/blocks.ts";
import type { AnswerPiece, Conversation } from "../conversation/conversation.ts";
import { Rollouts } from "../reply/rollout.ts";
import { type ResponseEnvelope, type ResponseError, responseUsage } from "./response.ts";

export class ResponseAnswer {
  readonly #envelope: ResponseEnvelope;
  readonly #conversation: Conversation;
  readonly #blocks: Blocks;
  readonly #rollouts: Rollouts | null;
  /** Why the answer is not whole; null while it may be. */
  #cut: "max_output_tokens" | "abort" | null = null;
  /** A stop string has ended the answer within a call. */
  #cutCall = false;

  constructor(envelope: ResponseEnvelope, conversation: Conversation, blocks: Blocks) {
    this.#envelope = envelope;
    this.#conversation = conversation;
    this.#blocks = blocks;
    this.#rollouts = Rollouts.asked({ return_rollout: envelope.withRollout }, conversation.run);
    envelope.weightVersions = [{ start: 0, version: conversation.run.weightVersion }];
  }

  push(piece: AnswerPiece): void {
    this.#envelope.weightVersions = piece.chunk.weight_versions;
    this.#rollouts?.add(piece.chunk);
    if (piece.finish_reason === "length") this.#cut = "max_output_tokens";
    if (piece.finish_reason === "abort") this.#cut = "abort";
    this.#blocks.push(piece);
    this.#cutCall = piece.finish_reason === "stop" && this.#blocks.list.at(-1)?.kind === "call";
  }

  /** The answer has ended; the Response object. */
  end() {
    // Clients read the text of the first item.
    if (this.#blocks.list.length === 0) this.#blocks.openEmpty();
    this.#blocks.end(this.#cut !== null || this.#cutCall);
    return { ...this.#response(), ...(this.#rollouts && { rollout: this.#rollouts.of(0) }) };
  }

  /** As end() returned it, without log probabilities and rollout. */
  forStore() {
    return this.#response(false);
  }

  failed(error: ResponseError) {
    const output = this.#blocks.list.map((block) => this.#envelope.item({ ...block, state: "cut" }));
    return this.#envelope.response("failed", output, responseUsage(this.#conversation), error);
  }

  #response(logprobs = true) {
    const output = this.#blocks.list.map((block) => this.#envelope.item(block, logprobs));
    const status = this.#cut === null ? "completed" : "incomplete";
    return this.#envelope.response(status, output, responseUsage(this.#conversation), null, this.#cut);
  }
}
