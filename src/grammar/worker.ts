/** The compiler's own thread: it opens the vocabulary for its first grammar, and compiles one after the other. */
import { type MessagePort, parentPort } from "node:worker_threads";
import { asFastgenError } from "../errors.ts";
import { newMatcher } from "./compile.ts";
import { Llguidance } from "./llguidance.ts";
import type { FromCompiler, ToCompiler } from "./protocol.ts";
import { GrammarTokenizer, type Vocabulary } from "./tokenizer.ts";

function serve(port: MessagePort): void {
  let vocabulary: Vocabulary | null = null;
  let tokenizer: GrammarTokenizer | null = null;

  const compile = (lark: string): FromCompiler => {
    try {
      // A vocabulary that cannot be used is tried, and told, with every grammar.
      tokenizer ??= new GrammarTokenizer(Llguidance.open(), vocabulary!);
      vocabulary = null;
      return { type: "compiled", matcher: newMatcher(Llguidance.open(), tokenizer.pointer, { lark }) };
    } catch (thrown) {
      const { kind, message } = asFastgenError(thrown);
      return { type: "refused", kind, message };
    }
  };

  const answer = (message: ToCompiler): FromCompiler | null => {
    switch (message.type) {
      case "open":
        Llguidance.open(message.library);
        vocabulary = message.vocabulary;
        return null;
      case "compile":
        return compile(message.lark);
      case "close":
        tokenizer?.free();
        return { type: "closed" };
    }
  };

  port.on("message", (message: ToCompiler) => {
    const reply = answer(message);
    if (reply) port.postMessage(reply);
  });
}

if (parentPort) serve(parentPort);
