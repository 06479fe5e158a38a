/** fgchat's conversation in the terminal: prompts, commands, answers. */
import { asFastgenError } from "../src/errors.ts";
import type { ChatBackend } from "./chat-backend.ts";
import { Conversation } from "./conversation.ts";
import type { LineReader } from "./line-reader.ts";
import { WaitLine } from "./wait-line.ts";

const HELP = `  Available commands:
    /r <N> -- reset conversation before round N
    /m     -- input a multiline message, end your input
              with a single line containing '.'
    /help  -- list the commands
    /q     -- quit

---
`;

/** The last two are other programs' words for it. */
const LEAVE = ["q", "quit", "exit"];

const MAKE_ROOM = "/r <N> makes room: it goes back to before round N";

/** What a terminal would act on, apart from line breaks and tabs: models may emit escape sequences. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are the ones to leave out
const CONTROLS = /[\x00-\x08\x0b-\x1f\x7f-\x9f]/g;

export interface SessionOptions {
  backend: ChatBackend;
  reader: LineReader;
  write: (text: string) => void;
  /** `write` writes to a terminal. */
  isTerminal: boolean;
  /** Somebody types: else the input ends a message as well, and a question that failed is a failure of the whole. */
  isTyped: boolean;
  /** Colours. */
  color: boolean;
  system: string | null;
  /** Tokens of one answer; null = up to the end of the context. */
  maxTokens: number | null;
}

export class ChatSession {
  readonly #options: SessionOptions;
  readonly #conversation: Conversation;
  #failed = false;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#conversation = new Conversation(options.system);
  }

  /** Talks until /q, the end of the input, or a second Ctrl-C in a row. Returns the exit code. */
  async run(): Promise<number> {
    const { reader, write } = this.#options;
    write(`${this.#paint("32", "Ready to chat!")}\n${HELP}`);
    let interrupts = 0;
    while (true) {
      const input = await reader.ask(`${this.#conversation.round}> `);
      if (input.kind === "end") {
        write("^D\n");
        return this.#failed && !this.#options.isTyped ? 1 : 0;
      }
      if (input.kind === "interrupt") {
        if (!input.begun && ++interrupts === 2) return 130;
        if (!input.begun) write("(Ctrl-C again leaves, as does /q)\n");
        continue;
      }
      interrupts = 0;
      const text = input.text.trim();
      const [, command, argument] = /^\/([a-z]+)[ \t]*(.*)$/i.exec(text) ?? [];
      if (command === undefined) {
        if (text !== "" && !(await this.#ask(text))) return 1;
      } else if (LEAVE.includes(command) && argument === "") {
        return 0;
      } else if (command === "help" && argument === "") {
        write(HELP);
      } else if (command === "m" && argument === "") {
        const message = await this.#multiline();
        if (message !== null && message.trim() !== "" && !(await this.#ask(message))) return 1;
      } else if (!(command === "r" && /^\d+$/.test(argument!) && this.#conversation.resetBefore(Number(argument)))) {
        write("invalid command; /help lists them\n");
      }
    }
  }

  /** Lines up to a single '.'; null when given up with Ctrl-C or Ctrl-D. */
  async #multiline(): Promise<string | null> {
    const { reader, write, isTyped } = this.#options;
    const lines: string[] = [];
    while (true) {
      const input = await reader.ask(`${this.#conversation.round}>> `);
      if (input.kind === "end") write("\n");
      if (input.kind === "end" && !isTyped) return lines.join("\n");
      if (input.kind !== "line") return null;
      if (input.text.trim() === ".") return lines.join("\n");
      lines.push(input.text);
    }
  }

  /** One round. False when no further one is possible. */
  async #ask(question: string): Promise<boolean> {
    const { backend, reader, write, isTerminal } = this.#options;
    const wait = isTerminal ? new WaitLine(write) : null;
    const stop = new AbortController();
    reader.onInterrupt = () => stop.abort();
    let text = "";
    const show = (piece: string) => {
      // Some tokenizers begin every answer with a space.
      const clean = (text === "" ? piece.trimStart() : piece).replace(CONTROLS, "");
      text += clean;
      if (clean !== "") wait?.end();
      write(clean);
    };
    const started = performance.now();
    try {
      const { tokens, finish } = await backend.answer(this.#conversation.messages(question), stop.signal, show);
      wait?.end();
      const seconds = (performance.now() - started) / 1000;
      if (text !== "" && !text.endsWith("\n")) write("\n");
      write(`--- [${tokens} tokens, ${(tokens / seconds).toFixed(3)}toks/s]\n`);
      if (finish === "length") this.#explainLength(tokens);
      if (text !== "") this.#conversation.add(question, text);
    } catch (thrown) {
      const error = asFastgenError(thrown);
      this.#failed = true;
      wait?.end();
      if (text !== "" && !text.endsWith("\n")) write("\n");
      write(`${this.#paint("31", "error:")} ${error.message}\n`);
      if (error.kind === "invalid_request" && this.#conversation.round > 1) {
        write(`${MAKE_ROOM}\n`);
      }
      return backend.alive;
    } finally {
      reader.onInterrupt = () => {};
    }
    return true;
  }

  #explainLength(tokens: number): void {
    const { backend, maxTokens, write } = this.#options;
    if (maxTokens !== null && tokens >= maxTokens) write(`(cut off at --max-tokens ${maxTokens})\n`);
    else
      write(
        `(cut off: the context${backend.maxContext === null ? "" : ` of ${backend.maxContext} tokens`} is full; ${MAKE_ROOM})\n`,
      );
  }

  #paint(code: string, text: string): string {
    return this.#options.color ? `\x1b[${code}m${text}\x1b[0m` : text;
  }
}
