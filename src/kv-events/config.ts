/** The option kv_events_config: vLLM's fields, with vLLM's defaults. */
import { z } from "zod";
import { MAX_KV_EVENT_BUFFER_STEPS, MAX_KV_EVENT_TOPIC_LENGTH } from "../limits.ts";
import { parseWith, schemaError } from "../schema-error.ts";

const FIELD = "kv_events_config";

const schema = z.strictObject({
  enable_kv_cache_events: z.boolean().default(false),
  publisher: z.enum(["zmq", "null"]).optional(),
  endpoint: z.string().default("tcp://*:5557"),
  replay_endpoint: z.string().nullish(),
  buffer_steps: z.int().min(0).max(MAX_KV_EVENT_BUFFER_STEPS).default(10_000),
  hwm: z.int().min(0).default(100_000),
  // Nothing waits to be published here.
  max_queue_size: z.int().min(0).optional(),
  topic: z.string().max(MAX_KV_EVENT_TOPIC_LENGTH).default(""),
});

/** How KV events are published. */
export type KvEvents = Pick<z.output<typeof schema>, "endpoint" | "replay_endpoint" | "buffer_steps" | "hwm" | "topic">;

/** Null where nothing is to be published. @throws FastgenError "invalid_request" that names the field. */
export function kvEventsOf(option: unknown): KvEvents | null {
  if (option === undefined) return null;
  const result = parseWith(schema, option);
  if (!result.success) throw schemaError(result.error, [FIELD]);
  const { enable_kv_cache_events, publisher = "zmq", ...events } = result.data;
  return enable_kv_cache_events && publisher === "zmq" ? events : null;
}
