/**
 * Compiles grammars off the main thread and keeps them: a text seen before costs nothing, and requests for one text share the
 * work. The thread, the library and its vocabulary are opened by the first grammar.
 */
import { extname } from "node:path";
import { Worker } from "node:worker_threads";
import { asFastgenError, FastgenError } from "../errors.ts";
import { MAX_STRUCTURE_LENGTH, MAX_WAITING_GRAMMARS } from "../limits.ts";
import type { TokenTable } from "../text/token-table.ts";
import type { GrammarSource } from "./compile.ts";
import { CompiledGrammar } from "./compiled-grammar.ts";
import { GrammarCache } from "./grammar-cache.ts";
import { Llguidance } from "./llguidance.ts";
import type { FromCompiler, ToCompiler } from "./protocol.ts";

export type { GrammarSource } from "./compile.ts";
export type { CompiledGrammar } from "./compiled-grammar.ts";

/** See the engine's front.ts. */
const WORKER_URL = import.meta.url.startsWith("file:///$bunfs/")
  ? new URL("file:///$bunfs/root/src/grammar/worker.ts")
  : new URL(`./worker${extname(import.meta.url)}`, import.meta.url);

/** What it needs of a Tokenizer. */
export interface GrammarVocabulary {
  readonly table: TokenTable;
  readonly json: string;
}

interface Waiting {
  text: string;
  /** Callers who have not given up. */
  users: number;
  promise: Promise<CompiledGrammar>;
  resolve: (grammar: CompiledGrammar) => void;
  reject: (error: FastgenError) => void;
}

export class GrammarCompiler {
  readonly #cache = new GrammarCache();
  /** By their text, in the order in which they are compiled. The first is with the thread while it is busy. */
  readonly #waiting = new Map<string, Waiting>();
  #worker: Worker | null = null;
  #busy: Waiting | null = null;
  #closed = false;

  private constructor(
    private readonly tokenizer: GrammarVocabulary,
    private readonly vocabSize: number,
    private readonly stopIds: number[],
  ) {}

  /** Opens nothing yet. `vocabSize` is the model's, `stopIds` all that end its answers. */
  static open(tokenizer: GrammarVocabulary, vocabSize: number, stopIds: number[]): GrammarCompiler {
    return new GrammarCompiler(tokenizer, vocabSize, stopIds);
  }

  /**
   * The caller calls release() on the grammar once it has made its matchers.
   * @throws FastgenError "invalid_request" with llguidance's reason, "overloaded", "aborted", "device" where this build has no
   * llguidance, "unavailable" after close().
   */
  async compile(source: GrammarSource, signal?: AbortSignal): Promise<CompiledGrammar> {
    const text = source.lark;
    if (text.length > MAX_STRUCTURE_LENGTH) {
      const message = `the grammar has ${text.length} characters; at most ${MAX_STRUCTURE_LENGTH} are allowed`;
      throw new FastgenError("invalid_request", message);
    }
    if (this.#closed) throw closedError();
    if (signal?.aborted) throw abortedError();
    const known = this.#cache.get(text);
    return known ? known.use() : await this.#share(text, signal);
  }

  /** Ends the thread and frees what is cached. Compiles that wait fail as "unavailable". */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#failAll(closedError());
    this.#cache.clear();
    const worker = this.#worker;
    if (!worker) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    worker.on("exit", () => resolve());
    worker.on("message", (message: FromCompiler) => message.type === "closed" && resolve());
    worker.postMessage({ type: "close" } satisfies ToCompiler);
    await promise;
    await worker.terminate();
  }

  /** The grammar once it is compiled, with a use for this caller, who shares the work with others. */
  async #share(text: string, signal?: AbortSignal): Promise<CompiledGrammar> {
    let waiting = this.#waiting.get(text);
    if (!waiting) {
      if (this.#waiting.size >= MAX_WAITING_GRAMMARS) {
        throw new FastgenError("overloaded", `${MAX_WAITING_GRAMMARS} grammars wait to be compiled; try again later`);
      }
      waiting = { text, users: 0, ...Promise.withResolvers<CompiledGrammar>() };
      this.#waiting.set(text, waiting);
    }
    waiting.users++;
    this.#next();
    const { promise: aborted, reject } = Promise.withResolvers<never>();
    const abort = () => {
      waiting.users--;
      if (waiting.users === 0 && waiting !== this.#busy) this.#waiting.delete(text);
      reject(abortedError());
    };
    signal?.addEventListener("abort", abort, { once: true });
    try {
      return await Promise.race([waiting.promise, aborted]);
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  /** Gives the thread the next grammar, if it has none. */
  #next(): void {
    const [waiting] = this.#waiting.values();
    if (this.#busy || !waiting) return;
    this.#worker ??= this.#start();
    this.#busy = waiting;
    this.#worker.postMessage({ type: "compile", lark: waiting.text } satisfies ToCompiler);
  }

  #start(): Worker {
    const library = Llguidance.open().path;
    const { table, json } = this.tokenizer;
    const { size, offsets, bytes, special } = table;
    const worker = new Worker(WORKER_URL);
    const fail = (message: string) => {
      this.#worker = null;
      this.#failAll(new FastgenError("internal", message));
    };
    worker.on("message", (message: FromCompiler) => this.#receive(message));
    worker.on("error", (error) => fail(`the grammar compiler crashed: ${asFastgenError(error).message}`));
    worker.on("exit", (code) => fail(`the grammar compiler's thread ended with code ${code}`));
    const vocabulary = {
      table: { size, offsets, bytes, special },
      vocabSize: this.vocabSize,
      stopIds: this.stopIds,
      tokenizerJson: json,
    };
    worker.postMessage({ type: "open", library, vocabulary } satisfies ToCompiler);
    return worker;
  }

  #receive(message: FromCompiler): void {
    const waiting = this.#busy;
    if (message.type === "closed" || !waiting) return;
    this.#busy = null;
    this.#waiting.delete(waiting.text);
    if (message.type === "compiled") {
      const grammar = new CompiledGrammar(Llguidance.open(), message.matcher);
      this.#cache.add(waiting.text, grammar);
      // Those who gave up have left; nobody else may free it before the rest has it.
      for (let user = 0; user < waiting.users; user++) grammar.use();
      waiting.resolve(grammar);
    } else {
      waiting.reject(new FastgenError(message.kind, message.message));
    }
    this.#next();
  }

  #failAll(error: FastgenError): void {
    this.#busy = null;
    for (const waiting of this.#waiting.values()) waiting.reject(error);
    this.#waiting.clear();
  }
}

function abortedError(): FastgenError {
  return new FastgenError("aborted", "the request was aborted");
}

function closedError(): FastgenError {
  return new FastgenError("unavailable", "the model was closed");
}
