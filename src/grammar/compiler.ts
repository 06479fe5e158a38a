/**
 * Compiles grammars off the main thread and keeps them: a text seen before costs nothing, and requests for one text share the
 * work.
 */
import { availableParallelism } from "node:os";
import { asFastgenError, FastgenError } from "../errors.ts";
import { MAX_STRUCTURE_LENGTH, MAX_WAITING_GRAMMARS } from "../limits.ts";
import type { TokenTable } from "../text/token-table.ts";
import type { GrammarSource } from "./compile.ts";
import { CompiledGrammar } from "./compiled-grammar.ts";
import { GrammarCache } from "./grammar-cache.ts";
import { Llguidance } from "./llguidance.ts";
import { CompilerThread } from "./thread.ts";

export type { GrammarSource } from "./compile.ts";
export { CompiledGrammar } from "./compiled-grammar.ts";

/** With so many cores a second thread compiles. */
const CORES_FOR_TWO = 8;

/** What it needs of a Tokenizer. */
export interface GrammarVocabulary {
  readonly table: TokenTable;
  readonly json: string;
}

interface Waiting {
  text: string;
  /** Callers who have not given up. */
  users: number;
  /** A thread has it. */
  begun: boolean;
  promise: Promise<CompiledGrammar>;
  resolve: (grammar: CompiledGrammar) => void;
  reject: (error: FastgenError) => void;
}

export class GrammarCompiler {
  readonly #cache = new GrammarCache();
  /** By their text, in the order in which they are compiled. */
  readonly #waiting = new Map<string, Waiting>();
  /** The first one opens the vocabulary. */
  readonly #threads: CompilerThread[] = [];
  #closed = false;

  private constructor(
    private readonly tokenizer: GrammarVocabulary,
    private readonly vocabSize: number,
    private readonly stopIds: number[],
    private readonly mostThreads: number,
  ) {}

  /** Opens nothing yet. `vocabSize` is the model's, `stopIds` all that end its answers. */
  static open(
    tokenizer: GrammarVocabulary,
    vocabSize: number,
    stopIds: number[],
    mostThreads = availableParallelism() < CORES_FOR_TWO ? 1 : 2,
  ): GrammarCompiler {
    return new GrammarCompiler(tokenizer, vocabSize, stopIds, mostThreads);
  }

  /**
   * Opens the vocabulary in the background, so that the first grammar does not wait for it. compile() does it too.
   * @throws FastgenError "device" where this build has no llguidance.
   */
  prepare(): void {
    if (this.#threads.length > 0 || this.#closed) return;
    const { table, json: tokenizerJson } = this.tokenizer;
    const { size, offsets, bytes, special } = table;
    const { vocabSize, stopIds } = this;
    const first = this.#start({ table: { size, offsets, bytes, special }, vocabSize, stopIds, tokenizerJson });
    void first.opened.then((vocabulary) => {
      if (vocabulary === null || this.#closed || this.#threads[0] !== first) return;
      while (this.#threads.length < this.mostThreads) this.#start(vocabulary);
      this.#next();
    });
  }

  /**
   * The caller calls release() on the grammar once it has made its matchers.
   * @throws FastgenError "invalid_request" with llguidance's reason, "overloaded", "aborted", "device" where this build has no
   * llguidance, "unavailable" after close().
   */
  async compile(source: GrammarSource, signal?: AbortSignal): Promise<CompiledGrammar> {
    return this.begin(source, signal);
  }

  /**
   * The same for callers who go on meanwhile: a grammar that is known comes at once, and what is refused without a compile is
   * thrown at once.
   */
  begin(source: GrammarSource, signal?: AbortSignal): CompiledGrammar | Promise<CompiledGrammar> {
    const text = source.lark;
    if (text.length > MAX_STRUCTURE_LENGTH) {
      const message = `the grammar has ${text.length} characters; at most ${MAX_STRUCTURE_LENGTH} are allowed`;
      throw new FastgenError("invalid_request", message);
    }
    if (this.#closed) throw closedError();
    if (signal?.aborted) throw abortedError();
    // Where many requests come together, the main thread gets to its messages after them; the engine has begun the first by then.
    for (const thread of this.#threads) thread.poll();
    const known = this.#cache.get(text);
    return known ? known.use() : this.#share(text, signal);
  }

  /** Ends the threads and frees what is cached. Compiles that wait fail as "unavailable". */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#failAll(closedError());
    this.#cache.clear();
    const [first, ...others] = this.#threads;
    // The others use the vocabulary of the first.
    await Promise.all(others.map((thread) => thread.close()));
    await first?.close();
  }

  /** The grammar once it is compiled, with a use for this caller, who shares the work with others. */
  #share(text: string, signal?: AbortSignal): Promise<CompiledGrammar> {
    this.prepare();
    let waiting = this.#waiting.get(text);
    if (!waiting) {
      if (this.#waiting.size >= MAX_WAITING_GRAMMARS) {
        throw new FastgenError("overloaded", `${MAX_WAITING_GRAMMARS} grammars wait to be compiled; try again later`);
      }
      waiting = { text, users: 0, begun: false, ...Promise.withResolvers<CompiledGrammar>() };
      this.#waiting.set(text, waiting);
    }
    waiting.users++;
    this.#next();
    const { promise: aborted, reject } = Promise.withResolvers<never>();
    const abort = () => {
      waiting.users--;
      if (waiting.users === 0 && !waiting.begun) this.#waiting.delete(text);
      reject(abortedError());
    };
    signal?.addEventListener("abort", abort, { once: true });
    return Promise.race([waiting.promise, aborted]).finally(() => signal?.removeEventListener("abort", abort));
  }

  #start(vocabulary: ConstructorParameters<typeof CompilerThread>[0]): CompilerThread {
    const thread = new CompilerThread(vocabulary, (error) => {
      this.#threads.splice(this.#threads.indexOf(thread), 1);
      if (this.#threads.length === 0) this.#failAll(error);
    });
    this.#threads.push(thread);
    return thread;
  }

  /** Gives the next grammar to a thread that has none. */
  #next(): void {
    const thread = this.#threads.find(({ isBusy }) => !isBusy);
    const waiting = thread && this.#waiting.values().find(({ begun }) => !begun);
    if (waiting) void this.#run(thread, waiting);
  }

  async #run(thread: CompilerThread, waiting: Waiting): Promise<void> {
    waiting.begun = true;
    try {
      const grammar = new CompiledGrammar(Llguidance.open(), await thread.compile(waiting.text));
      if (this.#closed) {
        grammar.use().release();
        return;
      }
      this.#cache.add(waiting.text, grammar);
      // Those who gave up have left; nobody else may free it before the rest has it.
      for (let user = 0; user < waiting.users; user++) grammar.use();
      waiting.resolve(grammar);
    } catch (error) {
      waiting.reject(asFastgenError(error));
    }
    this.#waiting.delete(waiting.text);
    this.#next();
  }

  #failAll(error: FastgenError): void {
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
