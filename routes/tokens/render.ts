/**
 * POST /chat/completions/render and /completions/render: what a request becomes before anything is generated, in the shape
 * of vLLM's disaggregated serving. The bodies are those of the routes without /render.
 */
import type { Context } from "hono";
import { type SamplingParams, samplingSchema } from "../../src/params.ts";
import type { GenerateOptions, Prompt } from "../../src/types.ts";
import { readBody } from "../body/body.ts";
import { checkTogether, generateOptions, replyId } from "../body/fields.ts";
import { promptList } from "../body/prompts.ts";
import { completionSchema } from "../body/schemas.ts";
import type { Env } from "../context.ts";
import { chatPrompt } from "../conversation/messages.ts";
import { chatParams, readChat } from "../openai/chat.ts";
import { completionParams, DEFAULT_MAX_TOKENS } from "../openai/completions.ts";
import { JsonList, longJson } from "../reply/long-json.ts";
import type { Service } from "../service.ts";

interface Rendering {
  prompt: Prompt;
  params: SamplingParams;
  options: GenerateOptions;
  id: string;
  model: string | undefined;
  stream_options: object | undefined;
}

export function renderChat(service: Service) {
  return async (c: Context<Env>): Promise<Response> => {
    const { fields, given } = await readChat(c, service);
    checkTogether(fields, fields.logprobs ?? false);
    const prompt = chatPrompt(fields, service.options);
    const { model, stream_options } = fields;
    const params = chatParams(fields, given);
    const options = generateOptions(fields);
    const rendering = { prompt, params, options, id: replyId("chatcmpl", fields), model, stream_options };
    return longJson(c.get("record"), await render(service, rendering));
  };
}

export function renderCompletions(service: Service) {
  return async (c: Context<Env>): Promise<Response> => {
    const { fields, given } = await readBody(c, service, completionSchema);
    checkTogether(fields, fields.logprobs !== null);
    const { model, stream_options } = fields;
    const params = completionParams(fields, given);
    const options = { ...generateOptions(fields), default_max_tokens: DEFAULT_MAX_TOKENS };
    const rendered: object[] = [];
    // One after another: a request may bring thousands.
    for (const prompt of promptList(fields.prompt)) {
      const id = replyId("cmpl", fields);
      rendered.push(await render(service, { prompt, params, options, id, model, stream_options }));
    }
    return longJson(c.get("record"), rendered);
  };
}

async function render(service: Service, { prompt, params, options, id, ...request }: Rendering): Promise<object> {
  const { fastgen } = service;
  const ids = await fastgen.tokenize(prompt, options);
  const { default_max_tokens, stream, cache_salt, priority } = options;
  const resolved = samplingSchema.parse({ max_tokens: default_max_tokens, ...fastgen.default_params, ...params });
  const room = fastgen.model.max_model_len - ids.length;
  return {
    request_id: id,
    /** Not vLLM's: the same as text. */
    prompt: fastgen.detokenize(ids, { skip_special_tokens: false }),
    token_ids: new JsonList(ids),
    features: null,
    sampling_params: { ...resolved, max_tokens: Math.min(resolved.max_tokens ?? room, room) },
    model: request.model ?? service.modelName,
    stream: stream ?? false,
    stream_options: request.stream_options ?? null,
    cache_salt: cache_salt ?? null,
    priority: priority ?? 0,
    kv_transfer_params: null,
  };
}
