/** /files: OpenAI's files, as far as batches need them. */
import { createReadStream } from "node:fs";
import { Readable } from "node:stream";
import type { Context } from "hono";
import { FastgenError } from "../../src/errors.ts";
import { MAX_BATCH_FILES } from "../../src/limits.ts";
import { listPage, pageOf } from "../body/paging.ts";
import type { Env } from "../context.ts";
import type { Service } from "../service.ts";
import { receiveUpload } from "./upload.ts";

const idOf = (c: Context<Env>) => c.req.param("id") ?? "";

/** POST uploads a file, GET lists them. */
export function files({ batches }: Service) {
  return async (c: Context<Env>): Promise<Response> => {
    if (c.req.method === "POST") return Response.json(await receiveUpload(c, batches.store));
    const page = pageOf(c, MAX_BATCH_FILES, MAX_BATCH_FILES);
    const purpose = c.req.query("purpose");
    const all = batches.store.files.filter((file) => purpose === undefined || file.purpose === purpose);
    return listPage(all, page);
  };
}

/** GET and DELETE of one. */
export function file({ batches }: Service) {
  return (c: Context<Env>): Response => {
    const id = idOf(c);
    if (c.req.method !== "DELETE") return Response.json(batches.store.file(id));
    batches.store.deleteFile(id);
    return Response.json({ id, object: "file", deleted: true });
  };
}

export function fileContent({ batches }: Service) {
  return (c: Context<Env>): Response => {
    const { id, bytes } = batches.store.file(idOf(c));
    const headers = { "content-type": "application/octet-stream", "content-length": String(bytes) };
    if (c.req.method === "HEAD") return new Response(null, { headers });
    const record = c.get("record");
    record.streaming = true;
    const reader = Readable.toWeb(createReadStream(batches.store.path(id))).getReader();
    const body = new ReadableStream<Uint8Array>(
      {
        async pull(controller) {
          const { done, value } = await reader.read();
          if (!done) return controller.enqueue(value as Uint8Array);
          controller.close();
          record.end(200);
        },
        async cancel() {
          record.error = new FastgenError("aborted", "the client went away");
          record.end(200);
          await reader.cancel();
        },
      },
      { highWaterMark: 0 },
    );
    return new Response(body, { headers });
  };
}
