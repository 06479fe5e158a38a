/** The conversation of a request: its messages, and what else reaches the chat template. */
import { z } from "zod";
import { boundedArray, holdsAtMost, isObject, passOn } from "../../src/bounded-json.ts";
import { FastgenError } from "../../src/errors.ts";
import * as limits from "../../src/limits.ts";
import { parseWith } from "../../src/schema-error.ts";
import type { ChatMessage, ChatOptions, ContentPart } from "../../src/types.ts";
import { asFunctionCall } from "./custom-tools.ts";
import { inNewForm } from "./old-functions.ts";
import { effortOf, type ThinkingFields, thinkingFields, thinkingSwitch } from "./thinking.ts";
import { toolFields } from "./tools.ts";

/** Kinds of parts that are text under another name, and the field that has it. Templates know only "text". */
const TEXT_FIELDS = new Map([
  ["input_text", "text"],
  ["output_text", "text"],
  ["refusal", "refusal"],
  ["thinking", "thinking"],
]);

/** A part as a text part, if it is one by any name or none: a bare string too, as LangChain sends them. */
function asTextPart(part: unknown): unknown {
  if (typeof part === "string") return { type: "text", text: part };
  if (!isObject(part)) return part;
  if (part.type == null && typeof part.text === "string") return { ...part, type: "text" };
  const field = TEXT_FIELDS.get(String(part.type));
  if (field === undefined) return part;
  const { type: _, [field]: text, ...others } = part as Record<string, unknown>;
  return { ...others, type: "text", text };
}

/** Any further key is the template's business. */
const textPart = z.preprocess(
  asTextPart,
  z.looseObject({
    type: z.literal("text", 'must be "text": images, audio and the like are not supported'),
    text: z.string(),
  }),
);

const textParts = boundedArray(textPart, limits.MAX_CONTENT_PARTS);

/** A text, or text parts: the chat template decides what becomes of them. null is the empty text. */
const content = z
  .custom<string | unknown[] | null>(
    (value) => value === null || typeof value === "string" || Array.isArray(value),
    "must be a string or an array of text parts",
  )
  .transform((value, context) => {
    const parts = Array.isArray(value) ? parseWith(textParts, value) : null;
    return parts && !parts.success ? passOn(context, value, parts.error) : value;
  })
  .optional();

/** Any role and any field: what they mean is the chat template's business. */
const messageFields = z
  .looseObject({
    role: z.string().min(1),
    content,
    name: z.string().nullish(),
    reasoning_content: z.string().nullish(),
    tool_calls: boundedArray(z.looseObject({}), limits.MAX_CONTENT_PARTS).nullish(),
  })
  .refine(({ role, content }) => content !== undefined || role === "assistant", {
    path: ["content"],
    error: "is required",
  });

/** Checked, and handed on as it was given: a template may print a message, with its keys in their order. */
const message = z.custom<ChatMessage>(isObject, "must be an object").transform((sent, context) => {
  const given = inNewForm(sent) as ChatMessage;
  const parsed = parseWith(messageFields, given);
  if (!parsed.success) return passOn(context, given, parsed.error);
  const { content, tool_calls } = parsed.data;
  return {
    ...given,
    ...(Array.isArray(content) && { content: content.map(asTextPart) as ContentPart[] }),
    ...(tool_calls?.some(({ type }) => type === "custom") && { tool_calls: tool_calls.map(asFunctionCall) }),
  };
});

const flag = z.boolean().optional();

