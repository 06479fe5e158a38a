/** POST /chat/completions: OpenAI's chat API, with vLLM's sampling fields. */
import type { Context } from "hono";
import type { z } from "zod";
import { FastgenError } from "../src/errors.ts";
import type { SamplingParams } from "../src/params.ts";
import type { Chunk } from "../src/types.ts";
import { readBody } from "./body.ts";
import type { Env } from "./context.ts";
import { checkTogether, generateOptions, replyId, samplingParams, streamUsage } from "./fields.ts";
import { chatLogprobs, longChatLogprobs, promptLogprobs, type TokenNames, tokenNames } from "./logprobs.ts";
import { longJson } from "./long-json.ts";
import { chatPrompt } from "./messages.ts";
import { Run } from "./run.ts";
import { chatSchema } from "./schemas.ts";
import type { Service } from "./service.ts";
import { eventStream, FrameEnds, type Frames } from "./sse.ts";
import { inCallersWords, structuredOutputs } from "./structured.ts";

type Fields = z.output<typeof chatSchema>;

export function chat(service: Service) {
  return async (c: Context<Env>): Promise<Response> => {
    const { fields, given } = await readBody(c, service, chatSchema);
    checkTogether(fields, fields.logprobs ?? false);
    if (fields.request_id !== undefined) c.get("record").nameBy(fields.request_id);
    const params = chatParams(fields, given);
    const prompt = chatPrompt(fields, service.options.trustRequestChatTemplate);
    const run = await Run.start(c, service, [prompt], params, generateOptions(fields)).catch((error) => {
      throw inCallersWords(fields.max_completion_tokens === undefined ? error : inNewerWords(error), fields);
    });
    const envelope = {
      id: replyId("chatcmpl", fields),
      object: fields.stream ? "chat.completion.chunk" : "chat.completion",
      created: Math.floor(Date.now() / 1000),
      model: service.modelName,
      system_fingerprint: service.fingerprint,
    };
    const prefix = echoed(fields);
    if (fields.stream) return eventStream(service, run, new ChatFrames(envelope, run, fields, prefix));
    const nameOf = tokenNames(fields.return_tokens_as_token_ids);
    const choices = (await run.collect()).map((choice, index) => ({
      index,
      message: { role: "assistant", content: prefix + choice.text, refusal: null },
      logprobs: longChatLogprobs(choice.logprobs, nameOf),
      finish_reason: choice.finish_reason,
      stop_reason: choice.stop_reason,
      ...(fields.return_token_ids && { token_ids: choice.token_ids }),
    }));
    const generation = run.generations[0]!;
    return longJson(run.record, {
      ...envelope,
      choices,
      usage: run.usage(),
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
export function chatParams(fields: Fields, given: Record<string, unknown>): SamplingParams {
  const { max_tokens, max_completion_tokens, logprobs, top_logprobs } = fields;
  const refuse = (param: string, message: string) =>
    new FastgenError("invalid_request", `${param} ${message}`, { param });
  if (top_logprobs !== undefined && top_logprobs > 0 && !logprobs) {
    throw refuse("top_logprobs", "needs logprobs: true");
  }
  const { logprobs: _flag, ...rest } = given;
  const params = samplingParams(rest);
  const structured = structuredOutputs(fields);
  if (structured) params.structured_outputs = structured;
  const limit = max_completion_tokens ?? max_tokens;
  if (limit !== undefined) params.max_tokens = limit === -1 ? null : limit;
  if (logprobs) params.logprobs = top_logprobs ?? 0;
  return params;
}

/** With `echo`, what the answer begins with: the last message if that is the assistant's. */
function echoed({ echo, messages }: Fields): string {
  const last = messages.at(-1);
  if (!echo || last?.role !== "assistant") return "";
  const { content } = last;
  return typeof content === "string" ? content : (content ?? []).map(({ text }) => text).join("\n");
}

class ChatFrames implements Frames {
  /** Of the request only this is kept: its text may be large, and a stream may last long. */
  readonly #returnIds: boolean;
  readonly #nameOf: TokenNames;
  readonly #run: Run;
  readonly #prefix: string;
  /** `{"id":…,"system_fingerprint":…` */
  readonly #envelope: string;
  /** By choice: the start of its frames, up to the delta. Set once the role has been sent. */
  readonly #heads: string[] = [];
  readonly #ends: FrameEnds;
  /** The first frame of all has yet to be written. */
  #isFirst = true;

  constructor(envelope: object, run: Run, fields: Fields, prefix: string) {
    this.#run = run;
    this.#returnIds = fields.return_token_ids ?? false;
    this.#nameOf = tokenNames(fields.return_tokens_as_token_ids);
    this.#prefix = prefix;
    this.#envelope = JSON.stringify(envelope).slice(0, -1);
    this.#ends = new FrameEnds(run, streamUsage(fields));
  }

  chunk(chunk: Chunk): string {
    const { index, text, finish_reason, logprobs } = chunk;
    let out = "";
    let head = this.#heads[index];
    if (head === undefined) {
      head = `data: ${this.#envelope},"choices":[{"index":${index},"delta":`;
      this.#heads[index] = head;
      out = this.#opening(head, index);
    }
    this.#ends.count(index, chunk.token_ids.length);
    const ids = this.#returnIds ? chunk.token_ids : null;
    if (text === "" && finish_reason === null && !logprobs && !ids) return out;
    const delta = text === "" ? "{}" : `{"content":${JSON.stringify(text)}}`;
    const probabilities = logprobs ? JSON.stringify(chatLogprobs(logprobs, this.#nameOf)) : "null";
    out += `${head}${delta},"logprobs":${probabilities},"finish_reason":`;
    out += finish_reason === null ? "null" : `"${finish_reason}","stop_reason":${JSON.stringify(chunk.stop_reason)}`;
    if (ids) out += `,"token_ids":${JSON.stringify(ids)}`;
    return out + this.#ends.after(index);
  }

  /** A choice's first frame: its role, and the echo. The prompt's ids stand beside the choices, once in a stream. */
  #opening(head: string, index: number): string {
    const delta = { role: "assistant", content: this.#prefix, refusal: null };
    const { prompt_token_ids } = this.#run.generations[0]!;
    const withIds = this.#returnIds && this.#isFirst;
    this.#isFirst = false;
    const ids = withIds ? `,"prompt_token_ids":${JSON.stringify(Array.from(prompt_token_ids))}` : "";
    return `${head}${JSON.stringify(delta)},"logprobs":null,"finish_reason":null${this.#ends.after(index, ids)}`;
  }

  end(): string {
    return this.#ends.last(this.#envelope);
  }
}
