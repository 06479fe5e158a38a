/** Requests to a server, and its errors in words for the reader. */
import type { Server } from "./servers.ts";
import { nameOf } from "./servers.ts";
import { eventData } from "./sse.ts";

/** A server's refusal, or that it did not answer. */
export class ServerError extends Error {
  /** HTTP's; 0 = no answer came. */
  readonly status: number;
  /** The server that it is about. */
  readonly address: string;

  constructor(message: string, status: number, address: string) {
    super(message);
    this.status = status;
    this.address = address;
  }
}

/** Where the server that the page came from has its paths: a proxy may have put it below one of its own. */
function ownPath(): string {
  return location.pathname.replace(/\/+$/, "");
}

/** @throws ServerError */
async function ask({ address, key }: Server, path: string, options: RequestInit = {}): Promise<Response> {
  const headers = new Headers(options.headers);
  if (key !== "") headers.set("authorization", `Bearer ${key}`);
  let reply: Response;
  try {
    reply = await fetch(`${address || ownPath()}${path}`, { ...options, headers });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ServerError(unreachable(address), 0, address);
  }
  if (reply.ok) return reply;
  const body = await reply.json().catch(() => null);
  const message = body?.error?.message ?? `The server answered with status ${reply.status}.`;
  throw new ServerError(String(message), reply.status, address);
}

function unreachable(address: string): string {
  const cure = ` Is it running? It must also let this page in: --allowed-origins ${location.origin}, or --api-key.`;
  return `${nameOf(address)} does not answer.${address === "" ? "" : cure}`;
}

export interface Model {
  server: Server;
  id: string;
  /** Tokens in a sequence; null = the server does not say. */
  context: number | null;
}

/** A model's name without its owner or folder. */
export const shortName = (id: string): string => id.split("/").findLast((part) => part !== "") ?? id;

/** @throws ServerError */
export async function listModels(server: Server): Promise<Model[]> {
  const { data } = await (await ask(server, "/v1/models", { signal: AbortSignal.timeout(10_000) })).json();
  const list: { id?: unknown; max_model_len?: unknown }[] = Array.isArray(data) ? data : [];
  return list.map(({ id, max_model_len }) => {
    return { server, id: String(id), context: typeof max_model_len === "number" ? max_model_len : null };
  });
}

/** Prometheus' text. @throws ServerError */
export async function readMetrics(server: Server): Promise<string> {
  return (await ask(server, "/metrics", { signal: AbortSignal.timeout(10_000) })).text();
}

/** What is read of a frame of a streamed answer. */
export interface Frame {
  choices?: {
    delta?: {
      content?: string | null;
      reasoning_content?: string | null;
      reasoning?: string | null;
      tool_calls?: { index: number; id?: string; function?: { name?: string; arguments?: string } }[];
    };
    finish_reason?: string | null;
  }[];
  usage?: { prompt_tokens?: number; completion_tokens?: number } | null;
  error?: { message?: string };
}

/** The frames of an answer as they come. @throws ServerError, also where the stream breaks off */
export async function* streamChat(server: Server, body: object, signal: AbortSignal): AsyncGenerator<Frame> {
  const reply = await ask(server, "/v1/chat/completions", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
  try {
    for await (const data of eventData(reply.body!)) {
      if (data === "[DONE]") return;
      const frame: Frame = JSON.parse(data);
      if (frame.error) throw new ServerError(String(frame.error.message), 500, server.address);
      yield frame;
    }
  } catch (error) {
    if (error instanceof ServerError || signal.aborted) throw error;
  }
  throw new ServerError(`${nameOf(server.address)} broke the answer off.`, 0, server.address);
}
