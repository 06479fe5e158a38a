/** What happens to every request before its route: its record, its id, its host, its key. */
import { createHash, timingSafeEqual } from "node:crypto";
import type { MiddlewareHandler } from "hono";
import { type Env, RequestRecord } from "../context.ts";
import { HttpError } from "../errors.ts";
import type { Service } from "../service.ts";
import { isLoopback } from "./origins.ts";

/** Bytes of a header that lists fields. */
const MAX_LIST_LENGTH = 1024;

/** Names of fields for a header: what is not plain is percent-encoded. */
function fieldList(names: readonly string[]): string {
  const encoded = names.map((name) => encodeURIComponent(name.slice(0, MAX_LIST_LENGTH).toWellFormed()));
  return encoded.join(", ").slice(0, MAX_LIST_LENGTH);
}

/** Opens the record, echoes x-request-id, and logs the request once its reply is complete. */
export function record(service: Service): MiddlewareHandler<Env> {
  return async (c, next) => {
    const record = new RequestRecord(c, service);
    c.set("record", record);
    await next();
    const { headers } = c.res;
    headers.set("x-request-id", record.id);
    if (record.ignoredFields.length > 0) headers.set("x-ignored-fields", fieldList(record.ignoredFields));
    if (service.draining) headers.set("connection", "close");
    // The body of a reply to HEAD is dropped after this; its length is what GET's would be.
    if (c.req.method === "HEAD") headers.set("content-length", String((await c.res.clone().arrayBuffer()).byteLength));
    if (!record.streaming) record.end(c.res.status);
  };
}

/** Several Host headers, which a proxy in front may have read otherwise, or one that names no host: RFC 9112, 3.2. */
export const host: MiddlewareHandler<Env> = (c, next) => {
  const name = c.req.header("host") ?? "";
  // Headers of one name arrive joined by a comma.
  if (/^[^\s,/?#@]*$/.test(name)) return next();
  throw new HttpError(400, "the Host header must be one host name", "bad_host", { connection: "close" });
};

/** Refuses requests beyond what the server can have open at once. */
export function concurrency(service: Service): MiddlewareHandler<Env> {
  return (c, next) => {
    service.requireRoom(c.env?.crowded === true);
    return next();
  };
}

const digest = (text: string) => createHash("sha256").update(text).digest();

/**
 * `Authorization: Bearer KEY`, or Anthropic's `x-api-key: KEY`, compared in a time that does not depend on how much of the key
 * is right. Where both are sent either may be right. `flag` is the one that sets the key, for errors.
 */
export function apiKey(keys: readonly string[], flag = "--api-key"): MiddlewareHandler<Env> {
  const wanted = keys.map(digest);
  const isRight = (key: string) => wanted.map((one) => timingSafeEqual(digest(key), one)).includes(true);
  return async (c, next) => {
    const bearer = /^Bearer\s+(.+)$/i.exec(c.req.header("authorization") ?? "")?.[1];
    const given = [bearer, c.req.header("x-api-key")].filter((key) => key !== undefined);
    if (given.some(isRight)) return next();
    const message =
      given.length === 0
        ? `no API key: send the header 'Authorization: Bearer KEY' with the server's ${flag}`
        : `the API key is wrong: send the server's ${flag}`;
    throw new HttpError(401, message, "invalid_api_key", { "www-authenticate": "Bearer" });
  };
}

/**
 * Guards what changes the server for everybody: by the admin key, else by the API key. Without any key it is open to this
 * machine alone.
 */
export function adminOnly({ apiKey: key, adminApiKey }: AdminKeys): MiddlewareHandler<Env> {
  if (adminApiKey !== null) return apiKey([adminApiKey], "--admin-api-key");
  if (key !== null) return apiKey([key]);
  return (c, next) => {
    // A page elsewhere may open a URL in a tab, which is a GET.
    const isTab = c.req.header("sec-fetch-mode") === "navigate";
    if (isLoopback(c.env?.peer ?? "") && !isTab) return next();
    const message = `${c.req.path} answers only to programs on this machine: start the server with --admin-api-key or --api-key, and send that key`;
    throw new HttpError(403, message, "admin_key_needed");
  };
}

export interface AdminKeys {
  apiKey: string | null;
  /** Null = the API key serves. */
  adminApiKey: string | null;
}
