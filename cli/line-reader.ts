/**
 * Lines from the terminal, with editing and history, or from a pipe. While an answer is written the terminal stays in
 * raw mode: what is typed meanwhile is kept and not echoed, and Ctrl-C is reported, not deadly. Several lines that are pasted
 * are one line here, with its line breaks.
 */
import * as readline from "node:readline";
import { Writable } from "node:stream";
import type { ReadStream, WriteStream } from "node:tty";
import { linesOf, PasteFilter } from "./paste-filter.ts";

/** readline's output: the terminal's, silenced while an answer is being written. */
class Echo extends Writable {
  muted = true;
  readonly isTTY = true;

  constructor(readonly terminal: WriteStream) {
    super();
    terminal.on("resize", () => this.emit("resize"));
  }

  get columns(): number {
    return this.terminal.columns ?? 80;
  }

  get rows(): number {
    return this.terminal.rows ?? 24;
  }

  override _write(chunk: Buffer, _encoding: string, callback: () => void): void {
    if (!this.muted) this.terminal.write(chunk);
    callback();
  }
}

export type Input =
  | { kind: "line"; text: string }
  /** Ctrl-D, or the end of a pipe. */
  | { kind: "end" }
  /** Ctrl-C; `begun` when it threw away the beginning of a line. */
  | { kind: "interrupt"; begun: boolean };

export class LineReader {
  readonly #interface: readline.Interface;
  readonly #echo: Echo | null;
  readonly #paste: PasteFilter | null;
  readonly #output: WriteStream;
  /** Lines that came before they were asked for. */
  readonly #early: string[] = [];
  #waiting: ((input: Input) => void) | null = null;
  #ended = false;
  /** Ctrl-C while no line is being asked for. */
  onInterrupt: () => void = () => {};

  constructor(input: ReadStream = process.stdin, output: WriteStream = process.stdout) {
    this.#output = output;
    this.#echo = input.isTTY && output.isTTY ? new Echo(output) : null;
    this.#paste = this.#echo ? new PasteFilter(input, output) : null;
    this.#interface = readline.createInterface(
      this.#echo
        ? { input: this.#paste!, output: this.#echo, terminal: true, historySize: 1000 }
        : { input, terminal: false },
    );
    this.#interface.on("line", (line) => this.#line(line));
    this.#interface.on("close", () => {
      this.#ended = true;
      if (this.#waiting) this.#settle({ kind: "end" });
    });
    this.#interface.on("SIGINT", () => this.interrupt());
  }

  /** Asks for the next line. One question at a time. */
  ask(prompt: string): Promise<Input> {
    const early = this.#early.shift();
    if (early !== undefined) {
      this.#output.write(`${prompt}${early}\n`);
      return Promise.resolve({ kind: "line", text: early });
    }
    if (this.#ended) {
      this.#output.write(prompt);
      return Promise.resolve({ kind: "end" });
    }
    const input = new Promise<Input>((resolve) => {
      this.#waiting = resolve;
    });
    if (this.#echo) {
      this.#echo.muted = false;
      this.#interface.setPrompt(prompt);
      this.#interface.prompt(true);
    } else this.#output.write(prompt);
    return input;
  }

  /** Ctrl-C, wherever it came from. */
  interrupt(): void {
    if (!this.#waiting) {
      this.onInterrupt();
      return;
    }
    const begun = this.#interface.line !== "";
    if (this.#echo) this.#echo.muted = true;
    // Ctrl-E, Ctrl-U: empties the line wherever the cursor is.
    this.#interface.write(null, { ctrl: true, name: "e" });
    this.#interface.write(null, { ctrl: true, name: "u" });
    this.#output.write("^C\n");
    this.#settle({ kind: "interrupt", begun });
  }

  /** Gives the terminal back. */
  close(): void {
    this.#interface.close();
    this.#paste?.close();
  }

  #line(entered: string): void {
    const line = this.#echo ? linesOf(entered) : entered;
    if (!this.#waiting) {
      this.#early.push(line);
      return;
    }
    // A pipe shows nothing by itself: with its lines written out, the output reads like a session.
    if (!this.#echo) this.#output.write(`${line}\n`);
    this.#settle({ kind: "line", text: line });
  }

  #settle(input: Input): void {
    const waiting = this.#waiting!;
    this.#waiting = null;
    if (this.#echo) this.#echo.muted = true;
    waiting(input);
  }
}
