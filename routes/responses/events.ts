/** The events of a streamed response, as OpenAI numbers and orders them. */
import type { FastgenError } from "../../src/errors.ts";
import { MAX_REPEATED_LOGPROBS } from "../../src/limits.ts";
import type { Chunk, PositionLogprobs } from "../../src/types.ts";
import type { Block, BlockListener } from "../conversation/blocks.ts";
import { Blocks } from "../conversation/blocks.ts";
import type { Conversation } from "../conversation/conversation.ts";
import { errorBody } from "../errors.ts";
import { jsonText } from "../reply/long-json.ts";
import type { Frames } from "../reply/sse.ts";
import { ResponseAnswer } from "./answer.ts";
import type { ResponseEnvelope } from "./response.ts";

export class ResponseFrames implements Frames, BlockListener {
  readonly #envelope: ResponseEnvelope;
  readonly #conversation: Conversation;
  readonly #answer: ResponseAnswer;
  readonly #onEnd: (answer: ResponseAnswer) => void;
  #number = 0;
  /** Events that have not been handed out. */
  #events = "";
  /** Of the open block: its growth's event up to the text. */
  #head = "";

  /** @param onEnd hears of the answer once it is complete */
  constructor(envelope: ResponseEnvelope, conversation: Conversation, onEnd: (answer: ResponseAnswer) => void) {
    this.#envelope = envelope;
    this.#conversation = conversation;
    this.#answer = new ResponseAnswer(envelope, conversation, new Blocks(this, MAX_REPEATED_LOGPROBS));
    this.#onEnd = onEnd;
  }

  begin(): string {
    const response = this.#envelope.response("in_progress", [], null);
    this.#event("response.created", { response });
    this.#event("response.in_progress", { response });
    return this.#take();
  }

  chunk(chunk: Chunk): string {
    this.#answer.push(this.#conversation.read(chunk));
    return this.#take();
  }

  end(): string {
    const response = this.#answer.end();
    this.#event(`response.${response.status}`, { response });
    this.#onEnd(this.#answer);
    return this.#take();
  }

  failed(error: FastgenError): string {
    const { message, param, code } = errorBody(error).error;
    this.#event("error", { code, message, param });
    this.#event("response.failed", { response: this.#answer.failed({ code: "server_error", message }) });
    return this.#take();
  }

  opened(block: Block): void {
    const item = this.#envelope.item(block);
    const output_index = block.index;
    this.#event("response.output_item.added", { output_index, item });
    const place = { item_id: item.id, output_index };
    if (block.kind !== "call") {
      const part = this.#envelope.part(block);
      if (part.type === "summary_text") {
        this.#event("response.reasoning_summary_part.added", { ...place, summary_index: 0, part });
      } else this.#event("response.content_part.added", { ...place, content_index: 0, part });
    }
    const type = `${this.#growth(block)}.delta`;
    const fields = JSON.stringify({ type, ...this.#place(block) }).slice(0, -1);
    this.#head = `event: ${type}\ndata: ${fields},"delta":`;
  }

  grew(block: Block, text: string, logprobs: readonly PositionLogprobs[]): void {
    const extra = block.kind === "text" ? `,"logprobs":${JSON.stringify(this.#envelope.tokenLogprobs(logprobs))}` : "";
    this.#events += `${this.#head}${JSON.stringify(text)}${extra},"sequence_number":${this.#number++}}\n\n`;
  }

  closed(block: Block): void {
    const item = this.#envelope.item(block);
    const place = this.#place(block);
    const type = `${this.#growth(block)}.done`;
    if (block.custom) this.#event(type, { ...place, input: block.text });
    else if (block.kind === "call")
      this.#event(type, { ...place, name: this.#envelope.itemName(block.name).name, arguments: block.text });
    else {
      const part = this.#envelope.part(block);
      this.#event(type, { ...place, text: block.text, ...("logprobs" in part && { logprobs: part.logprobs }) });
      const isSummary = part.type === "summary_text";
      this.#event(isSummary ? "response.reasoning_summary_part.done" : "response.content_part.done", {
        ...place,
        part,
      });
    }
    this.#event("response.output_item.done", { output_index: block.index, item });
  }

  /** What the events of a block's text are called, without .delta and .done. */
  #growth({ kind, custom }: Block): string {
    if (custom) return "response.custom_tool_call_input";
    if (kind === "call") return "response.function_call_arguments";
    if (kind === "text") return "response.output_text";
    return this.#envelope.summarised ? "response.reasoning_summary_text" : "response.reasoning_text";
  }

  /** Where a block's text stands in the response. */
  #place(block: Block) {
    const place = { item_id: this.#envelope.item(block).id, output_index: block.index };
    if (block.kind === "call") return place;
    const isSummary = block.kind === "reasoning" && this.#envelope.summarised;
    return { ...place, ...(isSummary ? { summary_index: 0 } : { content_index: 0 }) };
  }

  #event(type: string, fields: object): void {
    const data = jsonText({ type, ...fields, sequence_number: this.#number++ });
    this.#events += `event: ${type}\ndata: ${data}\n\n`;
  }

  #take(): string {
    const events = this.#events;
    this.#events = "";
    return events;
  }
}
