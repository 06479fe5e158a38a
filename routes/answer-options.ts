/** What a conversation asks of the library beside its prompt and its sampling parameters. */
import type { AnswerFormat } from "../src/answer/formats.ts";
import type { AnswerRequest } from "../src/answer/parts.ts";
import { toolsInUse } from "../src/answer/tools-in-use.ts";
import type { FastgenApi, GenerateOptions } from "../src/types.ts";
import type { ConversationRequest } from "./conversation.ts";

/** @throws FastgenError "invalid_request" for a structure or a tool's schema that no grammar can hold an answer to. */
export function answerOptions(
  _fastgen: FastgenApi,
  format: AnswerFormat,
  asked: AnswerRequest,
  _request: Pick<ConversationRequest, "structured" | "thinkingBudget">,
): GenerateOptions {
  const marks = toolsInUse(format, asked)?.marks ?? [];
  const { reasoning } = format;
  return { shown_special_tokens: reasoning ? [reasoning.begin, reasoning.end, ...marks] : marks };
}
