/** A request to /responses in the words that all conversations share. */
import { FastgenError } from "../../src/errors.ts";
import type { SamplingParams } from "../../src/params.ts";
import type { StructuredOutputs } from "../../src/structured-outputs.ts";
import { askForRollout, samplingParams } from "../body/fields.ts";
import type { ConversationRequest } from "../conversation/conversation.ts";
import { inputArguments } from "../conversation/custom-tools.ts";
import { chatPrompt, type TemplateRules } from "../conversation/messages.ts";
import { allowedTools, toolChoice } from "../conversation/tools.ts";
import { Turns } from "../conversation/turns.ts";
import type { Item } from "./items.ts";
import type { FunctionTool, ResponseFields, TextFormat } from "./schema.ts";
import { modelName, type Tools } from "./tools.ts";

const LOGPROBS = "message.output_text.logprobs";

/** Whether the text of the reply has log probabilities. */
export function wantsLogprobs({ include }: ResponseFields): boolean {
  return include?.includes(LOGPROBS) ?? false;
}

/** The body's fields that ask for what the server does not have, beyond what a schema can tell. */
export function checkFields(fields: ResponseFields): void {
  if (fields.top_logprobs && !wantsLogprobs(fields)) {
    throw refuse("top_logprobs", `needs include: ["${LOGPROBS}"]`);
  }
}

/**
 * @param given the body as it was sent: the model's own defaults hold for what it leaves out
 * @param items the whole conversation, what was stored included
 * @param tools those of the body
 */
export function conversationRequest(
  fields: ResponseFields,
  given: Record<string, unknown>,
  items: readonly Item[],
  tools: Tools,
  rules: TemplateRules,
): ConversationRequest {
  const { instructions, reasoning, text, chat_template_kwargs, tool_choice, parallel_tool_calls } = fields;
  const { enable_thinking, truncation, cache_salt, priority } = fields;
  const messages = toMessages(instructions, items);
  if (messages.length === 0) throw refuse("input", "is required");
  const { tools: callable, choice } = allowedTools(tools.functions, tool_choice, ({ name }) => name);
  const format = text?.format;
  const prompt = {
    messages,
    ...(callable.length > 0 && { tools: callable.map(chatTool) }),
    enable_thinking,
    reasoning_effort: reasoning?.effort,
    verbosity: text?.verbosity,
    chat_template_kwargs,
  };
  return {
    // Requests to this route bring no templates.
    prompt: chatPrompt(prompt, { ...rules, trustRequestChatTemplate: false }),
    params: responseParams(fields, given),
    options: {
      // Pieces are put together by the route.
      stream: true,
      ...(truncation === "auto" && { truncate_prompt_tokens: -1 }),
      cache_salt,
      priority,
    },
    toolChoice: toolChoice(callable, choice),
    customTools: tools.custom,
    parallelToolCalls: parallel_tool_calls ?? true,
    structured: structured(format, fields.structured_outputs),
    includeReasoning: true,
    thinkingBudget: null,
  };
}

function refuse(param: string, message: string): FastgenError {
  return new FastgenError("invalid_request", `${param} ${message}`, { param });
}

function responseParams(fields: ResponseFields, given: Record<string, unknown>): SamplingParams {
  const params = samplingParams(given);
  if (fields.max_output_tokens !== undefined) params.max_tokens = fields.max_output_tokens;
  if (wantsLogprobs(fields)) params.logprobs = fields.top_logprobs ?? 0;
  askForRollout(params, fields);
  return params;
}

function toMessages(instructions: string | undefined, items: readonly Item[]) {
  const turns = new Turns("input");
  if (instructions !== undefined) turns.say("system", [instructions]);
  for (const item of items) {
    if (item.type === "function_call")
      turns.call({ id: item.call_id, name: modelName(item), arguments: item.arguments });
    else if (item.type === "custom_tool_call")
      turns.call({ id: item.call_id, name: modelName(item), arguments: inputArguments(item.input) });
    else if (item.type === "function_call_output" || item.type === "custom_tool_call_output")
      turns.result(item.call_id, item.output);
    else if (item.type === "reasoning") {
      const texts = item.content?.length ? item.content : (item.summary ?? []);
      if (texts.length > 0) turns.reason(texts.join("\n"));
    } else if (item.role === "assistant") turns.answer(item.content);
    else turns.say(item.role, item.content);
  }
  return turns.messages;
}

/** Chat's form of a tool. */
function chatTool({ type, name, description, parameters, strict }: FunctionTool) {
  return {
    type,
    function: {
      name,
      ...(description != null && { description }),
      ...(parameters != null && { parameters }),
      ...(strict != null && { strict }),
    },
  };
}

function structured(format: TextFormat | undefined, own: StructuredOutputs | null): StructuredOutputs | null {
  if (format === undefined || format.type === "text") return own;
  if (own)
    throw refuse("structured_outputs", "and text.format both say what the answer must look like; send one of them");
  return format.type === "json_schema" ? { json: format.schema } : { json_object: true };
}

/** An error about fields that have other names here. */
export function inOwnWords(error: unknown, fields: ResponseFields): unknown {
  if (!(error instanceof FastgenError) || error.param === null) return error;
  // Its message is about the conversation.
  if (error.param === "messages")
    return new FastgenError(error.kind, error.message, { param: "input", code: error.code });
  const format = fields.text?.format;
  let param = error.param;
  if (param === "max_tokens") param = "max_output_tokens";
  else if (format?.type === "json_schema") param = param.replace(/^structured_outputs(\.json)?/, "text.format.schema");
  else if (format?.type === "json_object") param = param.replace(/^structured_outputs(\.json_object)?/, "text.format");
  param = param.replace(/^(tools\[\d+\])\.function/, "$1");
  if (param === error.param) return error;
  return new FastgenError(error.kind, error.message.replaceAll(error.param, param), { param, code: error.code });
}
