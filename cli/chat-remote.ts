/** fgchat --url: answers from a running server that speaks OpenAI's chat API. */
import { z } from "zod";
import { type ErrorKind, FastgenError } from "../src/errors.ts";
import type { SamplingParams } from "../src/params.ts";
import type { ChatMessage } from "../src/types.ts";
import type { Answer, ChatBackend } from "./chat-backend.ts";
import { baseUrl, connectionFault, redirection } from "./server-address.ts";

const modelsSchema = z.looseObject({
  data: z.array(z.looseObject({ id: z.string(), max_model_len: z.int().nullish() })).min(1),
});

const chunkSchema = z.looseObject({
  choices: z
    .array(
      z.looseObject({
        delta: z.looseObject({ content: z.string().nullish() }).nullish(),
        finish_reason: z.string().nullish(),
      }),
    )
    .default([]),
  usage: z.looseObject({ completion_tokens: z.int() }).nullish(),
  error: z.unknown().optional(),
});

const errorSchema = z.looseObject({ error: z.union([z.string(), z.looseObject({ message: z.string() })]) });

export interface RemoteOptions {
  /** "http://localhost:5678", with or without /v1. */
  url: string;
  apiKey: string | null;
  /** Null = the first one that the server names. */
  model: string | null;
  params: SamplingParams;
}

export class RemoteBackend implements ChatBackend {
  /** The server is someone else's: it may be back for the next question. */
  readonly alive = true;
  readonly #base: string;
  readonly #headers: Record<string, string>;
  readonly #params: SamplingParams;
  readonly #model: string;
  readonly maxContext: number | null;

  private constructor(
    base: string,
    headers: Record<string, string>,
    params: SamplingParams,
    model: string,
    context: number | null,
  ) {
    this.#base = base;
    this.#headers = headers;
    this.#params = params;
    this.#model = model;
    this.maxContext = context;
  }

  /** Asks the server which models it has. Rejects with FastgenError where there is no such server. */
  static async connect(options: RemoteOptions): Promise<RemoteBackend> {
    const base = baseUrl(options.url);
    const headers: Record<string, string> = { "content-type": "application/json" };
    if (options.apiKey) headers.authorization = `Bearer ${options.apiKey}`;
    const reply = await request(base, "/models", { headers });
    const parsed = modelsSchema.safeParse(await reply.json().catch(() => null));
    if (!parsed.success) throw new FastgenError("unavailable", `${base}/models does not answer as OpenAI's API does`);
    const models = parsed.data.data;
    const model = models.find(({ id }) => id === options.model) ?? models[0]!;
    return new RemoteBackend(base, headers, options.params, options.model ?? model.id, model.max_model_len ?? null);
  }

  async answer(messages: ChatMessage[], signal: AbortSignal, onText: (text: string) => void): Promise<Answer> {
    const answer: Answer = { tokens: 0, finish: "abort" };
    const { structured_outputs: structured, ...params } = this.#params;
    const format = { type: "json_schema", json_schema: { name: "answer", strict: true, schema: structured?.json } };
    const body = {
      model: this.#model,
      messages,
      stream: true,
      stream_options: { include_usage: true },
      ...params,
      // OpenAI's words, which every server knows.
      ...(structured && { response_format: format }),
    };
    try {
      const reply = await request(this.#base, "/chat/completions", {
        method: "POST",
        headers: this.#headers,
        body: JSON.stringify(body),
        signal,
      });
      for await (const data of serverSentEvents(reply)) {
        if (data === "[DONE]") break;
        const chunk = parseChunk(data);
        for (const choice of chunk.choices) {
          const text = choice.delta?.content ?? "";
          if (text !== "") answer.tokens++;
          onText(text);
          if (choice.finish_reason) answer.finish = choice.finish_reason === "length" ? "length" : "stop";
        }
        // Until the server has counted, a piece counts as a token.
        if (chunk.usage) answer.tokens = chunk.usage.completion_tokens;
      }
    } catch (error) {
      if (!signal.aborted) throw error;
      return { ...answer, finish: "abort" };
    }
    if (answer.finish === "abort")
      throw new FastgenError("unavailable", "the server broke off in the middle of its answer");
    return answer;
  }

  async close(): Promise<void> {}
}

async function request(base: string, path: string, init: RequestInit): Promise<Response> {
  const url = base + path;
  let reply: Response;
  try {
    // A POST that is redirected may become a GET.
    reply = await fetch(url, { ...init, redirect: "manual" });
  } catch (cause) {
    const { message } = await connectionFault(cause, base);
    throw new FastgenError("unavailable", message, { cause });
  }
  if (reply.ok) return reply;
  const { status, statusText } = reply;
  const moved = redirection(reply, url);
  if (moved !== null) throw new FastgenError("unavailable", `${moved} (HTTP ${status})`);
  const said = errorMessage(await reply.text());
  const why = said ?? (status === 404 ? `${url} does not exist; check the address in --url` : statusText);
  // 400 is about this question; a wrong key or address is about all of them.
  const kind: ErrorKind = status === 429 ? "overloaded" : status === 400 ? "invalid_request" : "unavailable";
  const cure = status === 401 ? "; give the server's key with --api-key" : "";
  throw new FastgenError(kind, `${why} (HTTP ${status})${cure}`);
}

function errorMessage(json: string): string | null {
  try {
    const { error } = errorSchema.parse(JSON.parse(json));
    return typeof error === "string" ? error : error.message;
  } catch {
    return null;
  }
}

function parseChunk(data: string): z.output<typeof chunkSchema> {
  let chunk: z.output<typeof chunkSchema>;
  try {
    chunk = chunkSchema.parse(JSON.parse(data));
  } catch (cause) {
    throw new FastgenError("unavailable", `the server sent an event that is not a chat chunk: ${data.slice(0, 200)}`, {
      cause,
    });
  }
  if (chunk.error !== undefined)
    throw new FastgenError("unavailable", errorMessage(data) ?? "the server reported an error");
  return chunk;
}

/** The data of each event of a text/event-stream reply. */
async function* serverSentEvents(reply: Response): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let buffer = "";
  let data: string[] = [];
  for await (const bytes of reply.body ?? []) {
    buffer += decoder.decode(bytes, { stream: true });
    const lines = buffer.split(/\r\n|\n|\r(?!$)/);
    buffer = lines.pop()!;
    for (const line of lines) {
      if (line === "") {
        if (data.length > 0) yield data.join("\n");
        data = [];
      } else if (line.startsWith("data:")) data.push(line.slice(line[5] === " " ? 6 : 5));
    }
  }
}
