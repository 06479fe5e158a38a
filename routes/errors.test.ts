/** Errors as clients read them: OpenAI's shape, whatever raises them. */
import { expect, test } from "bun:test";
import { type ErrorKind, FastgenError } from "../src/errors.ts";
import { errorReply, HttpError } from "./errors.ts";
import { FakeFastgen, json, startServer } from "./testing.ts";

async function refusal(reply: Response) {
  expect(reply.headers.get("content-type")).toStartWith("application/json");
  const body = await json(reply);
  expect(Object.keys(body)).toEqual(["error"]);
  expect(body.error).toEqual({
    message: expect.any(String),
    type: expect.any(String),
    param: body.error.param === null ? null : expect.any(String),
    code: body.error.code === null ? null : expect.any(String),
  });
  return body.error;
}

test("every refusal has OpenAI's shape, whatever its status", async () => {
  const kinds = [
    "invalid_request",
    "overloaded",
    "aborted",
    "model",
    "device",
    "internal",
    "unavailable",
    "out_of_memory",
  ];
  const errors = [
    ...kinds.map((kind) => new FastgenError(kind as ErrorKind, "why")),
    ...[401, 403, 404, 405, 408, 413, 415, 422].map((status) => new HttpError(status, "why", "a_code")),
  ];
  const statuses = errors.map((error) => errorReply(error).status);
  expect(new Set(statuses)).toEqual(new Set([400, 401, 403, 404, 405, 408, 413, 415, 422, 429, 499, 500, 503]));
  for (const error of errors) {
    const reply = errorReply(error);
    const { type, code } = await refusal(reply);
    expect(type).toBe(
      reply.status === 429 ? "rate_limit_error" : reply.status < 499 ? "invalid_request_error" : "server_error",
    );
    if (error instanceof HttpError) expect(code).toBe("a_code");
  }
});

test("an error outside the routes has that shape too, and is logged", async () => {
  const broken = await startServer(new FakeFastgen());
  broken.service.requestStarted = () => {
    throw new Error("a bug before any route");
  };
  const reply = await fetch(`${broken.url}/v1/models`);
  expect(reply.status).toBe(500);
  expect(await refusal(reply)).toMatchObject({ type: "server_error", code: "internal_error" });
  expect(broken.errors).toHaveLength(1);
  broken.stop();
});
