/** POST /chat/completions: OpenAI's chat API, with vLLM's sampling fields. */
import type { Context } from "hono";
import { FastgenError } from "../../src/errors.ts";
import type { SamplingParams } from "../../src/params.ts";
import { readBody } from "../body/body.ts";
import {
  askForRollout,
  checkTogether,
  generateOptions,
  replyId,
  samplingParams,
  usageOptions,
} from "../body/fields.ts";
import { chatSchema } from "../body/schemas.ts";
import { inCallersWords, structuredOutputs } from "../body/structured.ts";
import type { Env } from "../context.ts";
import { Conversation } from "../conversation/conversation.ts";
import { chatPrompt, contentText } from "../conversation/messages.ts";
import { inOldWords, isOldForm, toolsOf } from "../conversation/old-functions.ts";
import { nestedThinking, reasoningOf } from "../conversation/thinking.ts";
import { allowedTools, customNames, toolChoice } from "../conversation/tools.ts";
import { longChatLogprobs, promptLogprobs, tokenNames } from "../reply/logprobs.ts";
import { longJson } from "../reply/long-json.ts";
import { Rollouts } from "../reply/rollout.ts";
import { eventStream } from "../reply/sse.ts";
import { changedVersions } from "../reply/weight-versions.ts";
import type { Service } from "../service.ts";
import { callForm, chatFinish, chatMessage } from "./chat-answer.ts";
import { ChatFrames } from "./chat-frames.ts";

export type ChatFields = Awaited<ReturnType<typeof readChat>>["fields"];

/** Reads and checks a body. Of its tools those are left that may be called. */
export async function readChat(c: Context<Env>, service: Service) {
  const { fields, given } = await readBody(c, service, chatSchema, nestedThinking);
  const all = toolsOf(fields);
  const { tools, choice } = allowedTools(all.tools, all.choice, (tool) => tool.function.name);
  const stream_options = usageOptions(fields, service.options.forceIncludeUsage);
  return { fields: { ...fields, tools, tool_choice: choice, stream_options }, given };
}

export function chat(service: Service) {
  return async (c: Context<Env>): Promise<Response> => {
    const { fields, given } = await readChat(c, service);
    checkTogether(fields, fields.logprobs ?? false);
    if (fields.request_id !== undefined) c.get("record").nameBy(fields.request_id);
    const params = chatParams(fields, given);
    askForRollout(params, fields);
    const conversation = await Conversation.start(c, service, {
      prompt: chatPrompt(fields, service.options),
      params,
      options: generateOptions(fields),
      toolChoice: toolChoice(fields.tools, fields.tool_choice),
      customTools: customNames(given.tools),
      parallelToolCalls: !isOldForm(fields) && (fields.parallel_tool_calls ?? true),
      structured: structuredOutputs(fields),
      ...reasoningOf(fields),
    }).catch((thrown) => {
      const error = isOldForm(fields) ? inOldWords(thrown) : thrown;
      throw inCallersWords(fields.max_completion_tokens === undefined ? error : inNewerWords(error), fields);
    });
    const { run } = conversation;
    const envelope = {
      id: replyId("chatcmpl", fields),
      object: fields.stream ? "chat.completion.chunk" : "chat.completion",
      created: Math.floor(Date.now() / 1000),
      model: service.modelName,
      system_fingerprint: service.fingerprint,
    };
    const prefix = echoed(fields);
    if (fields.stream) return eventStream(service, run, new ChatFrames(envelope, conversation, fields, prefix));
    const nameOf = tokenNames(fields.return_tokens_as_token_ids);
    const rollouts = Rollouts.asked(fields, run);
    const form = callForm(fields);
    const choices = (await conversation.collect()).map((answer, index) => {
      rollouts?.add(answer.choice);
      return {
        index,
        message: chatMessage(answer, prefix, form),
        logprobs: fields.logprobs ? longChatLogprobs(answer.choice.logprobs, nameOf) : null,
        finish_reason: chatFinish(answer.finish_reason, form),
        stop_reason: answer.choice.stop_reason,
        ...changedVersions(answer.choice, run.weightVersion),
        ...(fields.return_token_ids && { token_ids: answer.choice.token_ids }),
        ...(rollouts && { rollout: rollouts.of(index) }),
      };
    });
    const generation = run.generations[0]!;
    return longJson(run.record, {
      ...envelope,
      choices,
      weight_version: run.weightVersion,
      usage: conversation.usage(),
      ...(fields.prompt_logprobs != null && { prompt_logprobs: promptLogprobs(generation.prompt_logprobs ?? []) }),
      ...(fields.return_token_ids && { prompt_token_ids: Array.from(generation.prompt_token_ids) }),
    });
  };
}

/** An error about max_tokens of a request that calls it max_completion_tokens. */
function inNewerWords(error: unknown): unknown {
  if (!(error instanceof FastgenError) || error.param !== "max_tokens") return error;
  const message = error.message.replaceAll("max_tokens", "max_completion_tokens");
  return new FastgenError(error.kind, message, { param: "max_completion_tokens", code: error.code });
}

/** Translates chat's own spellings into the common ones. */
export function chatParams(fields: ChatFields, given: Record<string, unknown>): SamplingParams {
  const { max_tokens, max_completion_tokens, random_seed, logprobs, top_logprobs } = fields;
  const refuse = (param: string, message: string) =>
    new FastgenError("invalid_request", `${param} ${message}`, { param });
  if (top_logprobs !== undefined && top_logprobs > 0 && !logprobs) {
    throw refuse("top_logprobs", "needs logprobs: true");
  }
  const { logprobs: _flag, ...rest } = given;
  const params = samplingParams(rest);
  const limit = max_completion_tokens ?? max_tokens;
  if (limit !== undefined) params.max_tokens = limit === -1 ? null : limit;
  if (random_seed !== undefined) params.seed ??= random_seed;
  if (logprobs) params.logprobs = top_logprobs ?? 0;
  return params;
}

/** With `echo`, what the answer begins with: the last message if that is the assistant's. */
function echoed({ echo, messages }: ChatFields): string {
  const last = messages.at(-1);
  if (!echo || last?.role !== "assistant") return "";
  return contentText(last.content);
}
