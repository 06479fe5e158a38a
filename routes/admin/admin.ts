/**
 * What the program that trains the model asks of its server, in vLLM's words (sglang.ts has SGLang's): pausing, other weights, an empty cache, the end of requests. All of it is behind adminOnly (middleware.ts).
 */
import type { Context } from "hono";
import { z } from "zod";
import { boundedArray } from "../../src/bounded-json.ts";
import { FastgenError } from "../../src/errors.ts";
import * as limits from "../../src/limits.ts";
import type { Env } from "../context.ts";
import type { Service } from "../service.ts";
import { adminFields } from "./admin-fields.ts";

const flag = z.boolean().optional();

const pauseSchema = z.strictObject({
  mode: z.enum(["abort", "wait", "keep"]).optional(),
  clear_cache: flag,
  /** vLLM's older name of mode "wait". */
  wait_for_inflight_requests: flag,
});

export function pause(service: Service) {
  return async (c: Context<Env>): Promise<Response> => {
    const { mode, clear_cache, wait_for_inflight_requests } = await adminFields(c, service, pauseSchema);
    await service.fastgen.pause({ mode: mode ?? (wait_for_inflight_requests ? "wait" : "abort"), clear_cache });
    return Response.json({ status: "paused" });
  };
}

export function resume(service: Service) {
  return async (c: Context<Env>): Promise<Response> => {
    await adminFields(c, service, z.strictObject({}));
    await service.fastgen.resume();
    return Response.json({ status: "resumed" });
  };
}

export function isPaused(service: Service) {
  return (): Response => Response.json({ is_paused: service.fastgen.is_paused });
}

const level = z.union([z.literal(1), z.literal(2), z.literal("1"), z.literal("2")], "must be 1 or 2");
export const memoryTags = boundedArray(z.enum(["weights", "kv_cache"]), 2, 1);

/** @param what both do together */
export function requireBoth(tags: readonly string[] | null | undefined, what: string): void {
  if (!tags || new Set(tags).size === 2) return;
  const message = `tags must be weights and kv_cache, or left out: both ${what} together`;
  throw new FastgenError("invalid_request", message, { param: "tags" });
}

const sleepSchema = z.strictObject({
  level: level.optional(),
  mode: pauseSchema.shape.mode,
  tags: memoryTags.optional(),
});

export function sleep(service: Service) {
  return async (c: Context<Env>): Promise<Response> => {
    const { level = 1, mode, tags } = await adminFields(c, service, sleepSchema, ["tags"]);
    requireBoth(tags, "go to sleep");
    await service.fastgen.sleep({ level: Number(level) as 1 | 2, mode });
    return Response.json({ status: "sleeping" });
  };
}

const wakeSchema = z.strictObject({ tags: memoryTags.optional() });

export function wakeUp(service: Service) {
  return async (c: Context<Env>): Promise<Response> => {
    await service.fastgen.wakeUp(await adminFields(c, service, wakeSchema, ["tags"]));
    const { is_sleeping, weights_problem } = service.fastgen;
    return Response.json({
      status: is_sleeping ? "sleeping" : "awake",
      ...(weights_problem !== null && { message: weights_problem }),
    });
  };
}

export function isSleeping(service: Service) {
  return (): Response => Response.json({ is_sleeping: service.fastgen.is_sleeping });
}

const resetSchema = z.strictObject({
  /** Nothing that runs has to end for it, and there is no cache outside. */
  reset_running_requests: flag,
  reset_external: flag,
});

export function resetPrefixCache(service: Service) {
  return async (c: Context<Env>): Promise<Response> => {
    await adminFields(c, service, resetSchema);
    await service.fastgen.resetPrefixCache();
    return Response.json({ success: true });
  };
}

const requestId = z.string().max(limits.MAX_REQUEST_ID_LENGTH);

const abortSchema = z.strictObject({
  request_id: requestId.optional(),
  /** None = all. */
  request_ids: boundedArray(requestId, limits.MAX_REQUESTS).optional(),
  /** SGLang's. */
  rid: requestId.optional(),
  abort_all: flag,
});

/** Ends requests by the ids that they were sent with (request_id, x-request-id) or that their replies bear. */
export function abortRequest(service: Service) {
  return async (c: Context<Env>): Promise<Response> => {
    const { request_id, request_ids, rid, abort_all } = await adminFields(c, service, abortSchema, ["request_ids"]);
    const named = [request_id ?? "", rid ?? "", ...(request_ids ?? [])].filter((id) => id !== "");
    if (named.length === 0 && !abort_all && !request_ids) {
      const message = "request_id is missing: name a request, or send abort_all: true";
      throw new FastgenError("invalid_request", message, { param: "request_id" });
    }
    const ids = abort_all || named.length === 0 ? [null] : new Set(named.map(withoutPrefix));
    let aborted = 0;
    for (const id of ids) aborted += service.fastgen.abort(id);
    return Response.json({ status: "aborted", aborted });
  };
}

/** A reply's id is that of its request behind a word. */
function withoutPrefix(id: string): string {
  return id.replace(/^(chatcmpl|cmpl)-/, "");
}
