/** What passes between the compiler and its threads. */
import type { MessagePort } from "node:worker_threads";
import type { ErrorKind } from "../errors.ts";
import type { Vocabulary } from "./tokenizer.ts";

export type ToCompiler =
  /**
   * The first message; "opened" is the answer. `library` is where the main thread opened llguidance. A number is the vocabulary
   * that another thread has opened. All answers go to `port`.
   */
  | { type: "open"; library: string; vocabulary: Vocabulary | number; port: MessagePort }
  /** "compiled" or "refused" is the answer; then the next may come. */
  | { type: "compile"; lark: string }
  /** Frees the vocabulary if it was opened here: no matcher may use it any more. "closed" is the answer. */
  | { type: "close" };

export type FromCompiler =
  /** `vocabulary` is an LlgTokenizer that any thread may use; null where the model's cannot be used. */
  | { type: "opened"; vocabulary: number | null }
  /** `matcher` is an LlgMatcher at the grammar's start, which now belongs to the receiver. */
  | { type: "compiled"; matcher: number }
  | { type: "refused"; kind: ErrorKind; message: string }
  | { type: "closed" };
