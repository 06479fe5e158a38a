/**
 * A file of results, one line each, that is only ever added to. A request is done once its line is whole in the file: what a killed
 * process left of a last line is cut off, and its request is made again.
 */
import { type FileHandle, open, rm, stat } from "node:fs/promises";
import { FastgenError } from "../../src/errors.ts";
import { systemReason } from "../../src/system/system-reason.ts";
import { fileLines } from "./lines.ts";

const START = '{"id":"batch_req_';

/** What every result begins with; its custom_id is that of the request. */
const BEGINNING = /^\{"id":"batch_req_\w+","custom_id":("(?:[^"\\]|\\.)*"),/;

/** Bytes that hold the longest beginning: a custom_id of MAX_CUSTOM_ID_LENGTH characters, all escaped. */
const BEGINNING_BYTES = 8192;

/** Whether a text may be what is left of a line that was being written; zeros are what a loss of power leaves. */
function isTorn(text: string): boolean {
  return START.startsWith(text) || text.startsWith(START) || /^\0+$/.test(text);
}

/** A result's line, without its line end. `response` is JSON of OpenAI's response object, `error` of its error object. */
export function resultLine(id: string, customId: string, response: string, error = "null"): string {
  return `{"id":"${id}","custom_id":${JSON.stringify(customId)},"response":${response},"error":${error}}`;
}

export class ResultFile {
  readonly path: string;
  readonly #handle: FileHandle;
  /** Up to the end of its last whole line. */
  #bytes = 0;
  /** Something was written after the last sync. */
  #dirty = false;

  private constructor(path: string, handle: FileHandle) {
    this.path = path;
    this.#handle = handle;
  }

  /** Opens the file, or makes it. Throws FastgenError "invalid_request" where that cannot be, or it is no plain file. */
  static async open(path: string): Promise<ResultFile> {
    try {
      const handle = await open(path, "a");
      if ((await handle.stat()).isFile()) return new ResultFile(path, handle);
      await handle.close();
    } catch (error) {
      throw new FastgenError("invalid_request", `'${path}' cannot be written to: ${systemReason(error, path)}`);
    }
    throw new FastgenError("invalid_request", `'${path}' is no plain file; name one that can be gone on with`);
  }

  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Tells `found` the custom_id of every whole result, then cuts off what follows the last one. Returns how many there are.
   * `onRead` hears how far it is.
   * Throws FastgenError "invalid_request", with the file left as it is, where a line is no result.
   */
  async resume(
    found: (customId: string, line: number) => void,
    onRead: (bytes: number) => void = () => {},
  ): Promise<number> {
    let count = 0;
    for await (const { number, bytes, start, length, ended } of fileLines(this.path, BEGINNING_BYTES)) {
      const text = new TextDecoder().decode(bytes);
      const customId = BEGINNING.exec(text)?.[1];
      if (ended ? customId === undefined : !isTorn(text)) {
        const message = `'${this.path}' is there, and its line ${number} is no result of a batch; name another file, or remove it`;
        throw new FastgenError("invalid_request", message);
      }
      if (!ended) break;
      found(JSON.parse(customId!) as string, number);
      this.#bytes = start + length + 1;
      onRead(this.#bytes);
      count++;
    }
    await this.#handle.truncate(this.#bytes);
    return count;
  }

  /** Adds one line. Throws FastgenError "unavailable" where it cannot be written. */
  async append(line: string): Promise<void> {
    this.#dirty = true;
    const bytes = Buffer.from(`${line}\n`);
    await this.#attempt(() => this.#handle.appendFile(bytes));
    this.#bytes += bytes.byteLength;
  }

  /** Returns when all that was added is on the disk. Throws FastgenError "unavailable" where that fails. */
  async sync(): Promise<void> {
    if (!this.#dirty) return;
    this.#dirty = false;
    await this.#attempt(() => this.#handle.datasync());
  }

  async #attempt(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      // A line that did not fit leaves a part of itself.
      await this.#handle.truncate(this.#bytes).catch(() => {});
      const message = `'${this.path}' cannot be written to: ${systemReason(error, this.path)}`;
      throw new FastgenError("unavailable", message, { code: "storage_error", cause: error });
    }
  }

  async removeIfEmpty(): Promise<void> {
    if ((await this.#handle.stat()).size === 0) await rm(this.path, { force: true });
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

/** Whether two paths lead to one file. */
export async function isSameFile(one: string, other: string): Promise<boolean> {
  const [a, b] = await Promise.all([one, other].map((path) => stat(path).catch(() => null)));
  return one === other || (a != null && b != null && a.ino === b.ino && a.dev === b.dev);
}
