/**
 * A terminal's input with bracketed paste (xterm's mode 2004): a text of several lines that is pasted stays one line of the line
 * editor, with a sign where its lines end. linesOf() turns the signs back.
 */
import { Transform } from "node:stream";
import type { ReadStream, WriteStream } from "node:tty";

const [BEGIN, END] = ["\x1b[200~", "\x1b[201~"];
const LINE_END = "⏎";

/** A pasted line as it was copied. */
export function linesOf(line: string): string {
  return line.replaceAll(LINE_END, "\n");
}

/** How many of the last characters of `text` may be the beginning of `mark`. A lone escape key is not held up. */
function beginningOf(mark: string, text: string, least: number): number {
  for (let length = Math.min(mark.length - 1, text.length); length >= least; length--) {
    if (text.endsWith(mark.slice(0, length))) return length;
  }
  return 0;
}

export class PasteFilter extends Transform {
  readonly isTTY = true;
  readonly #terminal: ReadStream;
  readonly #output: WriteStream;
  readonly #decoder = new TextDecoder();
  #held = "";
  #pasting = false;

  /** Asks the terminal for the marks. close() ends that. */
  constructor(terminal: ReadStream, output: WriteStream) {
    super();
    this.#terminal = terminal;
    this.#output = output;
    output.write("\x1b[?2004h");
    terminal.pipe(this);
  }

  setRawMode(mode: boolean): this {
    this.#terminal.setRawMode(mode);
    return this;
  }

  close(): void {
    this.#output.write("\x1b[?2004l");
    this.#terminal.unpipe(this);
    this.#terminal.pause();
  }

  override _transform(chunk: Buffer, _encoding: string, done: () => void): void {
    let text = this.#held + this.#decoder.decode(chunk, { stream: true });
    this.#held = "";
    let passed = "";
    while (text !== "") {
      const mark = this.#pasting ? END : BEGIN;
      const at = text.indexOf(mark);
      const held = at < 0 ? beginningOf(mark, text, this.#pasting ? 1 : 3) : 0;
      const end = at < 0 ? text.length - held : at;
      passed += this.#pasting ? oneLine(text.slice(0, end)) : text.slice(0, end);
      this.#held = text.slice(end, end + held);
      if (at < 0) break;
      this.#pasting = !this.#pasting;
      text = text.slice(at + mark.length);
    }
    if (passed !== "") this.push(passed);
    done();
  }
}

/** Without what the line editor would act on. */
function oneLine(pasted: string): string {
  return (
    pasted
      .replace(/\r\n?|\n/g, LINE_END)
      .replaceAll("\t", "    ")
      // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the ones to leave out
      .replace(/[\x00-\x1f\x7f]/g, "")
  );
}
