/** An answer as blocks in their order: Responses calls them output items, Messages content blocks. */
import type { PositionLogprobs } from "../../src/types.ts";
import type { AnswerPiece } from "./conversation.ts";
import type { CustomPart } from "./custom-tools.ts";

/** A run of reasoning or of text, or one call, whose text is its arguments' JSON, or a custom tool's input. */
export interface Block {
  readonly kind: "reasoning" | "text" | "call";
  /** Its place among the answer's blocks. */
  readonly index: number;
  text: string;
  /** Of a call. */
  readonly id: string;
  readonly name: string;
  /** Is it a call of a custom tool? */
  readonly custom: boolean;
  /** Of a text, where they were asked for. */
  readonly logprobs: PositionLogprobs[];
  /** cut = the answer reached its limit within it. */
  state: "open" | "complete" | "cut";
}

/** Hears of blocks as they grow. One is open at a time. */
export interface BlockListener {
  opened(block: Block): void;
  /** `logprobs`: those of the text's tokens. */
  grew(block: Block, text: string, logprobs: readonly PositionLogprobs[]): void;
  closed(block: Block): void;
}

export class Blocks {
  readonly list: Block[] = [];
  readonly #listener: BlockListener | null;
  /** Log probabilities that blocks may keep, alternatives counted. */
  #room: number;
  /** Of tokens whose text has not come yet. */
  #logprobs: PositionLogprobs[] = [];

  /** @param most log probabilities that blocks keep, alternatives counted; where there are more, they keep none */
  constructor(listener: BlockListener | null = null, most = Number.POSITIVE_INFINITY) {
    this.#listener = listener;
    this.#room = most;
  }

  /** Takes the next piece of the answer. */
  push({ parts, chunk }: AnswerPiece): void {
    if (chunk.logprobs) this.#logprobs.push(...chunk.logprobs);
    for (const part of parts) this.#take(part);
    // Tokens of reasoning and calls have no place for their log probabilities.
    if (parts.length > 0) this.#logprobs = [];
  }

  /** The answer is complete, or was cut off. */
  end(cut: boolean): void {
    this.#close(cut ? "cut" : "complete");
  }

  /** Opens a block of its own for nothing: an answer that has no block. */
  openEmpty(): void {
    this.#open({ kind: "text" });
  }

  #take(part: CustomPart): void {
    if (part.type === "call") this.#open({ kind: "call", id: part.id, name: part.name, custom: part.custom });
    else if (part.type === "arguments") this.#grow(this.list.at(-1)!, part.text, []);
    else {
      const { type: kind, text } = part;
      const last = this.list.at(-1);
      const block = last?.kind === kind ? last : this.#open({ kind });
      this.#grow(block, text, kind === "text" ? this.#logprobs.splice(0) : []);
    }
  }

  #open({ kind, id = "", name = "", custom = false }: Pick<Block, "kind"> & Partial<Block>): Block {
    this.#close("complete");
    const index = this.list.length;
    const block: Block = { kind, index, text: "", id, name, custom, logprobs: [], state: "open" };
    this.list.push(block);
    this.#listener?.opened(block);
    return block;
  }

  #grow(block: Block, text: string, logprobs: PositionLogprobs[]): void {
    block.text += text;
    for (const { top } of logprobs) this.#room -= 1 + top.length;
    if (this.#room >= 0) block.logprobs.push(...logprobs);
    else for (const one of this.list) one.logprobs.length = 0;
    this.#listener?.grew(block, text, logprobs);
  }

  #close(state: "complete" | "cut"): void {
    const block = this.list.at(-1);
    if (block?.state !== "open") return;
    block.state = state;
    this.#listener?.closed(block);
  }
}
