/** A thread of the compiler: it opens the vocabulary, or shares it, and compiles one grammar after the other. */
import type { Pointer } from "bun:ffi";
import { type MessagePort, parentPort } from "node:worker_threads";
import { asFastgenError } from "../errors.ts";
import { newMatcher } from "./compile.ts";
import { Llguidance } from "./llguidance.ts";
import type { FromCompiler, ToCompiler } from "./protocol.ts";
import { GrammarTokenizer, type Vocabulary } from "./tokenizer.ts";

function serve(port: MessagePort): void {
  /** Opened here, to be freed here. */
  let own: GrammarTokenizer | null = null;
  let tokenizer: Pointer | null = null;
  /** Why the vocabulary cannot be used: told with every grammar. */
  let failure: unknown = null;
  let answers: MessagePort | null = null;
  const answer = (message: FromCompiler) => answers?.postMessage(message);

  const open = (vocabulary: Vocabulary | number): FromCompiler => {
    try {
      if (typeof vocabulary === "number") tokenizer = vocabulary as Pointer;
      else {
        own = new GrammarTokenizer(Llguidance.open(), vocabulary);
        tokenizer = own.pointer;
      }
    } catch (thrown) {
      failure = thrown;
    }
    return { type: "opened", vocabulary: tokenizer };
  };

  const compile = (lark: string): FromCompiler => {
    try {
      if (!tokenizer) throw failure;
      return { type: "compiled", matcher: newMatcher(Llguidance.open(), tokenizer, { lark }) };
    } catch (thrown) {
      const { kind, message } = asFastgenError(thrown);
      return { type: "refused", kind, message };
    }
  };

  port.on("message", (message: ToCompiler) => {
    switch (message.type) {
      case "open":
        Llguidance.open(message.library);
        answers = message.port;
        answer(open(message.vocabulary));
        break;
      case "compile":
        answer(compile(message.lark));
        break;
      case "close":
        own?.free();
        answer({ type: "closed" });
        break;
    }
  });
}

if (parentPort) serve(parentPort);
