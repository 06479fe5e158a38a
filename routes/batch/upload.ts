/** A file in a form (multipart/form-data), on its way to the store: a piece of it in memory at a time. */

import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { rm } from "node:fs/promises";
import { type Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { Busboy, type BusboyInstance } from "@fastify/busboy";
import type { Context } from "hono";
import { FastgenError } from "../../src/errors.ts";
import { MAX_BATCH_FILE_BYTES, MAX_FILE_NAME_LENGTH, MAX_FORM_FIELDS } from "../../src/limits.ts";
import { systemReason } from "../../src/system/system-reason.ts";
import type { Env } from "../context.ts";
import { HttpError } from "../errors.ts";
import type { FileObject } from "./objects.ts";
import type { BatchStore } from "./store.ts";

/** Bytes of a form's fields, each. */
const FIELD_BYTES = 1024;

/** Receives the form and puts its file into the store. Throws FastgenError ("unavailable" where the disk is full), or an HttpError (400, 408, 413, 415). */
export async function receiveUpload(c: Context<Env>, store: BatchStore): Promise<FileObject> {
  const type = c.req.header("content-type") ?? "";
  if (!/^multipart\/form-data\s*;.*boundary=/is.test(type)) {
    throw new HttpError(415, "send the file as a form: Content-Type multipart/form-data", "unsupported_media_type");
  }
  store.requireRoom();
  const upload = new Upload(store);
  try {
    await pump(c, upload.form(type), upload);
    return upload.complete();
  } catch (error) {
    await upload.discard();
    throw notKept(error);
  }
}

/** What the file system says of a file that cannot be written, without its path, as an error for the client. */
function notKept(error: unknown): unknown {
  const { code, syscall, path } = error as NodeJS.ErrnoException;
  if (error instanceof FastgenError || !code || !syscall) return error;
  const message = `the file cannot be kept: ${systemReason(error, path)}; see to the folder of --batch-dir, then send it again`;
  return new FastgenError("unavailable", message, { code: "storage_error", cause: error });
}

/** Gives the form the body as fast as it takes it. */
async function pump(c: Context<Env>, form: BusboyInstance, upload: Upload): Promise<void> {
  const record = c.get("record");
  const reader = c.req.raw.body?.getReader();
  while (reader) {
    const { done, value } = await record.bodyPiece(reader.read());
    if (done) break;
    if (!form.write(value)) await Promise.race([once(form, "drain"), upload.failed]);
    upload.throwIfFailed();
  }
  record.bodyRead();
  form.end();
  await Promise.race([upload.saved, upload.failed]);
}

class Upload {
  readonly #store: BatchStore;
  readonly #id = `file-${randomBytes(12).toString("hex")}`;
  readonly #fields = new Map<string, string>();
  readonly #saved = Promise.withResolvers<void>();
  readonly #failed = Promise.withResolvers<never>();
  /** Why the form cannot be taken. */
  #failure: unknown = null;
  #file: Readable | null = null;
  #saving: Promise<void> | null = null;
  #name = "";
  #bytes = 0;

  constructor(store: BatchStore) {
    this.#store = store;
    // Whoever waits hears of it; nobody may.
    this.#failed.promise.catch(() => {});
  }

  /** Resolves when all of the form has been read and written. */
  get saved(): Promise<void> {
    return this.#saved.promise;
  }

  /** Rejects when the form cannot be taken. */
  get failed(): Promise<never> {
    return this.#failed.promise;
  }

  throwIfFailed(): void {
    if (this.#failure !== null) throw this.#failure;
  }

  #fail(error: unknown): void {
    this.#failure ??= error;
    this.#failed.reject(error);
  }

  /** Reads the form of this content type. */
  form(type: string): BusboyInstance {
    const limits = {
      files: 1,
      fields: MAX_FORM_FIELDS,
      parts: MAX_FORM_FIELDS + 1,
      fieldNameSize: FIELD_BYTES,
      fieldSize: FIELD_BYTES,
      fileSize: MAX_BATCH_FILE_BYTES,
    };
    const form = new Busboy({ headers: { "content-type": type }, limits });
    const fail = (error: unknown) => this.#fail(error);
    form.on("field", (name, value) => this.#fields.set(name, value));
    form.on("file", (name, file, filename) => {
      this.#name = filename || name;
      if (name !== "file") this.#fields.set(name, "");
      file.on("limit", () => fail(tooLarge()));
      this.#file = file;
      this.#saving = this.#save(file);
      this.#saving.catch(fail);
    });
    form.on("error", (error) => fail(new FastgenError("invalid_request", `the form is damaged: ${String(error)}`)));
    form.on("finish", () => Promise.resolve(this.#saving).then(() => this.#saved.resolve(), fail));
    return form;
  }

  #save(file: Readable): Promise<void> {
    const counted = new Transform({
      transform: (piece: Buffer, _encoding, done) => {
        try {
          this.#store.hold(piece.byteLength);
          this.#bytes += piece.byteLength;
          done(null, piece);
        } catch (error) {
          done(error as Error);
        }
      },
    });
    return pipeline(file, counted, createWriteStream(this.#store.partPath(this.#id), { mode: 0o600 }));
  }

  /** The form is complete: is it one that is wanted? Throws FastgenError. */
  complete(): FileObject {
    const refuse = (param: string, message: string) =>
      new FastgenError("invalid_request", `${param} ${message}`, { param });
    const { purpose, ...others } = Object.fromEntries(this.#fields);
    const [other] = Object.keys(others);
    if (other !== undefined) throw refuse(other.slice(0, 100), "is no supported field of this form; leave it out");
    if (purpose !== "batch") throw refuse("purpose", purpose === undefined ? "is required" : 'must be "batch"');
    if (!this.#saving) throw refuse("file", "is required");
    return this.#store.addUpload(this.#id, this.#name.slice(0, MAX_FILE_NAME_LENGTH), this.#bytes);
  }

  /** Removes what has come. */
  async discard(): Promise<void> {
    // The rest of it may never come.
    this.#file?.destroy();
    await this.#saving?.catch(() => {});
    for (const path of [this.#store.partPath(this.#id), this.#store.path(this.#id)]) await rm(path, { force: true });
    this.#store.release(this.#bytes);
  }
}

function tooLarge(): HttpError {
  const message = `the file is larger than ${MAX_BATCH_FILE_BYTES} bytes; split it`;
  return new HttpError(413, message, "request_too_large", { connection: "close" });
}
