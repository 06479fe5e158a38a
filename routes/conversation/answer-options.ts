/** What a conversation asks of the library beside its prompt and its sampling parameters. */
import type { AnswerFormat } from "../../src/answer/formats.ts";
import { answerGrammar } from "../../src/answer/grammar.ts";
import type { AnswerRequest } from "../../src/answer/parts.ts";
import { toolsInUse } from "../../src/answer/tools-in-use.ts";
import { structuredRules } from "../../src/structured-outputs.ts";
import type { FastgenApi, GenerateOptions } from "../../src/types.ts";
import type { ConversationRequest } from "./conversation.ts";

/** @throws FastgenError "invalid_request" for a structure or a tool's schema that no grammar can hold an answer to. */
export function answerOptions(
  fastgen: Pick<FastgenApi, "tokenOf">,
  format: AnswerFormat,
  asked: AnswerRequest,
  { structured, thinkingBudget }: Pick<ConversationRequest, "structured" | "thinkingBudget">,
): GenerateOptions {
  const { reasoning } = format;
  const tools = toolsInUse(format, asked);
  const marks = reasoning ? [reasoning.begin, reasoning.end] : [];
  const grammar = answerGrammar(format, {
    ...asked,
    structured: structured && ((rule) => structuredRules(structured, rule)),
    markToken: (text) => fastgen.tokenOf(text),
  });
  return {
    shown_special_tokens: [...marks, ...(tools?.marks ?? [])],
    ...(grammar && { grammar: { ...grammar, param: structured ? "structured_outputs" : "tools" } }),
    ...(reasoning &&
      thinkingBudget !== null && {
        thinking: { budget: thinkingBudget, begin: asked.thinkingOpen ? null : reasoning.begin, end: reasoning.end },
      }),
  };
}
