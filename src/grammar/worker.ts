/** The compiler's own thread. It opens the vocabulary with its first message and compiles one grammar after the other. */
import { type MessagePort, parentPort } from "node:worker_threads";
import { asFastgenError } from "../errors.ts";
import { newMatcher } from "./compile.ts";
import { Llguidance } from "./llguidance.ts";
import type { FromCompiler, ToCompiler } from "./protocol.ts";
import { GrammarTokenizer } from "./tokenizer.ts";

function serve(port: MessagePort): void {
  const tell = (message: FromCompiler) => port.postMessage(message);
  let tokenizer: () => GrammarTokenizer = () => {
    throw new Error("the first message opens the vocabulary");
  };
  port.on("message", (message: ToCompiler) => {
    switch (message.type) {
      case "open": {
        // A vocabulary that cannot be used is told to every compile.
        tokenizer = once(() => new GrammarTokenizer(Llguidance.open(message.library), message.vocabulary));
        break;
      }
      case "compile":
        try {
          const matcher = newMatcher(Llguidance.open(), tokenizer().pointer, { lark: message.lark });
          tell({ type: "compiled", id: message.id, matcher });
        } catch (thrown) {
          const { kind, message: reason } = asFastgenError(thrown);
          tell({ type: "refused", id: message.id, kind, message: reason });
        }
        break;
      case "close":
        tell({ type: "closed" });
        break;
    }
  });
}

function once<T>(make: () => T): () => T {
  let made: { value: T } | null = null;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

if (parentPort) serve(parentPort);
