/** What is said where the built-in model answers. */
import { columnsOf, wrap } from "./wrap.ts";

/** What the tools say when no model was named: which one answers, what it can do, and how to name another. */
export function builtInNotice(tool: "fgserve" | "fgchat" | "fgbatch", columns = columnsOf(process.stderr)): string {
  const notice =
    "No model was named, so the built-in fastgen-tiny answers: it greets, adds and subtracts up to 99, spells, reverses and " +
    "repeats words, knows which day or month comes next, remembers your name, and writes haikus. For a real model, name a " +
    // A command stands on a line of its own, to be copied.
    `directory or one on the hub:\n  ${tool}${tool === "fgbatch" ? " IN OUT" : ""} mistralai/Mistral-7B-Instruct-v0.3`;
  return `${wrap(notice, columns)}\n`;
}
