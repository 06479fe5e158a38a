/** The fields of a request to an admin route: in its query, in a JSON body, or in both; it may have neither. */
import type { Context } from "hono";
import type { z } from "zod";
import { parseWith, schemaError } from "../../src/schema-error.ts";
import { readBody } from "../body/body.ts";
import type { Env } from "../context.ts";
import type { Service } from "../service.ts";

/**
 * Every field of `schema` must be optional. A field of the body counts before one of the query.
 * @param lists fields that the query may have several times, once for each entry
 * @throws FastgenError, also "unavailable" while there is no model, or an HttpError.
 */
export async function adminFields<S extends z.ZodObject>(
  c: Context<Env>,
  service: Service,
  schema: S,
  lists: readonly string[] = [],
): Promise<z.output<S>> {
  service.requireModel();
  const asked: Record<string, unknown> = {};
  for (const [name, values] of Object.entries(c.req.queries())) {
    asked[name] = lists.includes(name) ? values : fromQuery(values.at(-1)!);
  }
  const { given } = hasBody(c) ? await readBody(c, service, schema) : { given: {} };
  const result = parseWith(schema, { ...asked, ...given });
  if (!result.success) throw schemaError(result.error);
  return result.data;
}

/** Clients without anything to say send no body, an empty one, or none with its type. */
function hasBody(c: Context<Env>): boolean {
  const length = c.req.header("content-length");
  return length === undefined ? c.req.header("transfer-encoding") !== undefined : Number(length) > 0;
}

/** The value that a body would have. */
function fromQuery(text: string): unknown {
  if (/^true$/i.test(text)) return true;
  if (/^false$/i.test(text)) return false;
  return text;
}
