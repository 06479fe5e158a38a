/** /batches: OpenAI's batches of the requests in a file. */
import { randomBytes } from "node:crypto";
import type { Context } from "hono";
import { z } from "zod";
import { boundedRecord } from "../../src/bounded-json.ts";
import { MAX_BATCH_METADATA_LENGTH, MAX_METADATA_ENTRIES } from "../../src/limits.ts";
import { readBody } from "../body/body.ts";
import { listPage, pageOf } from "../body/paging.ts";
import type { Env } from "../context.ts";
import type { Service } from "../service.ts";
import { type BatchObject, unixSeconds } from "./objects.ts";
import { BATCH_URLS } from "./request-line.ts";

const DAY_SECONDS = 24 * 60 * 60;

const word = z.string().max(MAX_BATCH_METADATA_LENGTH);

const batchSchema = z.object({
  input_file_id: z.string(),
  endpoint: z.enum(BATCH_URLS),
  /** OpenAI's only one. What is not done by then is left undone. */
  completion_window: z.literal("24h"),
  metadata: boundedRecord(word, word, MAX_METADATA_ENTRIES).optional(),
});

/** POST creates a batch, GET lists them. */
export function batches(service: Service) {
  return async (c: Context<Env>): Promise<Response> => {
    const { store, runner } = service.batches;
    if (c.req.method !== "POST") {
      const all = store.batches.map(({ batch }) => batch);
      return listPage(all, pageOf(c));
    }
    const { fields } = await readBody(c, service, batchSchema);
    const { id: input } = store.file(fields.input_file_id);
    const batch = newBatch({ ...fields, input_file_id: input }, service.modelName);
    const id = () => `file-${randomBytes(12).toString("hex")}`;
    store.addBatch({ batch, output: id(), errors: id() });
    const reply = Response.json(batch);
    runner.wake();
    return reply;
  };
}

function newBatch(fields: z.output<typeof batchSchema>, model: string): BatchObject {
  const created_at = unixSeconds();
  return {
    id: `batch_${randomBytes(16).toString("hex")}`,
    object: "batch",
    endpoint: fields.endpoint,
    model,
    errors: null,
    input_file_id: fields.input_file_id,
    completion_window: fields.completion_window,
    status: "validating",
    output_file_id: null,
    error_file_id: null,
    created_at,
    in_progress_at: null,
    expires_at: created_at + DAY_SECONDS,
    finalizing_at: null,
    completed_at: null,
    failed_at: null,
    expired_at: null,
    cancelling_at: null,
    cancelled_at: null,
    request_counts: { total: 0, completed: 0, failed: 0 },
    metadata: fields.metadata ?? null,
  };
}

export function getBatch({ batches }: Service) {
  return (c: Context<Env>): Response => Response.json(batches.store.batch(c.req.param("id") ?? "").batch);
}

export function cancelBatch({ batches }: Service) {
  return (c: Context<Env>): Response => {
    const stored = batches.store.batch(c.req.param("id") ?? "");
    batches.runner.cancel(stored);
    return Response.json(stored.batch);
  };
}
