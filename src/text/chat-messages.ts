/** Messages as chat templates expect them, whatever shape a caller gave them. */
import { FastgenError } from "../errors.ts";
import type { ChatMessage, ContentPart } from "../types.ts";
import { strip } from "./jinja/code-points.ts";
import { parseJson } from "./json.ts";

/** How a template takes a message's content. */
export interface ContentShape {
  /** Contents given as text. */
  text: "text" | "parts";
  /** Contents given as parts. */
  parts: "text" | "parts";
}

/** What a template takes, which decides how messages are given to it. */
export interface TemplateTakes {
  content: ContentShape;
  /** The role "developer". */
  developer: boolean;
  /** Ids of calls that have 9 characters, and no others. */
  shortIds: boolean;
}

/**
 * The messages for a template: no content is the empty text, contents have the template's shape, the arguments of tool
 * calls are objects, reasoning has the names that templates read, a developer is the system where the template knows none,
 * and ids of calls are as long as it takes them. Fields that say nothing fall away. Everything else stays as it was given.
 * @throws FastgenError "invalid_request": a part that is no text, for a template that takes only text.
 */
export function templateMessages(messages: readonly ChatMessage[], takes: TemplateTakes): ChatMessage[] {
  return messages.map((message, i) => {
    const given = Object.entries(message).filter(([name, value]) => name === "content" || !isNothing(value));
    const fields = Object.fromEntries(given) as ChatMessage;
    const { role, tool_calls, tool_call_id } = fields;
    const id = takes.shortIds ? shortId : (given: unknown) => given;
    return withReasoning({
      ...fields,
      role: role === "developer" && !takes.developer ? "system" : role,
      content: shaped(message.content ?? "", takes.content, i),
      ...(Array.isArray(tool_calls) && { tool_calls: tool_calls.map((call) => parsedCall(call, id)) }),
      ...(tool_call_id !== undefined && { tool_call_id: id(tool_call_id) }),
    });
  });
}

/** A field that says nothing, as replies bring them, is as good as none: templates ask whether a field is there. */
function isNothing(value: unknown): boolean {
  return value == null || (Array.isArray(value) && value.length === 0);
}

/** Names under which clients send reasoning; the later ones count where there is no earlier one. */
const REASONING = ["reasoning_content", "thinking", "reasoning"];

/** Reasoning under both names that templates read, as in transformers. */
function withReasoning(message: ChatMessage): ChatMessage {
  const reasoning = REASONING.map((name) => message[name]).find((value) => value !== undefined);
  return reasoning === undefined ? message : { thinking: reasoning, ...message, reasoning_content: reasoning };
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

/** OpenAI sends the arguments of a call as JSON text; templates print them as JSON. Text that is no JSON stays text; none is {}. */
function parsedCall(sent: unknown, idOf: (id: unknown) => unknown): unknown {
  if (typeof sent !== "object" || sent === null) return sent;
  const call = "id" in sent ? { ...sent, id: idOf(sent.id) } : sent;
  const { function: called } = call as { function?: { arguments?: unknown } | null };
  if (typeof called !== "object" || called === null) return call;
  const { arguments: given = null } = called;
  if (given !== null && typeof given !== "string") return call;
  return { ...call, function: { ...called, arguments: parsedArguments(given ?? "") } };
}

/** The end of an id, as in vLLM: the same for a call and its result. */
function shortId(id: unknown): unknown {
  return typeof id === "string" ? id.slice(-9).padStart(9, "0") : id;
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

/** A conversation whose last message is marked where it ends. */
export interface Tagged {
  messages: ChatMessage[];
  /** The text that goes on. */
  text: string;
}

/** Marks where the last message ends: the template may write anything after it, and trim it. As transformers does. */
export function tagFinalMessage(messages: readonly ChatMessage[]): Tagged {
  const last = messages.at(-1);
  const tagged = last && withTag(last.content);
  if (tagged) return { messages: [...messages.slice(0, -1), { ...last, content: tagged.content }], text: tagged.text };
  throw new FastgenError("invalid_request", "continue_final_message needs a last message whose content is text", {
    param: "messages",
  });
}

function withTag(content: ChatMessage["content"]): { content: ChatMessage["content"]; text: string } | null {
  if (typeof content === "string") return { content: content + CONTINUE_TAG, text: content };
  const at = content?.findLastIndex((part) => typeof part.text === "string") ?? -1;
  if (at < 0) return null;
  const text = content![at]!.text as string;
  return { content: content!.map((part, i) => (i === at ? { ...part, text: text + CONTINUE_TAG } : part)), text };
}

/**
 * The prompt up to the end of the last message.
 * @throws FastgenError "invalid_request": the template leaves out the message, or a part of it (reasoning, say).
 */
export function cutAtTag(prompt: string, text: string): string {
  const at = prompt.lastIndexOf(CONTINUE_TAG.trimEnd());
  const before = prompt.slice(0, Math.max(at, 0));
  const trimmed = strip(before, null, { left: false, right: true });
  if (at < 0 || !trimmed.endsWith(strip(text, null, { left: true, right: true }))) {
    throw new FastgenError(
      "invalid_request",
      "continue_final_message: the chat template does not write the last message as it is, so it cannot be continued",
      { param: "continue_final_message" },
    );
  }
  // A template that trims its messages has dropped the space of the tag: trim the message too.
  return prompt.startsWith(CONTINUE_TAG, at) ? before : trimmed;
}
