/** A thread that compiles grammars, one after the other, as the main thread sees it. */
import { extname } from "node:path";
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from "node:worker_threads";
import { asFastgenError, FastgenError } from "../errors.ts";
import { Llguidance } from "./llguidance.ts";
import type { FromCompiler, ToCompiler } from "./protocol.ts";
import type { Vocabulary } from "./tokenizer.ts";

/** See the engine's front.ts. */
const WORKER_URL = import.meta.url.startsWith("file:///$bunfs/")
  ? new URL("file:///$bunfs/root/src/grammar/worker.ts")
  : new URL(`./worker${extname(import.meta.url)}`, import.meta.url);

export class CompilerThread {
  readonly #opened = Promise.withResolvers<number | null>();
  /** The address of the vocabulary once it is open, for other threads; null where it cannot be used. */
  readonly opened = this.#opened.promise;
  readonly #worker = new Worker(WORKER_URL);
  readonly #answers: MessagePort;
  /** Whoever waits for the compile that runs. */
  #compile: PromiseWithResolvers<number> | null = null;
  readonly #closed = Promise.withResolvers<void>();

  /**
   * Opens the vocabulary, or shares one that another thread has open. `onCrash` hears why the thread ended by itself.
   * @throws FastgenError "device" where this build has no llguidance.
   */
  constructor(vocabulary: Vocabulary | number, onCrash: (error: FastgenError) => void) {
    const { port1, port2 } = new MessageChannel();
    this.#answers = port1;
    port1.on("message", (message: FromCompiler) => this.#take(message));
    const crash = (message: string) => {
      const error = new FastgenError("internal", message);
      this.#compile?.reject(error);
      this.#answers.close();
      this.#closed.resolve();
      onCrash(error);
    };
    this.#worker.on("error", (error) => crash(`the grammar compiler crashed: ${asFastgenError(error).message}`));
    this.#worker.on("exit", (code) => crash(`the grammar compiler's thread ended with code ${code}`));
    this.#send({ type: "open", library: Llguidance.open().path, vocabulary, port: port2 }, [port2]);
  }

  /** Takes the answers that are there, without waiting until the main thread gets to its messages. */
  poll(): void {
    for (;;) {
      const answer = receiveMessageOnPort(this.#answers);
      if (!answer) break;
      this.#take(answer.message);
    }
  }

  #take(message: FromCompiler): void {
    if (message.type === "opened") this.#opened.resolve(message.vocabulary);
    else if (message.type === "closed") this.#closed.resolve();
    else this.#end(message);
  }

  get isBusy(): boolean {
    return this.#compile !== null;
  }

  /** Returns an LlgMatcher at the grammar's start, which is the caller's. Not while it is busy. */
  compile(lark: string): Promise<number> {
    this.#compile = Promise.withResolvers();
    this.#send({ type: "compile", lark });
    return this.#compile.promise;
  }

  #end(message: Extract<FromCompiler, { type: "compiled" | "refused" }>): void {
    const compile = this.#compile!;
    this.#compile = null;
    if (message.type === "compiled") compile.resolve(message.matcher);
    else compile.reject(new FastgenError(message.kind, message.message));
  }

  /** Ends it after the compile that runs. Frees the vocabulary if it opened it itself: no matcher may use it any more. */
  async close(): Promise<void> {
    this.#worker.removeAllListeners("exit").on("exit", () => this.#closed.resolve());
    this.#send({ type: "close" });
    await this.#closed.promise;
    await this.#worker.terminate();
    this.#answers.close();
  }

  #send(message: ToCompiler, transfer: MessagePort[] = []): void {
    this.#worker.postMessage(message, transfer);
  }
}
