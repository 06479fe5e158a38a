/**
 * A conversation put together from pieces, for APIs that split an assistant's turn: its reasoning, text and calls become one
 * message, as chat templates want them, and all that the system says at the start becomes one.
 */
import { FastgenError } from "../src/errors.ts";
import { MAX_MESSAGES } from "../src/limits.ts";
import type { ChatMessage, ContentPart } from "../src/types.ts";

export interface TurnCall {
  id: string;
  name: string;
  /** JSON text, or the object that it stands for. */
  arguments: unknown;
}

interface AssistantMessage extends ChatMessage {
  content: ContentPart[];
  tool_calls: object[];
  reasoning_content: string | null;
}

export class Turns {
  readonly #messages: ChatMessage[] = [];
  /** The assistant's turn that goes on; null after anybody else's message. */
  #open: AssistantMessage | null = null;
  /** By a call's id: what was called. */
  readonly #names = new Map<string, string>();

  /** The conversation so far. */
  get messages(): ChatMessage[] {
    return this.#messages.map(({ tool_calls, reasoning_content, ...message }) => ({
      ...message,
      content: simplest(message.content),
      ...(reasoning_content != null && { reasoning_content }),
      ...((tool_calls as object[] | undefined)?.length && { tool_calls }),
    }));
  }

  /** A message of anybody but the assistant. */
  say(role: string, texts: readonly string[]): void {
    const last = this.#messages.at(-1);
    if (isSystem(role) && this.#messages.length === 1 && isSystem(last!.role)) {
      // Many templates take one system message, at the start.
      (last!.content as ContentPart[]).push(...texts.map(textPart));
      return;
    }
    this.#open = null;
    this.#add({ role, content: texts.map(textPart) });
  }

  reason(text: string): void {
    const turn = this.#assistant((open) => open.content.length === 0 && open.tool_calls.length === 0);
    turn.reasoning_content = (turn.reasoning_content ?? "") + text;
  }

  answer(texts: readonly string[]): void {
    this.#assistant((open) => open.tool_calls.length === 0).content.push(...texts.map(textPart));
  }

  call({ id, name, arguments: given }: TurnCall): void {
    this.#names.set(id, name);
    this.#assistant(() => true).tool_calls.push({ id, type: "function", function: { name, arguments: given } });
  }

  /** What the call `id` returned. */
  result(id: string, texts: readonly string[]): void {
    this.#open = null;
    const name = this.#names.get(id);
    this.#add({ role: "tool", tool_call_id: id, ...(name !== undefined && { name }), content: texts.map(textPart) });
  }

  /** The assistant's open turn where `fits` it, else a new one. */
  #assistant(fits: (open: AssistantMessage) => boolean): AssistantMessage {
    if (this.#open && fits(this.#open)) return this.#open;
    this.#open = { role: "assistant", content: [], tool_calls: [], reasoning_content: null };
    this.#add(this.#open);
    return this.#open;
  }

  #add(message: ChatMessage): void {
    if (this.#messages.length === MAX_MESSAGES) {
      const message = `the conversation has more than ${MAX_MESSAGES} messages; leave out the oldest`;
      throw new FastgenError("invalid_request", message);
    }
    this.#messages.push(message);
  }
}

function isSystem(role: string): boolean {
  return role === "system" || role === "developer";
}

function textPart(text: string): ContentPart {
  return { type: "text", text };
}

/** A text where there is one part or none: every template takes that. */
function simplest(content: ChatMessage["content"]): ChatMessage["content"] {
  if (!Array.isArray(content) || content.length > 1) return content;
  return (content as ContentPart[])[0]?.text ?? "";
}
