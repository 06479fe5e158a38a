/**
 * What a request may say. Every field is known: one that is not supported is accepted only at the value that asks for
 * nothing, and refused by name otherwise. The sampling fields are those of src/params.ts.
 */
import { z } from "zod";
import { FastgenError } from "../src/errors.ts";
import * as limits from "../src/limits.ts";
import { type SamplingParams, samplingSchema } from "../src/params.ts";
import type { ChatMessage, ChatOptions, Prompt } from "../src/types.ts";

/** A field that is not supported: only `values`, which ask for nothing, pass (deep equality by their JSON). */
function inert(...values: unknown[]) {
  const allowed = values.map((value) => JSON.stringify(value));
  const message = `not supported; leave it out${allowed.length > 0 ? ` or send ${allowed.join(" or ")}` : ""}`;
  return z.custom<unknown>((value) => allowed.includes(JSON.stringify(value)), message).optional();
}

const flag = z.boolean().optional();
const hint = z.string().optional();
const chatTemplate = z.string().max(limits.MAX_REQUEST_TEMPLATE_LENGTH).optional();

/** Asked of the server and not of the model, alike in chat and completions. */
const common = {
  /** Any name is taken; the reply names the served model. */
  model: hint,
  stream: flag,
  stream_options: z
    .strictObject({ include_usage: flag, include_obfuscation: inert(false), continuous_usage_stats: inert(false) })
    .optional(),
  return_token_ids: flag,
  // Said about the request, without effect on the answer.
  user: hint,
  metadata: z.record(z.string(), z.string()).optional(),
  service_tier: z.enum(["auto", "default"], 'only "auto" and "default" are supported').optional(),
  store: inert(false),
  // vLLM's, at the values that ask for nothing.
  allowed_token_ids: inert([]),
  bad_words: inert([]),
  length_penalty: inert(1),
  logits_processors: inert([]),
  priority: inert(0),
  spaces_between_special_tokens: inert(true),
  structured_outputs: inert(),
  truncate_prompt_tokens: inert(),
  use_beam_search: inert(false),
};

const { logprobs: _chatHasItsOwn, ...sampling } = samplingSchema.shape;

const textPart = z.strictObject({
  type: z.literal("text", "only parts of type 'text' are supported"),
  text: z.string(),
});

/** A text, or text parts: the chat template decides what becomes of them. null is the empty text. */
const content = z
  .union([z.string(), z.array(z.unknown())], "must be a string or an array of text parts")
  .nullable()
  .transform((value, context) => {
    if (!Array.isArray(value)) return value;
    const parts: z.output<typeof textPart>[] = [];
    for (const [i, part] of value.entries()) {
      const result = textPart.safeParse(part);
      if (result.success) parts.push(result.data);
      else for (const issue of result.error.issues) context.addIssue({ ...issue, path: [i, ...issue.path] } as never);
    }
    return parts;
  })
  .optional();

/** Any role and any field: what they mean is the chat template's business. */
const message = z
  .looseObject({
    role: z.string().min(1),
    content,
    name: z.string().nullish(),
    reasoning_content: z.string().nullish(),
    tool_calls: z.array(z.looseObject({})).nullish(),
  })
  .refine(({ role, content }) => content !== undefined || role === "assistant", {
    path: ["content"],
    error: "required",
  })
  .transform(({ role, content = null, ...fields }): ChatMessage => {
    // Templates know OpenAI's newer name for the system's role under the older one.
    const message: ChatMessage = { role: role === "developer" ? "system" : role, content };
    // A field that says nothing, as replies bring them, is as good as none: templates ask whether a field is there.
    const isNothing = (value: unknown) => value == null || (Array.isArray(value) && value.length === 0);
    for (const [name, value] of Object.entries(fields)) if (!isNothing(value)) message[name] = value;
    return message;
  });

const conversation = {
  messages: z.array(message).min(1).max(limits.MAX_MESSAGES),
  add_generation_prompt: flag,
  continue_final_message: flag,
  chat_template: chatTemplate,
  chat_template_kwargs: z.record(z.string(), z.unknown()).optional(),
  /** For templates that take them. Calls in the answer stay text. */
  documents: z.array(z.looseObject({})).optional(),
  tools: z.array(z.looseObject({})).optional(),
};

export const chatSchema = z.strictObject({
  ...common,
  ...sampling,
  ...conversation,
  max_tokens: z.int().min(1).optional(),
  max_completion_tokens: z.int().min(1).optional(),
  logprobs: flag,
  top_logprobs: z.int().min(0).max(limits.MAX_LOGPROBS).optional(),
  // A template writes the special tokens itself.
  add_special_tokens: inert(false),
  /** vLLM's: the answer begins with the last message, where that is the assistant's. */
  echo: flag,
  parallel_tool_calls: flag,
  prompt_cache_key: hint,
  prompt_cache_retention: hint,
  safety_identifier: hint,
  include_reasoning: inert(true),
  audio: inert(),
  function_call: inert("none", "auto"),
  functions: inert([]),
  modalities: inert(["text"]),
  moderation: inert(),
  prediction: inert(),
  reasoning_effort: inert(),
  response_format: inert({ type: "text" }),
  tool_choice: inert("none", "auto"),
  verbosity: inert(),
  web_search_options: inert(),
});

