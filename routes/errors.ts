/** The one place that turns an error into a reply: HTTP status, and OpenAI's error shape. */
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { asFastgenError, type ErrorKind, type FastgenError } from "../src/errors.ts";

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

/** Not in any standard, but what proxies log for it; nobody is left to read it. */
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

export function errorStatus(error: FastgenError): ContentfulStatusCode {
  return MAPPING[error.kind].status;
}

export function errorBody(error: FastgenError): ErrorBody {
  const { type, code } = MAPPING[error.kind];
  // A bug's message may quote anything; the server's log has it.
  const message = error.kind === "internal" ? "internal error; the server's log has its cause" : error.message;
  return { error: { message, type, param: error.param, code: error.code ?? code } };
}

/** Any thrown value as a reply. */
export function errorReply(thrown: unknown): Response {
  const error = asFastgenError(thrown);
  const { status, retryAfter } = MAPPING[error.kind];
  const headers = retryAfter === undefined ? undefined : { "retry-after": String(retryAfter) };
  return Response.json(errorBody(error), { status, headers });
}

/** A refusal that exists only in HTTP's terms: 401, 404, 405, 413. */
export function httpError(status: number, message: string, code: string, headers?: Record<string, string>): Response {
  const body: ErrorBody = { error: { message, type: "invalid_request_error", param: null, code } };
  return Response.json(body, { status, headers });
}
