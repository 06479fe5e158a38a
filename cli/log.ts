/**
 * The server's log: lines to stderr that never pile up, never fail, and never keep the program from ending. On a terminal a status
 * line stands below them.
 */
import type { Writable } from "node:stream";
import type { WriteStream } from "node:tty";
import { MAX_LOG_BACKLOG_BYTES } from "../src/limits.ts";
import { columnsOf } from "./wrap.ts";

/** Empties the terminal's current line. */
const ERASE = "\r\x1b[K";

export class Log {
  readonly #stream: Writable;
  readonly #bound: number;
  /** Bytes that the stream has taken and not written yet. */
  #pending = 0;
  /** Lines lost since the last one that was written. */
  #dropped = 0;
  /** The line below the log; null = none. */
  #status: string | null = null;
  #onFlushed: (() => void) | null = null;

  constructor(stream: Writable = process.stderr, bound = MAX_LOG_BACKLOG_BYTES) {
    this.#stream = stream;
    this.#bound = bound;
    // The reader has gone, or the disk is full: the server goes on without its log. write()'s callback counts the lines.
    stream.on("error", () => {});
  }

  /** Writes one line, or drops it when too much waits for a reader. */
  line(text: string): void {
    if (this.#pending > this.#bound) this.#dropped++;
    else this.#write(`${this.#status === null ? "" : ERASE}${text}\n${this.#status ?? ""}`, 1);
  }

  /** Shows `text` below the log, in place of what stood there; null takes it away. Cut to the terminal's width. */
  status(text: string | null): void {
    const status = text?.slice(0, columnsOf(this.#stream as WriteStream) - 1) ?? null;
    // What nobody reads is not drawn.
    if (status === this.#status || (status !== null && this.#pending > 0)) return;
    this.#status = status;
    this.#write(`${ERASE}${status ?? ""}`, 0);
  }

  /** Resolves true when everything is written, false after `milliseconds`. */
  flush(milliseconds: number): Promise<boolean> {
    if (this.#pending === 0) return Promise.resolve(true);
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const timer = setTimeout(resolve, milliseconds, false);
    this.#onFlushed = () => {
      clearTimeout(timer);
      resolve(true);
    };
    return promise;
  }

  /** `lines` are lost if the write fails. */
  #write(text: string, lines: number): void {
    const bytes = Buffer.byteLength(text);
    this.#pending += bytes;
    this.#stream.write(text, (error) => {
      this.#pending -= bytes;
      if (error) this.#dropped += lines;
      else this.#tellDropped();
      if (this.#pending === 0) this.#onFlushed?.();
    });
  }

  /** There is room again: says how many lines are missing here. */
  #tellDropped(): void {
    if (this.#dropped === 0 || this.#pending > this.#bound / 2) return;
    const dropped = this.#dropped;
    this.#dropped = 0;
    this.#write(`fgserve: ${dropped} lines of the log were dropped: nobody read them in time\n`, dropped);
  }
}
