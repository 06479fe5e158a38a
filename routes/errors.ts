/** The one place that turns an error into a reply: HTTP status, and OpenAI's error shape. */
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { type ErrorKind, FastgenError } from "../src/errors.ts";

export interface ErrorBody {
  error: { message: string; type: string; param: string | null; code: string | null };
}

interface Mapping {
  status: ContentfulStatusCode;
  type: string;
  code: string | null;
  /** Seconds after which the same request may succeed. */
  retryAfter?: number;
}

/** Not in any standard, but what proxies log for it. Nobody is left to read it. */
const CLIENT_CLOSED_REQUEST = 499 as ContentfulStatusCode;

const MAPPING: Record<ErrorKind, Mapping> = {
  invalid_request: { status: 400, type: "invalid_request_error", code: null },
  model: { status: 500, type: "server_error", code: "model_error" },
  overloaded: { status: 429, type: "rate_limit_error", code: "rate_limit_exceeded", retryAfter: 5 },
  unavailable: { status: 503, type: "server_error", code: "unavailable", retryAfter: 2 },
  out_of_memory: { status: 503, type: "server_error", code: "out_of_memory", retryAfter: 5 },
  aborted: { status: CLIENT_CLOSED_REQUEST, type: "server_error", code: "aborted" },
  device: { status: 500, type: "server_error", code: "device_error" },
  internal: { status: 500, type: "server_error", code: "internal_error" },
};

/** A refusal that exists only in HTTP's terms: 401, 404, 405, 408, 413, 415. `code` is a word for the error's `code` field. */
export class HttpError extends FastgenError {
  readonly status: number;
  readonly headers: Record<string, string>;

  constructor(status: number, message: string, code: string, headers: Record<string, string> = {}) {
    super("invalid_request", message, { code });
    this.status = status;
    this.headers = headers;
  }
}

export function errorStatus(error: FastgenError): number {
  return error instanceof HttpError ? error.status : MAPPING[error.kind].status;
}

export function errorBody(error: FastgenError): ErrorBody {
  const { type, code } = MAPPING[error.kind];
  // A bug's message may quote anything; the server's log has it.
  const message = error.kind === "internal" ? "internal error; the server's log has its cause" : error.message;
  return { error: { message, type, param: error.param, code: error.code ?? code } };
}

export function errorHeaders(error: FastgenError): Headers {
  const headers = new Headers(error instanceof HttpError ? error.headers : undefined);
  const { retryAfter } = MAPPING[error.kind];
  if (retryAfter !== undefined) headers.set("retry-after", String(retryAfter));
  return headers;
}

export function errorReply(error: FastgenError): Response {
  return Response.json(errorBody(error), { status: errorStatus(error), headers: errorHeaders(error) });
}
