/** What happens to every request before its route: its record, its id, its key. */
import { createHash, timingSafeEqual } from "node:crypto";
import type { MiddlewareHandler } from "hono";
import { type Env, RequestRecord } from "./context.ts";
import { httpError } from "./errors.ts";
import type { Service } from "./service.ts";

/** Opens the record, echoes x-request-id, and logs the request once its reply is complete. */
export function record(service: Service): MiddlewareHandler<Env> {
  return async (c, next) => {
    const record = new RequestRecord(c, service);
    c.set("record", record);
    await next();
    c.res.headers.set("x-request-id", record.id);
    if (service.draining) c.res.headers.set("connection", "close");
    if (!record.streaming) record.end(c.res.status);
  };
}

const digest = (text: string) => createHash("sha256").update(text).digest();

/** `Authorization: Bearer KEY`, compared in a time that does not depend on how much of the key is right. */
export function apiKey(key: string): MiddlewareHandler<Env> {
  const wanted = digest(key);
  return async (c, next) => {
    const given = /^Bearer\s+(.+)$/i.exec(c.req.header("authorization") ?? "")?.[1];
    if (given !== undefined && timingSafeEqual(digest(given), wanted)) return next();
    const message =
      given === undefined
        ? "no API key: send the header 'Authorization: Bearer KEY' with the server's --api-key"
        : "the API key is wrong: send the server's --api-key";
    return httpError(401, message, "invalid_api_key", { "www-authenticate": "Bearer" });
  };
}
