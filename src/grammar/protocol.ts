/** What passes between the compiler and its thread. */
import type { ErrorKind } from "../errors.ts";
import type { Vocabulary } from "./tokenizer.ts";

export type ToCompiler =
  /** The first message. `library` is where the main thread opened llguidance. */
  | { type: "open"; library: string; vocabulary: Vocabulary }
  /** "compiled" or "refused" is the answer; then the next may come. */
  | { type: "compile"; lark: string }
  /** Frees the vocabulary, which no matcher may use any more; "closed" is the answer. */
  | { type: "close" };

export type FromCompiler =
  /** `matcher` is an LlgMatcher at the grammar's start, which now belongs to the receiver. */
  { type: "compiled"; matcher: number } | { type: "refused"; kind: ErrorKind; message: string } | { type: "closed" };
