/** An answer in the words of OpenAI's chat completions. */

import type { Answer, AnswerCall, AnswerFinish } from "../conversation/conversation.ts";
import { isOldForm } from "../conversation/old-functions.ts";
import type { ChatFields } from "./chat.ts";

/** May the answer be calls in place of a text? */
export function mayCall({ tools, tool_choice }: Pick<ChatFields, "tools" | "tool_choice">): boolean {
  return (tools?.length ?? 0) > 0 && tool_choice !== "none";
}

/** How a request asks for calls: one that it names, and in OpenAI's older form. */
export interface CallForm {
  named: boolean;
  old: boolean;
}

export function callForm(fields: Pick<ChatFields, "tool_choice" | "functions">): CallForm {
  return { named: typeof fields.tool_choice === "object", old: isOldForm(fields) };
}

/** A call that the request has named is no decision of the model's: it has just stopped, in OpenAI's words and in vLLM's. */
export function chatFinish(finish: AnswerFinish, { named, old }: CallForm) {
  if (finish !== "tool_calls") return finish;
  if (named) return "stop";
  return old ? "function_call" : finish;
}

/** @param prefix what the text begins with (echo) */
export function chatMessage({ text, reasoning, calls }: Answer, prefix: string, { old }: CallForm) {
  const content = prefix + text;
  const [first] = calls;
  const called = old && first ? { function_call: { name: first.name, arguments: first.arguments } } : {};
  return {
    role: "assistant",
    content: content === "" && calls.length > 0 ? null : content,
    refusal: null,
    // Under both names that clients read.
    ...(reasoning !== "" && { reasoning_content: reasoning, reasoning }),
    ...(calls.length > 0 && !old && { tool_calls: calls.map(toolCall) }),
    ...called,
  };
}

function toolCall({ id, name, arguments: given, custom }: AnswerCall) {
  if (custom) return { id, type: "custom", custom: { name, input: given } };
  return { id, type: "function", function: { name, arguments: given } };
}
