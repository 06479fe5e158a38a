/**
 * What a request may say. Every field of OpenAI's and vLLM's API is listed. One that is not supported is accepted only at a
 * value that asks for nothing, and otherwise refused by name. The sampling fields are those of src/params.ts.
 */
import { z } from "zod";
import { boundedArray, boundedRecord, holdsAtMost, isObject, passOn } from "../src/bounded.ts";
import { FastgenError } from "../src/errors.ts";
import * as limits from "../src/limits.ts";
import { type SamplingParams, samplingSchema } from "../src/params.ts";
import type { ChatMessage, ChatOptions, Prompt } from "../src/types.ts";

/** A field that is not supported: only `values`, which ask for nothing, pass. */
function inert(...values: unknown[]) {
  const allowed = values.map((value) => JSON.stringify(value));
  const message = `not supported; leave it out${allowed.length > 0 ? ` or send ${allowed.join(" or ")}` : ""}`;
  return z.custom<unknown>((given) => values.some((value) => sameJson(given, value)), message).optional();
}

/** Deep equality of JSON values. It looks at no more of `given` than `value` holds. */
function sameJson(given: unknown, value: unknown): boolean {
  if (Array.isArray(value)) {
    return (
      Array.isArray(given) && given.length === value.length && value.every((entry, i) => sameJson(given[i], entry))
    );
  }
  if (!isObject(value)) return given === value;
  const keys = Object.keys(value);
  if (!isObject(given) || Object.keys(given).length !== keys.length) return false;
  return keys.every((key) => Object.hasOwn(given, key) && sameJson(given[key], value[key]));
}

const flag = z.boolean().optional();
const hint = z.string().optional();
const chatTemplate = z.string().max(limits.MAX_REQUEST_TEMPLATE_LENGTH).optional();

/** What is asked of the server rather than the model; the same in chat and completions. */
const common = {
  /** Any name is accepted; the reply names the served model. */
  model: hint,
  stream: flag,
  stream_options: z
    .strictObject({ include_usage: flag, include_obfuscation: inert(false), continuous_usage_stats: inert(false) })
    .optional(),
  return_token_ids: flag,
  // About the request; no effect on the answer.
  user: hint,
  metadata: boundedRecord(z.string(), z.string(), limits.MAX_METADATA_ENTRIES).optional(),
  service_tier: z.enum(["auto", "default"], 'only "auto" and "default" are supported').optional(),
  store: inert(false),
  // vLLM's fields, only at the values that ask for nothing.
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

const textParts = boundedArray(textPart, limits.MAX_CONTENT_PARTS);

/** A text, or text parts: the chat template decides what becomes of them. null is the empty text. */
const content = z
  .custom<string | z.input<typeof textParts> | null>(
    (value) => value === null || typeof value === "string" || Array.isArray(value),
    "must be a string or an array of text parts",
  )
  .transform((value, context) => {
    if (!Array.isArray(value)) return value;
    const parts = textParts.safeParse(value);
    return parts.success ? parts.data : passOn(context, value, parts.error);
  })
  .optional();

/** Any role and any field: what they mean is the chat template's business. */
const message = z
  .looseObject({
    role: z.string().min(1),
    content,
    name: z.string().nullish(),
    reasoning_content: z.string().nullish(),
    tool_calls: boundedArray(z.looseObject({}), limits.MAX_CONTENT_PARTS).nullish(),
  })
  .refine(({ role, content }) => content !== undefined || role === "assistant", {
    path: ["content"],
    error: "required",
  })
  .transform(({ role, content = null, ...fields }): ChatMessage => {
    // Templates know the system's role only by its older name.
    const message: ChatMessage = { role: role === "developer" ? "system" : role, content };
    // A field that says nothing, as replies bring them, is as good as none: templates ask whether a field is there.
    const isNothing = (value: unknown) => value == null || (Array.isArray(value) && value.length === 0);
    for (const [name, value] of Object.entries(fields)) if (!isNothing(value)) message[name] = value;
    return message;
  });

const conversation = {
  messages: boundedArray(message, limits.MAX_MESSAGES, 1),
  add_generation_prompt: flag,
  continue_final_message: flag,
  chat_template: chatTemplate,
  chat_template_kwargs: z
    .custom<Record<string, unknown>>(isObject, "must be an object")
    .refine((kwargs) => holdsAtMost(kwargs, limits.MAX_TEMPLATE_KWARGS), `at most ${limits.MAX_TEMPLATE_KWARGS} values`)
    .optional(),
  /** For templates that take them. Calls in the answer stay text. */
  documents: boundedArray(z.looseObject({}), limits.MAX_CONTENT_PARTS).optional(),
  tools: boundedArray(z.looseObject({}), limits.MAX_CONTENT_PARTS).optional(),
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
  /** vLLM's: the answer begins with the last message if that is the assistant's. */
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
  /** Checked by tokenIds: there may be as many as in a prompt. */
  tokens: z.unknown(),
  skip_special_tokens: flag,
});

/** Rules about two fields together, which the schema cannot express. */
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

/** Token ids, at most `most`. Checked by hand: a schema would spend a millisecond on every few thousand. */
export function tokenIds(value: unknown, param: string, most = Number.POSITIVE_INFINITY): number[] {
  if (Array.isArray(value) && value.length > most) {
    const message = `${param}: has ${value.length} ids; at most ${most} are allowed`;
    throw new FastgenError("invalid_request", message, { param });
  }
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
