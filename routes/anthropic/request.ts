/** A request to /messages in the words that all conversations share. */
import { FastgenError } from "../../src/errors.ts";
import { parseWith, schemaError } from "../../src/schema-error.ts";
import type { StructuredOutputs } from "../../src/structured-outputs.ts";
import { askForRollout, samplingParams } from "../body/fields.ts";
import type { ConversationRequest, ToolChoice } from "../conversation/conversation.ts";
import { chatPrompt, type TemplateRules } from "../conversation/messages.ts";
import { toolChoice } from "../conversation/tools.ts";
import { Turns } from "../conversation/turns.ts";
import type { AnthropicMessage, ContentBlock } from "./blocks.ts";
import { type CustomTool, customTool, type MessageFields } from "./schema.ts";

/**
 * @param given the body as it was sent: the model's own defaults hold for what it leaves out
 * @param tools those of the body
 */
export function conversationRequest(
  fields: MessageFields,
  given: Record<string, unknown>,
  tools: readonly CustomTool[],
  rules: TemplateRules,
): ConversationRequest {
  const { thinking, tool_choice, cache_salt, priority } = fields;
  const params = samplingParams(given);
  params.max_tokens = fields.max_tokens;
  if (fields.stop_sequences.length > 0) params.stop = fields.stop_sequences;
  askForRollout(params, fields);
  return {
    prompt: messagesPrompt(fields, tools, rules),
    params,
    // Pieces are put together by the route.
    options: { stream: true, cache_salt, priority },
    toolChoice: toolChoice(tools, toOwnChoice(tool_choice)),
    customTools: new Set(),
    parallelToolCalls: !(tool_choice?.disable_parallel_tool_use ?? false),
    structured: structured(fields),
    includeReasoning: thinking?.display !== "omitted",
    thinkingBudget: thinking?.budget_tokens ?? null,
  };
}

/** The conversation as the library takes it. */
export function messagesPrompt(fields: MessageFields, tools: readonly CustomTool[], rules: TemplateRules) {
  const { system, messages, thinking, output_config, chat_template_kwargs } = fields;
  const turns = new Turns("messages");
  if (system) turns.say("system", system);
  for (const { role, content } of messages) for (const block of joined(content)) addBlock(turns, role, block);
  const isThinking = thinking?.type === "enabled" || (thinking?.type === "disabled" ? false : fields.enable_thinking);
  const conversation = turns.messages;
  const last = conversation.at(-1);
  // An answer that was begun for the model is continued.
  const continued = last?.role === "assistant" && last.content !== "" && last.tool_calls === undefined;
  const prompt = {
    messages: conversation,
    ...(continued && { continue_final_message: true }),
    ...(tools.length > 0 && { tools: tools.map(chatTool) }),
    reasoning_effort: output_config?.effort,
    enable_thinking: isThinking,
    chat_template_kwargs,
  };
  // Requests to this route bring no templates.
  return chatPrompt(prompt, { ...rules, trustRequestChatTemplate: false });
}

type JoinedBlock = Exclude<ContentBlock, { type: "text" }> | { type: "texts"; texts: string[] };

/** Blocks with those of text that follow each other as one. */
function joined(content: readonly ContentBlock[]): JoinedBlock[] {
  const out: JoinedBlock[] = [];
  for (const block of content) {
    const last = out.at(-1);
    if (block.type !== "text") out.push(block);
    else if (last?.type === "texts") last.texts.push(block.text);
    else out.push({ type: "texts", texts: [block.text] });
  }
  return out;
}

function addBlock(turns: Turns, role: AnthropicMessage["role"], block: JoinedBlock): void {
  const of = (owner: AnthropicMessage["role"]) => {
    if (role === owner) return;
    const message = `messages: a block of type "${block.type}" stands in a message of the role "${role}"; it belongs to "${owner}"`;
    throw new FastgenError("invalid_request", message, { param: "messages" });
  };
  if (block.type === "texts") {
    if (role === "assistant") turns.answer(block.texts);
    else turns.say(role, block.texts);
  } else if (block.type === "tool_use") {
    of("assistant");
    turns.call({ id: block.id, name: block.name, arguments: block.input });
  } else if (block.type === "tool_result") {
    of("user");
    const texts = block.content ?? [];
    turns.result(block.tool_use_id, block.is_error ? [`Error: ${texts.join("\n")}`] : texts);
  } else if (block.type === "thinking") {
    of("assistant");
    if (block.thinking !== "") turns.reason(block.thinking);
  }
}

/** Chat's form of a tool. */
function chatTool({ name, description, input_schema, strict }: CustomTool) {
  return {
    type: "function",
    function: {
      name,
      ...(description != null && { description }),
      parameters: input_schema,
      ...(strict != null && { strict }),
    },
  };
}

/**
 * The client's own tools, and the names of tools that are left out: Anthropic runs those.
 * @param allowExtra leave other tools out, instead of refusing them
 * @throws FastgenError "invalid_request" that names the tool.
 */
export function customTools({ tools = [] }: MessageFields, allowExtra: boolean) {
  const custom: CustomTool[] = [];
  const ignored: string[] = [];
  for (const [i, tool] of tools.entries()) {
    const param = `tools[${i}]`;
    if (tool.type == null || tool.type === "custom") {
      const parsed = parseWith(customTool, tool);
      if (!parsed.success) throw schemaError(parsed.error, ["tools", i]);
      custom.push(parsed.data);
    } else if (allowExtra) ignored.push(param);
    else {
      const message = `${param}.type ${JSON.stringify(tool.type)} is a tool that this server does not have; only tools with an input_schema are supported`;
      throw new FastgenError("invalid_request", message, { param: `${param}.type` });
    }
  }
  return { custom, ignored };
}

/** Whether it names one of the tools is checked for all APIs. */
function toOwnChoice(choice: MessageFields["tool_choice"]): ToolChoice | undefined {
  if (choice?.type === "any") return "required";
  if (choice?.type !== "tool") return choice?.type;
  if (choice.name !== undefined) return { name: choice.name };
  throw new FastgenError("invalid_request", 'tool_choice of type "tool" needs a name', { param: "tool_choice" });
}

function structured({
  output_config,
  output_format,
  structured_outputs: own,
}: MessageFields): StructuredOutputs | null {
  const format = output_config?.format ?? output_format;
  if (!format) return own;
  if (!own) return { json: format.schema };
  const message =
    "structured_outputs and output_config.format both say what the answer must look like; send one of them";
  throw new FastgenError("invalid_request", message, { param: "structured_outputs" });
}

/** An error about fields that have other names here. */
export function inOwnWords(error: unknown, { output_config, output_format }: MessageFields): unknown {
  if (!(error instanceof FastgenError) || error.param === null) return error;
  const format = output_config?.format ? "output_config.format.schema" : "output_format.schema";
  const isFormat = output_config?.format ?? output_format;
  const named = isFormat ? error.param.replace(/^structured_outputs(\.json)?/, format) : error.param;
  const param = named
    .replace(/^(tools\[\d+\])\.function\.parameters/, "$1.input_schema")
    .replace(/^(tools\[\d+\])\.function/, "$1");
  if (param === error.param) return error;
  return new FastgenError(error.kind, error.message.replaceAll(error.param, param), { param, code: error.code });
}
