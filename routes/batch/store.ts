/**
 * Files and batches in a folder: DIR/files/ID holds a file, DIR/files/ID.json its object, DIR/batches/ID.json a batch. What is there
 * when the server starts is there again. Without a folder there is a private one, which goes with the process.
 */
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { FastgenError } from "../../src/errors.ts";
import { MAX_BATCH_BYTES, MAX_BATCH_FILES, MAX_BATCHES } from "../../src/limits.ts";
import { type FileLock, takeFileLock } from "../../src/system/file-lock.ts";
import { systemReason } from "../../src/system/system-reason.ts";
import { HttpError } from "../errors.ts";
import { type BatchObject, type FileObject, hasEnded, unixSeconds } from "./objects.ts";

/** A batch, and the ids that its results have once it has ended. */
export interface StoredBatch {
  batch: BatchObject;
  output: string;
  errors: string;
}

/** A file that is not whole yet. */
const PART = ".part";

export class BatchStore {
  readonly #most: number;
  #folder: string | null = null;
  /** It goes with the process. */
  #isPrivate = false;
  #held: FileLock | null = null;
  readonly #files = new Map<string, FileObject>();
  readonly #batches = new Map<string, StoredBatch>();
  /** In the folder: of files, and of results that are being written. */
  #bytes = 0;

  /** @param most bytes of all files */
  constructor(most = MAX_BATCH_BYTES) {
    this.#most = most;
  }

  /** The store of a folder, which is made where it is missing. Throws FastgenError where it cannot be used, or another server does. */
  static open(folder: string, most?: number): BatchStore {
    const store = new BatchStore(most);
    try {
      store.#use(folder);
      store.#lock();
      store.#read();
    } catch (error) {
      if (error instanceof FastgenError) throw error;
      throw new FastgenError(
        "invalid_request",
        `--batch-dir '${folder}' cannot be used: ${systemReason(error, folder)}; name a folder that can be written to`,
      );
    }
    return store;
  }

