/** Pages of a list, as OpenAI's lists have them: `limit`, `order`, `after`. */
import type { Context } from "hono";
import { FastgenError } from "../../src/errors.ts";
import type { Env } from "../context.ts";

export interface Page {
  limit: number;
  order: "asc" | "desc";
  /** The id that the page follows. */
  after: string | undefined;
}

/** What the request asks for; `usual` and `most` entries. Throws FastgenError "invalid_request". */
export function pageOf(c: Context<Env>, usual = 20, most = 100): Page {
  const limit = Number(c.req.query("limit") ?? usual);
  if (!Number.isInteger(limit) || limit < 1 || limit > most) {
    throw refuse("limit", `must be a whole number from 1 to ${most}`);
  }
  const order = c.req.query("order") ?? "desc";
  if (order !== "asc" && order !== "desc") throw refuse("order", 'must be "asc" or "desc"');
  return { limit, order, after: c.req.query("after") };
}

/** The page of `all`, which is in ascending order. Throws FastgenError "invalid_request" where `after` is not in it. */
export function listPage(all: readonly object[], { limit, order, after }: Page): Response {
  const ordered = order === "desc" ? all.toReversed() : all;
  const ids = ordered.map((entry) => String((entry as { id?: string }).id));
  const start = after === undefined ? 0 : ids.indexOf(after) + 1;
  if (after !== undefined && start === 0) throw refuse("after", "is the id of nothing in this list");
  const data = ordered.slice(start, start + limit);
  const [first_id = null, last_id = null] = [ids[start], ids[start + data.length - 1]];
  return Response.json({ object: "list", data, first_id, last_id, has_more: start + limit < all.length });
}

function refuse(param: string, message: string): FastgenError {
  return new FastgenError("invalid_request", `${param} ${message}`, { param });
}
