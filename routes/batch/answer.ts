/** One request of a batch on its way: made, made again where that may help, and its reply read. */
import { setTimeout as sleep } from "node:timers/promises";
import { FastgenError } from "../../src/errors.ts";
import { BATCH_PATIENCE_SECONDS, MAX_BATCH_REPLY_BYTES } from "../../src/limits.ts";
import { connectionReason } from "../../src/system/system-reason.ts";
import type { BatchRequest, BatchUrl } from "./request-line.ts";

/** Sends a request for a batch: to the app of this process, or to a server. May reject where there is no connection. */
export type Send = (url: BatchUrl, init: RequestInit) => Response | Promise<Response>;

export interface Reply {
  status: number;
  requestId: string;
  /** JSON in one line; null where the reply has more bytes than are kept. */
  body: string | null;
}

/** Seconds before a request is made again: at first, and at most. */
const FIRST_WAIT = 0.25;
const LONGEST_WAIT = 30;

/** How often a server may fail at a request (500). It may be the request's fault. */
const MOST_FAILURES = 3;

/** Statuses of a server that refuses whoever asks. */
const REFUSALS = [401, 402, 403];

/** Statuses below 500 that say nothing about the request: it came too slowly, too many are open, it was aborted by others. */
const BUSY = [408, 429, 499];

/**
 * The reply to a request. Where the server is busy, starting or out of reach, the request is made again, for a while.
 * @throws the signal's reason; FastgenError where no request can be answered, so that the batch must stop: "unavailable", or
 *   "invalid_request" where the server refuses whoever asks
 */
export async function answer(request: BatchRequest, id: string, send: Send, signal: AbortSignal): Promise<Reply> {
  const init: RequestInit = { method: "POST", body: request.body, signal };
  const headers = { "content-type": "application/json", "x-request-id": id };
  const deadline = performance.now() + BATCH_PATIENCE_SECONDS * 1000;
  let failures = 0;
  for (let wait = FIRST_WAIT; ; wait = Math.min(2 * wait, LONGEST_WAIT)) {
    let why: string;
    try {
      const response = await send(request.url, { ...init, headers });
      const reply = await readReply(response, id);
      const { status } = reply;
      if (REFUSALS.includes(status) || isSpent(reply)) throw refused(reply);
      if (status === 500 && ++failures === MOST_FAILURES) return reply;
      if (status < 500 && !BUSY.includes(status)) return reply;
      why = `HTTP ${status}: ${errorMessage(reply)}`;
    } catch (error) {
      if (error instanceof FastgenError) throw error;
      why = connectionReason(error);
    }
    signal.throwIfAborted();
    if (performance.now() > deadline) {
      throw new FastgenError("unavailable", `no answer for ${BATCH_PATIENCE_SECONDS} seconds: ${why}`);
    }
    await sleep(wait * 1000, undefined, { signal }).catch(() => signal.throwIfAborted());
  }
}

function refused(reply: Reply): FastgenError {
  const cure = reply.status === 401 ? "; give its key with --api-key" : "";
  return new FastgenError(
    "invalid_request",
    `the server refuses requests: ${errorMessage(reply)} (HTTP ${reply.status})${cure}`,
  );
}

/** OpenAI's word for an account without money, which has the status of a server that is busy. */
function isSpent({ status, body }: Reply): boolean {
  return status === 429 && /"(code|type)": *"insufficient_quota"/.test(body ?? "");
}

function errorMessage({ body }: Reply): string {
  try {
    const { error } = JSON.parse(body ?? "");
    return String(error?.message ?? error).slice(0, 500);
  } catch {
    return "no reason is given";
  }
}

async function readReply(response: Response, id: string): Promise<Reply> {
  const reply = { status: response.status, requestId: response.headers.get("x-request-id") ?? id };
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  const reader = response.body?.getReader();
  for (let next = await reader?.read(); next && !next.done; next = await reader!.read()) {
    bytes += next.value.byteLength;
    if (bytes > MAX_BATCH_REPLY_BYTES) {
      await reader!.cancel();
      return { ...reply, body: null };
    }
    pieces.push(next.value);
  }
  return { ...reply, body: inOneLine(Buffer.concat(pieces).toString()) };
}

/** JSON of a reply's text, which may have line ends, or be no JSON at all where a proxy has written it. */
function inOneLine(text: string): string {
  if (/^\{[^\n\r]*\}$/.test(text)) return text;
  try {
    return JSON.stringify(JSON.parse(text));
  } catch {
    return JSON.stringify({ error: { message: text, type: "server_error", param: null, code: null } });
  }
}
