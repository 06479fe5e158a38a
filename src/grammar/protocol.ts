/** What passes between the compiler and its thread. */
import type { ErrorKind } from "../errors.ts";
import type { Vocabulary } from "./tokenizer.ts";

export type ToCompiler =
  /** The first message. `library` is where the main thread opened llguidance. */
  | { type: "open"; library: string; vocabulary: Vocabulary }
  | { type: "compile"; id: number; lark: string }
  /** Frees everything; "closed" is the answer. */
  | { type: "close" };

export type FromCompiler =
  /** `matcher` is an LlgMatcher at the grammar's start, which now belongs to the receiver. */
  | { type: "compiled"; id: number; matcher: number }
  | { type: "refused"; id: number; kind: ErrorKind; message: string }
  | { type: "closed" };
