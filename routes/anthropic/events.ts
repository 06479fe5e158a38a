/** The events of a streamed message, in Anthropic's order. */
import type { FastgenError } from "../../src/errors.ts";
import type { Chunk, WeightSpan } from "../../src/types.ts";
import { type Block, type BlockListener, Blocks } from "../conversation/blocks.ts";
import type { Conversation } from "../conversation/conversation.ts";
import { jsonText } from "../reply/long-json.ts";
import { Rollouts } from "../reply/rollout.ts";
import type { Frames } from "../reply/sse.ts";
import { versionFields } from "../reply/weight-versions.ts";
import type { Service } from "../service.ts";
import { anthropicErrorBody } from "./errors.ts";
import { contentBlock, freshMessageId, message, messageUsage, NOT_STOPPED, type Stop, stopOf } from "./reply.ts";
import type { MessageFields } from "./schema.ts";

/** By kind of block: what its deltas are called, and the field of their text. */
const DELTAS = {
  text: ["text_delta", "text"],
  reasoning: ["thinking_delta", "thinking"],
  call: ["input_json_delta", "partial_json"],
} as const;

export class MessageFrames implements Frames, BlockListener {
  readonly #service: Service;
  readonly #conversation: Conversation;
  readonly #blocks = new Blocks(this);
  readonly #rollouts: Rollouts | null;
  #hasStarted = false;
  #stop: Stop = NOT_STOPPED;
  #versions: readonly WeightSpan[] = [];
  /** Events that have not been handed out. */
  #events = "";
  /** Of the open block: its deltas up to their text. */
  #head = "";

  constructor(service: Service, conversation: Conversation, fields: Pick<MessageFields, "return_rollout">) {
    this.#service = service;
    this.#conversation = conversation;
    this.#rollouts = Rollouts.asked(fields, conversation.run);
  }

  chunk(chunk: Chunk): string {
    this.#versions = chunk.weight_versions;
    this.#rollouts?.add(chunk);
    this.#start();
    const piece = this.#conversation.read(chunk);
    if (piece.finish_reason !== null) this.#stop = stopOf(piece.finish_reason, chunk);
    this.#blocks.push(piece);
    return this.#take();
  }

  end(): string {
    this.#start();
    this.#blocks.end(["max_tokens", "pause_turn"].includes(this.#stop.stop_reason ?? ""));
    const usage = messageUsage(this.#conversation);
    this.#event("message_delta", {
      delta: { ...this.#stop, stop_details: null },
      usage,
      ...versionFields(this.#versions),
      ...(this.#rollouts && { rollout: this.#rollouts.of(0) }),
    });
    this.#event("message_stop", {});
    return this.#take();
  }

  failed(error: FastgenError): string {
    this.#events += event("error", anthropicErrorBody(error, this.#conversation.run.record.id));
    return this.#take();
  }

  opened(block: Block): void {
    const empty = contentBlock({ ...block, text: "" });
    this.#event("content_block_start", { index: block.index, content_block: empty });
    const [type, field] = DELTAS[block.kind];
    const fields = `{"type":"content_block_delta","index":${block.index},"delta":{"type":"${type}","${field}":`;
    this.#head = `event: content_block_delta\ndata: ${fields}`;
  }

  grew(_block: Block, text: string): void {
    this.#events += `${this.#head}${JSON.stringify(text)}}}\n\n`;
  }

  closed({ kind, index }: Block): void {
    if (kind === "reasoning") {
      this.#event("content_block_delta", { index, delta: { type: "signature_delta", signature: "" } });
    }
    this.#event("content_block_stop", { index });
  }

  /** With the first piece, when it is known how much of the prompt was cached. */
  #start(): void {
    if (this.#hasStarted) return;
    this.#hasStarted = true;
    const fields = {
      content: [],
      ...NOT_STOPPED,
      stop_details: null,
      usage: messageUsage(this.#conversation),
      ...versionFields(this.#versions),
    };
    this.#event("message_start", { message: message(this.#service, freshMessageId(), fields) });
    this.#event("ping", {});
  }

  #event(type: string, fields: object): void {
    this.#events += event(type, { type, ...fields });
  }

  #take(): string {
    const events = this.#events;
    this.#events = "";
    return events;
  }
}

function event(type: string, data: object): string {
  return `event: ${type}\ndata: ${jsonText(data)}\n\n`;
}
