/**
 * A conversation put together from pieces, for APIs that split an assistant's turn: its reasoning, text and calls become one
 * message, as chat templates want them, and all that the system says at the start becomes one.
 */
import { FastgenError } from "../../src/errors.ts";
import { MAX_MESSAGES } from "../../src/limits.ts";
import type { ChatMessage } from "../../src/types.ts";

export interface TurnCall {
  id: string;
  name: string;
  /** JSON text, or the object that it stands for. */
  arguments: unknown;
}

/** A message whose content is the texts so far. */
interface OpenMessage {
  role: string;
  content: string[];
  tool_call_id?: string;
  name?: string;
}

interface AssistantMessage extends OpenMessage {
  tool_calls: object[];
  reasoning_content: string | null;
}

export class Turns {
  readonly #messages: (OpenMessage | AssistantMessage)[] = [];
  /** The assistant's turn that goes on; null after anybody else's message. */
  #open: AssistantMessage | null = null;
  /** By a call's id: what was called. */
  readonly #names = new Map<string, string>();
  readonly #param: string;

  /** @param param the field that has the pieces */
  constructor(param: string) {
    this.#param = param;
  }

  /** The conversation so far. */
  get messages(): ChatMessage[] {
    return this.#messages.map(({ content, ...message }) => {
      const shaped = { ...message, content: contentOf(message.role, content) };
      if (!("tool_calls" in shaped)) return shaped;
      const { tool_calls, reasoning_content, ...rest } = shaped;
      return {
        ...rest,
        ...(reasoning_content !== null && { reasoning_content }),
        ...(tool_calls.length > 0 && { tool_calls }),
      };
    });
  }

  /** A message of anybody but the assistant. */
  say(role: string, texts: readonly string[]): void {
    const last = this.#messages.at(-1);
    if (isSystem(role) && this.#messages.length === 1 && isSystem(last!.role)) {
      // Many templates take one system message, at the start.
      last!.content.push(...texts);
      return;
    }
    this.#open = null;
    this.#add({ role, content: [...texts] });
  }

  reason(text: string): void {
    const turn = this.#assistant((open) => open.content.length === 0 && open.tool_calls.length === 0);
    turn.reasoning_content = (turn.reasoning_content ?? "") + text;
  }

  answer(texts: readonly string[]): void {
    this.#assistant((open) => open.tool_calls.length === 0).content.push(...texts);
  }

  call({ id, name, arguments: given }: TurnCall): void {
    this.#names.set(id, name);
    this.#assistant(() => true).tool_calls.push({ id, type: "function", function: { name, arguments: given } });
  }

  /** What the call `id` returned. @throws FastgenError "invalid_request": there was no such call. */
  result(id: string, texts: readonly string[]): void {
    this.#open = null;
    const name = this.#names.get(id);
    if (name === undefined) {
      const message = `${this.#param} has the result of a call '${id}' that does not come before it: send the call too`;
      throw new FastgenError("invalid_request", message, { param: this.#param });
    }
    this.#add({ role: "tool", tool_call_id: id, name, content: [...texts] });
  }

  /** The assistant's open turn where `fits` it, else a new one. */
  #assistant(fits: (open: AssistantMessage) => boolean): AssistantMessage {
    if (this.#open && fits(this.#open)) return this.#open;
    this.#open = { role: "assistant", content: [], tool_calls: [], reasoning_content: null };
    this.#add(this.#open);
    return this.#open;
  }

  #add(message: OpenMessage): void {
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

/**
 * A text where there is one part or none: every template takes that. What the system says is a text, too: some templates
 * take its parts, but write the first of them alone.
 */
function contentOf(role: string, texts: readonly string[]): ChatMessage["content"] {
  return isSystem(role) || texts.length < 2 ? texts.join("\n") : texts.map((text) => ({ type: "text", text }));
}