export const conversation = {
  messages: boundedArray(message, limits.MAX_MESSAGES, 1),
  add_generation_prompt: flag,
  continue_final_message: flag,
  chat_template: z.string().max(limits.MAX_REQUEST_TEMPLATE_LENGTH).optional(),
  chat_template_kwargs: z
    .custom<Record<string, unknown>>(isObject, "must be an object")
    .refine(
      (kwargs) => holdsAtMost(kwargs, limits.MAX_TEMPLATE_KWARGS),
      `must hold at most ${limits.MAX_TEMPLATE_KWARGS} values`,
    )
    .optional(),
  /** For templates that take them. */
  documents: boundedArray(z.looseObject({}), limits.MAX_CONTENT_PARTS).optional(),
  tools: toolFields.tools,
  ...thinkingFields,
  /** A variable of the template. */
  verbosity: z.enum(["low", "medium", "high"]).optional(),
};

interface ConversationFields extends ChatOptions, ThinkingFields {
  messages: ChatMessage[];
  verbosity?: string;
}

/**
 * The template that a request brings, also in chat_template_kwargs, where vLLM takes it too.
 * @throws FastgenError "invalid_request": requests are not trusted with templates.
 */
function requestTemplate({ chat_template, chat_template_kwargs }: ConversationFields, trusted: boolean) {
  const inKwargs = chat_template_kwargs?.chat_template ?? undefined;
  const [template, param] =
    inKwargs === undefined ? [chat_template, "chat_template"] : [inKwargs, "chat_template_kwargs.chat_template"];
  if (template === undefined) return undefined;
  const refuse = (message: string) => new FastgenError("invalid_request", `${param} ${message}`, { param });
  if (!trusted) throw refuse("is refused, since the server was started without --trust-request-chat-template");
  if (typeof template !== "string") throw refuse("must be a string");
  return template;
}

/** The template's variables: what the request says about thinking and length, and its own. */
function templateVariables(fields: ConversationFields): Record<string, unknown> | undefined {
  const { chat_template_kwargs, verbosity } = fields;
  const enable_thinking = thinkingSwitch(fields);
  const reasoning_effort = effortOf(fields);
  if (enable_thinking === undefined && verbosity === undefined) return chat_template_kwargs;
  return {
    ...(enable_thinking !== undefined && { enable_thinking }),
    ...chat_template_kwargs,
    ...(reasoning_effort !== undefined && { reasoning_effort }),
    ...(verbosity !== undefined && { verbosity }),
  };
}

/** A field that may also stand among the template's variables, where vLLM takes it too. */
function templateFlag(fields: ConversationFields, name: "add_generation_prompt" | "continue_final_message") {
  const inKwargs = fields.chat_template_kwargs?.[name];
  return fields[name] ?? (typeof inKwargs === "boolean" ? inKwargs : undefined);
}

/** What the server says about templates. */
export interface TemplateRules {
  /** May requests bring templates of their own? */
  trustRequestChatTemplate: boolean;
  /** Variables of the template where a request has none of that name. */
  defaultChatTemplateKwargs: Record<string, unknown> | null;
}

/** A conversation as the library takes it. */
export function chatPrompt(
  fields: ConversationFields,
  rules: TemplateRules,
): { messages: ChatMessage[] } & ChatOptions {
  const { messages, tools, documents } = fields;
  const add_generation_prompt = templateFlag(fields, "add_generation_prompt");
  const continue_final_message = templateFlag(fields, "continue_final_message");
  const chat_template = requestTemplate(fields, rules.trustRequestChatTemplate);
  if (add_generation_prompt && continue_final_message) {
    const message = "continue_final_message cannot be true together with add_generation_prompt";
    throw new FastgenError("invalid_request", message, { param: "continue_final_message" });
  }
  const given = templateVariables(fields);
  const { defaultChatTemplateKwargs: defaults } = rules;
  const chat_template_kwargs = defaults ? { ...defaults, ...given } : given;
  const options = { add_generation_prompt, continue_final_message, chat_template, chat_template_kwargs };
  return { messages, ...options, tools, documents };
}

/** The text of a message's content, parts on lines of their own. */
export function contentText(content: ChatMessage["content"] | undefined): string {
  return typeof content === "string" ? content : (content ?? []).map(({ text }) => text ?? "").join("\n");
}
