/** Errors in Anthropic's shape, on the paths of its API. */
import type { FastgenError } from "../../src/errors.ts";
import { errorBody, errorHeaders, errorStatus } from "../errors.ts";

const PATHS = /^(\/v1)?\/messages(\/|$)/;

/** Whether the clients of a path read Anthropic's errors. */
export function isAnthropic(path: string): boolean {
  return PATHS.test(path);
}

const TYPES: Record<number, string> = {
  400: "invalid_request_error",
  401: "authentication_error",
  403: "permission_error",
  404: "not_found_error",
  405: "invalid_request_error",
  408: "invalid_request_error",
  413: "request_too_large",
  415: "invalid_request_error",
  429: "rate_limit_error",
  503: "overloaded_error",
};

export function anthropicErrorBody(error: FastgenError, requestId: string) {
  const type = TYPES[errorStatus(error)] ?? "api_error";
  return { type: "error", error: { type, message: errorBody(error).error.message }, request_id: requestId };
}

export function anthropicErrorReply(error: FastgenError, requestId: string): Response {
  const body = anthropicErrorBody(error, requestId);
  return Response.json(body, { status: errorStatus(error), headers: errorHeaders(error) });
}
