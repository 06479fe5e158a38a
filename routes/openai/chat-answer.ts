/** An answer in the words of OpenAI's chat completions. */

import type { Answer, AnswerCall, AnswerFinish } from "../conversation/conversation.ts";
import type { ChatFields } from "./chat.ts";

/** May the answer be calls in place of a text? */
export function mayCall({ tools, tool_choice }: Pick<ChatFields, "tools" | "tool_choice">): boolean {
  return (tools?.length ?? 0) > 0 && tool_choice !== "none";
}

/** A call that the request has named is no decision of the model's: it has just stopped, in OpenAI's words and in vLLM's. */
export function chatFinish(finish: AnswerFinish, choice: ChatFields["tool_choice"]): AnswerFinish {
  return finish === "tool_calls" && typeof choice === "object" ? "stop" : finish;
}

/** @param prefix what the text begins with (echo) */
export function chatMessage({ text, reasoning, calls }: Answer, prefix: string) {
  const content = prefix + text;
  return {
    role: "assistant",
    content: content === "" && calls.length > 0 ? null : content,
    refusal: null,
    // Under both names that clients read.
    ...(reasoning !== "" && { reasoning_content: reasoning, reasoning }),
    ...(calls.length > 0 && {
      tool_calls: calls.map(toolCall),
    }),
  };
}

function toolCall({ id, name, arguments: given, custom }: AnswerCall) {
  if (custom) return { id, type: "custom", custom: { name, input: given } };
  return { id, type: "function", function: { name, arguments: given } };
}
