/** The frames of a streamed chat completion. */
import type { FastgenError } from "../../src/errors.ts";
import type { Chunk } from "../../src/types.ts";
import { streamUsage } from "../body/fields.ts";
import type { Conversation } from "../conversation/conversation.ts";
import type { CustomPart } from "../conversation/custom-tools.ts";
import { chatLogprobs, type TokenNames, tokenNames } from "../reply/logprobs.ts";
import { Rollouts } from "../reply/rollout.ts";
import { DONE, errorFrame, FrameEnds, type Frames } from "../reply/sse.ts";
import { changedVersionsJson } from "../reply/weight-versions.ts";
import type { ChatFields } from "./chat.ts";
import { type CallForm, callForm, chatFinish, mayCall } from "./chat-answer.ts";

export class ChatFrames implements Frames {
  /** Of the request only this is kept: its text may be large, and a stream may last long. */
  readonly #returnIds: boolean;
  readonly #withLogprobs: boolean;
  readonly #nameOf: TokenNames;
  readonly #form: CallForm;
  readonly #conversation: Conversation;
  /** What each choice begins with: a text, or null where calls may come instead of one. */
  readonly #content: string | null;
  /** `{"id":…,"system_fingerprint":…` */
  readonly #envelope: string;
  /** By choice: the start of its frames, up to the delta. Set once the role has been sent. */
  readonly #heads: string[] = [];
  readonly #ends: FrameEnds;
  readonly #rollouts: Rollouts | null;
  /** The first frame of all has yet to be written. */
  #isFirst = true;

  constructor(envelope: object, conversation: Conversation, fields: ChatFields, prefix: string) {
    this.#conversation = conversation;
    this.#returnIds = fields.return_token_ids ?? false;
    this.#withLogprobs = fields.logprobs ?? false;
    this.#rollouts = Rollouts.asked(fields, conversation.run);
    this.#nameOf = tokenNames(fields.return_tokens_as_token_ids);
    this.#form = callForm(fields);
    this.#content = prefix === "" && mayCall(fields) ? null : prefix;
    this.#envelope = JSON.stringify(envelope).slice(0, -1);
    this.#ends = new FrameEnds(conversation.run, streamUsage(fields));
  }

  chunk(chunk: Chunk): string {
    const { index } = chunk;
    const logprobs = this.#withLogprobs ? chunk.logprobs : null;
    this.#rollouts?.add(chunk);
    const { parts, finish_reason } = this.#conversation.read(chunk);
    let out = "";
    let head = this.#heads[index];
    if (head === undefined) {
      head = `data: ${this.#envelope},"choices":[{"index":${index},"delta":`;
      this.#heads[index] = head;
      out = this.#opening(head, index);
    }
    this.#ends.count(index, chunk.token_ids.length);
    const ids = this.#returnIds ? chunk.token_ids : null;
    const deltas = parts.map((part) => delta(part, this.#form.old));
    const last = deltas.pop() ?? "{}";
    for (const one of deltas) out += `${head}${one},"logprobs":null,"finish_reason":null${this.#ends.after(index)}`;
    if (last === "{}" && finish_reason === null && !logprobs && !ids) return out;
    const probabilities = logprobs ? JSON.stringify(chatLogprobs(logprobs, this.#nameOf)) : "null";
    out += `${head}${last},"logprobs":${probabilities},"finish_reason":`;
    if (finish_reason === null) out += "null";
    else {
      const reason = chatFinish(finish_reason, this.#form);
      out += `"${reason}","stop_reason":${JSON.stringify(chunk.stop_reason)}${changedVersionsJson(chunk)}`;
      if (this.#rollouts) out += `,"rollout":${this.#rollouts.jsonOf(index)}`;
    }
    if (ids) out += `,"token_ids":${JSON.stringify(ids)}`;
    return out + this.#ends.after(index);
  }

  /** A choice's first frame: its role, and the echo. The prompt's ids stand beside the choices, once in a stream. */
  #opening(head: string, index: number): string {
    const opening = { role: "assistant", content: this.#content, refusal: null };
    const { prompt_token_ids } = this.#conversation.run.generations[0]!;
    const withIds = this.#returnIds && this.#isFirst;
    this.#isFirst = false;
    const ids = withIds ? `,"prompt_token_ids":${JSON.stringify(Array.from(prompt_token_ids))}` : "";
    return `${head}${JSON.stringify(opening)},"logprobs":null,"finish_reason":null${this.#ends.after(index, ids)}`;
  }

  end(): string {
    return this.#ends.last(this.#envelope, this.#conversation.usage()) + DONE;
  }

  failed(error: FastgenError): string {
    return errorFrame(error);
  }
}

/** A part as OpenAI's streams have it; reasoning under both names that clients read. */
function delta(part: CustomPart, old: boolean): string {
  if (part.type === "text") return `{"content":${JSON.stringify(part.text)}}`;
  if (part.type === "reasoning") {
    const text = JSON.stringify(part.text);
    return `{"reasoning_content":${text},"reasoning":${text}}`;
  }
  if (old) return JSON.stringify({ function_call: oldDelta(part) });
  return JSON.stringify({ tool_calls: [part.custom ? customDelta(part) : functionDelta(part)] });
}

type CallPart = Extract<CustomPart, { type: "call" | "arguments" }>;

function functionDelta(part: CallPart) {
  const { index } = part;
  if (part.type === "arguments") return { index, function: { arguments: part.text } };
  return { index, id: part.id, type: "function", function: { name: part.name, arguments: "" } };
}

function oldDelta(part: CallPart) {
  return part.type === "arguments" ? { arguments: part.text } : { name: part.name, arguments: "" };
}

function customDelta(part: CallPart) {
  const { index } = part;
  if (part.type === "arguments") return { index, custom: { input: part.text } };
  return { index, id: part.id, type: "custom", custom: { name: part.name, input: "" } };
}
