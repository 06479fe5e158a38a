/** Anthropic's Message object: content blocks, the reason of the end, and usage. */
import type { Chunk } from "../../src/types.ts";
import { freshId } from "../body/fields.ts";
import type { Block } from "../conversation/blocks.ts";
import type { AnswerFinish, Conversation } from "../conversation/conversation.ts";
import type { Service } from "../service.ts";

export function freshMessageId(): string {
  return `msg_${freshId()}`;
}

/** The start of a message, and the whole of it when the other fields are given. */
export function message(service: Service, id: string, rest: object) {
  return { id, type: "message", role: "assistant", model: service.modelName, ...rest };
}

/** The content block that a block is. Its signature is empty: nothing has to be proved to this server. */
export function contentBlock({ kind, text, id, name }: Block) {
  if (kind === "text") return { type: "text", text, citations: null };
  if (kind === "reasoning") return { type: "thinking", thinking: text, signature: "" };
  return { type: "tool_use", id, name, input: parsedInput(text) };
}

/** A call that was cut off has no whole input. */
function parsedInput(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

/** Why a message ended. */
export interface Stop {
  stop_reason: "end_turn" | "max_tokens" | "stop_sequence" | "tool_use" | "pause_turn" | null;
  stop_sequence: string | null;
}

export const NOT_STOPPED: Stop = { stop_reason: null, stop_sequence: null };

export function stopOf(finish: AnswerFinish, { stop_reason }: Pick<Chunk, "stop_reason">): Stop {
  if (finish === "length") return { stop_reason: "max_tokens", stop_sequence: null };
  // The operator has ended it: the client may send it back as it is, to be continued.
  if (finish === "abort") return { stop_reason: "pause_turn", stop_sequence: null };
  if (finish === "tool_calls") return { stop_reason: "tool_use", stop_sequence: null };
  if (typeof stop_reason === "string") return { stop_reason: "stop_sequence", stop_sequence: stop_reason };
  return { stop_reason: "end_turn", stop_sequence: null };
}

/** Input tokens are those that were not in the cache. */
export function messageUsage(conversation: Conversation) {
  const { prompt_tokens, completion_tokens, prompt_tokens_details, completion_tokens_details } = conversation.usage();
  const { cached_tokens } = prompt_tokens_details;
  return {
    input_tokens: prompt_tokens - cached_tokens,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: cached_tokens,
    output_tokens: completion_tokens,
    output_tokens_details: { thinking_tokens: completion_tokens_details.reasoning_tokens },
  };
}
