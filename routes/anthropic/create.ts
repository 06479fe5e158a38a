/** POST /messages and /messages/count_tokens: Anthropic's Messages API, on the same conversations as chat. */
import type { Context } from "hono";
import type { WeightSpan } from "../../src/types.ts";
import { noteIgnored, readBody } from "../body/body.ts";
import type { Env } from "../context.ts";
import { Blocks } from "../conversation/blocks.ts";
import { Conversation } from "../conversation/conversation.ts";
import { longJson } from "../reply/long-json.ts";
import { Rollouts } from "../reply/rollout.ts";
import { eventStream } from "../reply/sse.ts";
import { versionFields } from "../reply/weight-versions.ts";
import type { Service } from "../service.ts";
import { MessageFrames } from "./events.ts";
import { contentBlock, freshMessageId, message, messageUsage, NOT_STOPPED, stopOf } from "./reply.ts";
import { conversationRequest, customTools, inOwnWords, messagesPrompt } from "./request.ts";
import { countSchema, type MessageFields, messageSchema, nestedFields } from "./schema.ts";

export function createMessage(service: Service) {
  return async (c: Context<Env>): Promise<Response> => {
    const { fields, given } = await readBody(c, service, messageSchema, nestedFields);
    const request = conversationRequest(fields, given, toolsOf(c, service, fields), service.options);
    const conversation = await Conversation.start(c, service, request).catch((error) => {
      throw inOwnWords(error, fields);
    });
    const { run } = conversation;
    if (fields.stream) return eventStream(service, run, new MessageFrames(service, conversation, fields));
    const rollouts = Rollouts.asked(fields, run);
    const blocks = new Blocks();
    let stop = NOT_STOPPED;
    let versions: readonly WeightSpan[] = [];
    try {
      for await (const piece of conversation.parts()) {
        if (piece.finish_reason !== null) stop = stopOf(piece.finish_reason, piece.chunk);
        versions = piece.chunk.weight_versions;
        rollouts?.add(piece.chunk);
        blocks.push(piece);
      }
    } catch (error) {
      run.end(error);
      throw error;
    }
    run.end();
    const content = blocks.list.map(contentBlock);
    const rest = {
      content,
      ...stop,
      stop_details: null,
      usage: messageUsage(conversation),
      ...versionFields(versions),
      ...(rollouts && { rollout: rollouts.of(0) }),
    };
    return longJson(run.record, message(service, freshMessageId(), rest));
  };
}

export function countTokens(service: Service) {
  return async (c: Context<Env>): Promise<Response> => {
    const { fields } = await readBody(c, service, countSchema, nestedFields);
    const ids = await service.fastgen.tokenize(messagesPrompt(fields, toolsOf(c, service, fields), service.options));
    return Response.json({ input_tokens: ids.length });
  };
}

function toolsOf(c: Context<Env>, service: Service, fields: MessageFields) {
  const { custom, ignored } = customTools(fields, service.options.allowExtraFields);
  noteIgnored(c, service, ignored);
  return custom;
}
