/** POST /tokenize and /detokenize, in vLLM's shapes. */
import type { Context } from "hono";
import { FastgenError } from "../../src/errors.ts";
import { MAX_DETOKENIZE_IDS } from "../../src/limits.ts";
import type { Prompt } from "../../src/types.ts";
import { readBody } from "../body/body.ts";
import { tokenIds } from "../body/prompts.ts";
import { detokenizeSchema, tokenizeSchema } from "../body/schemas.ts";
import type { Env } from "../context.ts";
import { chatPrompt } from "../conversation/messages.ts";
import { nestedThinking } from "../conversation/thinking.ts";
import { JsonList, longJson } from "../reply/long-json.ts";
import type { Service } from "../service.ts";

export function tokenize(service: Service) {
  return async (c: Context<Env>): Promise<Response> => {
    const { fastgen } = service;
    const { fields } = await readBody(c, service, tokenizeSchema, nestedThinking);
    const { prompt, messages, add_special_tokens } = fields;
    if ((prompt === undefined) === (messages === undefined)) {
      const message = "prompt and messages exclude each other, and one of them is needed";
      throw new FastgenError("invalid_request", message, { param: "prompt" });
    }
    const input: Prompt = messages ? chatPrompt({ ...fields, messages }, service.options) : prompt!;
    const ids = await fastgen.tokenize(input, { add_special_tokens, signal: c.req.raw.signal });
    const texts = function* () {
      for (const id of ids) yield fastgen.tokenText(id);
    };
    return longJson(c.get("record"), {
      count: ids.length,
      max_model_len: fastgen.model.max_model_len,
      tokens: new JsonList(ids),
      token_strs: fields.return_token_strs ? new JsonList(texts()) : null,
    });
  };
}

export function detokenize(service: Service) {
  return async (c: Context<Env>): Promise<Response> => {
    const { fastgen } = service;
    const { fields } = await readBody(c, service, detokenizeSchema);
    const { skip_special_tokens = false } = fields;
    // The ids of an empty text, as /tokenize gives them.
    const none = Array.isArray(fields.tokens) && fields.tokens.length === 0;
    const ids = none ? [] : tokenIds(fields.tokens, "tokens", MAX_DETOKENIZE_IDS);
    const wrong = ids.findIndex((id) => id >= fastgen.model.vocab_size);
    if (wrong >= 0) {
      const message = `tokens[${wrong}] is ${ids[wrong]}, which is not below the vocabulary's ${fastgen.model.vocab_size}`;
      throw new FastgenError("invalid_request", message, { param: `tokens[${wrong}]` });
    }
    return Response.json({ prompt: fastgen.detokenize(ids, { skip_special_tokens }) });
  };
}