export const completionSchema = z.strictObject({
  ...common,
  ...samplingSchema.shape,
  /** Checked by promptList. */
  prompt: z.unknown(),
  add_special_tokens: flag,
  echo: flag,
  best_of: z.int().optional(),
  suffix: inert(""),
  response_format: inert({ type: "text" }),
});

/** vLLM's /tokenize: a text, or a conversation. */
export const tokenizeSchema = z.strictObject({
  ...conversation,
  model: hint,
  messages: conversation.messages.optional(),
  prompt: z.string().optional(),
  add_special_tokens: flag,
  return_token_strs: flag,
});

export const detokenizeSchema = z.strictObject({
  model: hint,
  /** Checked by tokenIds: as long as a prompt. */
  tokens: z.unknown(),
  skip_special_tokens: flag,
});

/** What the schema cannot say about one field alone. */
export function checkStreamOptions(fields: {
  stream?: boolean;
  stream_options?: object;
  prompt_logprobs: number | null;
}): void {
  const { stream, stream_options, prompt_logprobs } = fields;
  if (stream_options !== undefined && !stream) {
    throw new FastgenError("invalid_request", "stream_options: needs stream: true", { param: "stream_options" });
  }
  if (stream && prompt_logprobs !== null) {
    const message = "prompt_logprobs: not available with stream: true";
    throw new FastgenError("invalid_request", message, { param: "prompt_logprobs" });
  }
}

/** The sampling fields that the caller gave; the library fills in the rest. */
export function samplingParams(given: Record<string, unknown>): SamplingParams {
  const params: Record<string, unknown> = {};
  for (const key of Object.keys(samplingSchema.shape)) if (given[key] !== undefined) params[key] = given[key];
  return params as SamplingParams;
}

interface ConversationFields extends ChatOptions {
  messages: ChatMessage[];
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
  const refuse = (message: string) => new FastgenError("invalid_request", `${param}: ${message}`, { param });
  if (!trusted) throw refuse("refused, since the server was started without --trust-request-chat-template");
  if (typeof template !== "string") throw refuse("must be a string");
  return template;
}

/** A conversation as the library takes it. `trusted`: may the request bring a template of its own? */
export function chatPrompt(fields: ConversationFields, trusted: boolean): { messages: ChatMessage[] } & ChatOptions {
  const { messages, add_generation_prompt, continue_final_message, chat_template_kwargs, tools, documents } = fields;
  const chat_template = requestTemplate(fields, trusted);
  if (add_generation_prompt && continue_final_message) {
    const message = "continue_final_message: cannot be true together with add_generation_prompt";
    throw new FastgenError("invalid_request", message, { param: "continue_final_message" });
  }
  const options = { add_generation_prompt, continue_final_message, chat_template, chat_template_kwargs };
  return { messages, ...options, tools, documents };
}

function isIds(value: unknown): value is number[] {
  return (
    Array.isArray(value) && value.length > 0 && value.every((id) => Number.isInteger(id) && id >= 0 && id < 2 ** 31)
  );
}

/** Token ids, checked by hand: a schema would spend a millisecond on every few thousand. */
export function tokenIds(value: unknown, param: string): number[] {
  if (isIds(value)) return value;
  throw new FastgenError("invalid_request", `${param}: must be a non-empty array of token ids`, { param });
}

/** The prompts of a completion: a string, strings, token ids, or arrays of them. */
export function promptList(prompt: unknown): Prompt[] {
  const fail = (message: string, param = "prompt") =>
    new FastgenError("invalid_request", `${param}: ${message}`, { param });
  if (prompt === undefined) throw fail("required");
  if (typeof prompt === "string") return [prompt];
  if (!Array.isArray(prompt)) throw fail("must be a string, an array of strings, token ids, or an array of those");
  if (prompt.length === 0) throw fail("must not be empty");
  if (typeof prompt[0] === "number") return [tokenIds(prompt, "prompt")];
  if (prompt.length > limits.MAX_PROMPTS_PER_REQUEST) {
    throw fail(`${prompt.length} prompts are more than the ${limits.MAX_PROMPTS_PER_REQUEST} of one request; split it`);
  }
  return prompt.map((item, i) => {
    if (typeof item === "string" || isIds(item)) return item;
    throw fail("must be a string or a non-empty array of token ids", `prompt[${i}]`);
  });
}
