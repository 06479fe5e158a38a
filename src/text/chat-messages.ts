/** Messages as chat templates expect them, whatever shape a caller gave them. */
import { FastgenError } from "../errors.ts";
import type { ChatMessage, ContentPart } from "../types.ts";
import { parseJson } from "./json.ts";

/** How a template takes a message's content. */
export interface ContentShape {
  /** Contents given as text. */
  text: "text" | "parts";
  /** Contents given as parts. */
  parts: "text" | "parts";
}

/**
 * The messages for a template: no content is the empty text, contents have the template's shape, and the arguments of
 * tool calls are objects. Everything else stays as it was given.
 * @throws FastgenError "invalid_request": a part that is no text, for a template that takes only text.
 */
export function templateMessages(messages: readonly ChatMessage[], shape: ContentShape): ChatMessage[] {
  return messages.map((message, i) => {
    const content = shaped(message.content ?? "", shape, i);
    return {
      ...message,
      content,
      ...(Array.isArray(message.tool_calls) && { tool_calls: message.tool_calls.map(parsedCall) }),
    };
  });
}

function shaped(content: string | readonly ContentPart[], shape: ContentShape, message: number) {
  if (typeof content === "string") return shape.text === "text" ? content : [{ type: "text", text: content }];
  return shape.parts === "parts" ? content : joinedText(content, message);
}

/** The texts of the parts, a line each, as in vLLM. */
function joinedText(parts: readonly ContentPart[], message: number): string {
  return parts
    .map((part, i) => {
      if (typeof part.text === "string") return part.text;
      const param = `messages[${message}].content[${i}]`;
      throw new FastgenError("invalid_request", `${param}: the chat template takes only text`, { param });
    })
    .join("\n");
}

/** OpenAI sends the arguments of a call as JSON text; templates print them as JSON. Text that is no JSON stays text. */
function parsedCall(call: unknown): unknown {
  const { function: called } = (call ?? {}) as { function?: { arguments?: unknown } };
  if (typeof called?.arguments !== "string") return call;
  return { ...(call as object), function: { ...called, arguments: parsedArguments(called.arguments) } };
}

function parsedArguments(text: string): unknown {
  if (text.trim() === "") return {};
  try {
    return parseJson(text);
  } catch {
    return text;
  }
}

const CONTINUE_TAG = "CONTINUE_FINAL_MESSAGE_TAG ";

/** Marks where the last message ends: the template may write anything after it, and trim it. As transformers does. */
export function tagFinalMessage(messages: readonly ChatMessage[]): ChatMessage[] {
  const last = messages.at(-1);
  const tagged = last && withTag(last.content);
  if (tagged) return [...messages.slice(0, -1), { ...last, content: tagged }];
  throw new FastgenError("invalid_request", "continue_final_message needs a last message whose content is text", {
    param: "messages",
  });
}

function withTag(content: ChatMessage["content"]): ChatMessage["content"] {
  if (typeof content === "string") return content + CONTINUE_TAG;
  const at = content?.findLastIndex((part) => typeof part.text === "string") ?? -1;
  return at < 0 ? null : content!.map((part, i) => (i === at ? { ...part, text: part.text + CONTINUE_TAG } : part));
}

/** The prompt up to the end of the last message. */
export function cutAtTag(prompt: string): string {
  const at = prompt.lastIndexOf(CONTINUE_TAG.trimEnd());
  if (at < 0) {
    throw new FastgenError(
      "invalid_request",
      "continue_final_message: the chat template does not write the last message, so it cannot be continued",
      { param: "continue_final_message" },
    );
  }
  const whole = prompt.startsWith(CONTINUE_TAG, at);
  // A template that trims its messages has dropped the space of the tag: trim the message too.
  return whole ? prompt.slice(0, at) : prompt.slice(0, at).trimEnd();
}