  #use(folder: string): void {
    this.#folder = folder;
    for (const name of ["files", "batches"]) mkdirSync(path.join(folder, name), { recursive: true, mode: 0o700 });
  }

  /** Keeps the folder until close(). */
  #lock(): void {
    const lock = takeFileLock(path.join(this.#folder!, "lock"));
    if (lock === "busy") {
      const message = `--batch-dir '${this.#folder}' is another server's; name another folder`;
      throw new FastgenError("invalid_request", message);
    }
    // Some file systems have no locks.
    if (lock !== "unsupported") this.#held = lock;
  }

  #read(): void {
    for (const stored of this.#objects<StoredBatch>("batches")) this.#batches.set(stored.batch.id, stored);
    for (const file of this.#objects<FileObject>("files")) this.#files.set(file.id, file);
    const open = [...this.#batches.values()].filter(({ batch }) => !hasEnded(batch));
    const kept = new Set([...this.#files.keys(), ...open.flatMap(({ output, errors }) => [output, errors])]);
    for (const name of readdirSync(path.join(this.#folder!, "files"))) {
      if (name.endsWith(".json")) continue;
      // What was being uploaded or deleted when the process ended.
      if (kept.has(name)) this.#bytes += statSync(this.path(name)).size;
      else rmSync(this.path(name));
    }
  }

  /** The oldest first. */
  #objects<T>(name: string): T[] {
    const folder = path.join(this.#folder!, name);
    const files = readdirSync(folder).filter((file) => file.endsWith(".json"));
    const objects: T[] = files.map((file) => JSON.parse(readFileSync(path.join(folder, file), "utf8")));
    const age = (object: T) => {
      const { created_at, batch } = object as { created_at?: number; batch?: BatchObject };
      return created_at ?? batch?.created_at ?? 0;
    };
    return objects.sort((a, b) => age(a) - age(b));
  }

  /** Ends the use of the folder. */
  close(): void {
    this.#held?.close();
    this.#held = null;
    if (this.#isPrivate) rmSync(this.#folder!, { recursive: true, force: true });
    this.#folder = null;
  }

  /** The folder, a private one where none was named. */
  get #place(): string {
    if (this.#folder === null) {
      this.#isPrivate = true;
      this.#use(mkdtempSync(path.join(tmpdir(), "fgserve-batch-")));
    }
    return this.#folder!;
  }

  /** Where the content of the file `id` is. */
  path(id: string): string {
    return path.join(this.#place, "files", id);
  }

  /** Counts `bytes` more. Throws HttpError 400 where that is too many. */
  hold(bytes: number): void {
    if (this.#bytes + bytes > this.#most) {
      const message = `files and results of batches have ${this.#most} bytes (--max-batch-bytes), as many as the server keeps; delete some files`;
      throw new HttpError(400, message, "storage_limit_exceeded");
    }
    this.#bytes += bytes;
  }

  release(bytes: number): void {
    this.#bytes -= bytes;
  }

  /** Throws HttpError 400 where there is no room for another file. */
  requireRoom(): void {
    if (this.#files.size < MAX_BATCH_FILES) return;
    const message = `there are ${MAX_BATCH_FILES} files, as many as the server keeps; delete some`;
    throw new HttpError(400, message, "storage_limit_exceeded");
  }

  /** Where a file that is being uploaded is written to. */
  partPath(id: string): string {
    return this.path(id) + PART;
  }

  /** The upload is complete: its bytes, which hold() has counted, are a file now. */
  addUpload(id: string, filename: string, bytes: number): FileObject {
    renameSync(this.partPath(id), this.path(id));
    return this.#addFile({ id, filename, purpose: "batch", bytes });
  }

  #addFile(file: Pick<FileObject, "id" | "filename" | "purpose" | "bytes">): FileObject {
    const { id, bytes, filename, purpose } = file;
    const object: FileObject = {
      id,
      object: "file",
      bytes,
      created_at: unixSeconds(),
      filename,
      purpose,
      status: "processed",
    };
    write(path.join(this.#place, "files", `${id}.json`), object);
    this.#files.set(id, object);
    return object;
  }

  /** The oldest first. */
  get files(): FileObject[] {
    return [...this.#files.values()];
  }

  /** Throws HttpError 404 where there is no such file. */
  file(id: string): FileObject {
    const file = this.#files.get(id);
    if (file) return file;
    throw new HttpError(404, `there is no file '${id}': it was never uploaded, or was deleted`, "not_found");
  }

  /** Throws HttpError 404, or FastgenError "invalid_request" where a batch reads it. */
  deleteFile(id: string): void {
    const { bytes } = this.file(id);
    for (const { batch } of this.#batches.values()) {
      if (batch.input_file_id !== id || hasEnded(batch)) continue;
      const message = `the file '${id}' is the input of the batch '${batch.id}', which is ${batch.status}; cancel that first`;
      throw new FastgenError("invalid_request", message);
    }
    rmSync(path.join(this.#place, "files", `${id}.json`), { force: true });
    rmSync(this.path(id), { force: true });
    this.#files.delete(id);
    this.#bytes -= bytes;
  }

  /** The oldest first. */
  get batches(): StoredBatch[] {
    return [...this.#batches.values()];
  }

  /** Throws HttpError 404 where there is no such batch. */
  batch(id: string): StoredBatch {
    const stored = this.#batches.get(id);
    if (stored) return stored;
    throw new HttpError(404, `there is no batch '${id}': it was never created, or made room for others`, "not_found");
  }

  /** Adds a batch; the oldest that has ended makes room. Throws FastgenError "overloaded" where there is none. */
  addBatch(stored: StoredBatch): void {
    if (this.#batches.size >= MAX_BATCHES) {
      const oldest = this.batches.find(({ batch }) => hasEnded(batch));
      if (!oldest) throw new FastgenError("overloaded", `${MAX_BATCHES} batches wait; try again later`);
      rmSync(this.#batchPath(oldest.batch.id), { force: true });
      this.#batches.delete(oldest.batch.id);
    }
    this.save(stored);
    this.#batches.set(stored.batch.id, stored);
  }

  /** Writes a batch that has changed. */
  save(stored: StoredBatch): void {
    write(this.#batchPath(stored.batch.id), stored);
  }

  #batchPath(id: string): string {
    return path.join(this.#place, "batches", `${id}.json`);
  }

  /** The results of a batch that has ended become files, where there are any. */
  publish({ batch, output, errors }: StoredBatch): void {
    const publish = (id: string, name: string) => {
      const size = statSync(this.path(id), { throwIfNoEntry: false })?.size ?? 0;
      if (size === 0) return null;
      return this.#addFile({ id, filename: `${batch.id}_${name}.jsonl`, purpose: "batch_output", bytes: size }).id;
    };
    batch.output_file_id = publish(output, "output");
    batch.error_file_id = publish(errors, "error");
  }
}

/** Writes an object so that its file is the old or the new one, whenever the process ends. */
function write(file: string, object: object): void {
  const descriptor = openSync(`${file}.new`, "w", 0o600);
  writeFileSync(descriptor, JSON.stringify(object));
  fsyncSync(descriptor);
  closeSync(descriptor);
  renameSync(`${file}.new`, file);
}
