/** The executable: fgserve, fgchat or fgbatch, by the name it was called. */
import * as path from "node:path";
import { asFastgenError, FastgenError } from "../src/errors.ts";
import { endWithReaders } from "./readers.ts";

const TOOLS = ["fgserve", "fgchat", "fgbatch"] as const;
type Tool = (typeof TOOLS)[number];

/** Which tool, and its arguments. Under another name the first argument says: "serve", "chat" or "batch". */
function pickTool(calledAs: string, args: string[]): { tool: Tool; args: string[] } {
  const name = path.basename(calledAs);
  const named = TOOLS.find((tool) => tool === name);
  if (named) return { tool: named, args };
  const first = TOOLS.find((tool) => tool === args[0] || tool === `fg${args[0]}`);
  if (first) return { tool: first, args: args.slice(1) };
  throw new FastgenError(
    "invalid_request",
    `call this program fgserve, fgchat or fgbatch, or say which: ${name} serve, ${name} chat, ${name} batch`,
  );
}

function load(tool: Tool): Promise<{ run(args: string[]): Promise<number> }> {
  if (tool === "fgserve") return import("./serve.ts");
  return tool === "fgchat" ? import("./chat.ts") : import("./batch.ts");
}

/**
 * Exit codes: 0; 1 an error (one line on stderr; a bug with its stack); 2 wrong usage, and of fgbatch whatever the same command
 * would meet again; 3 a batch with failed requests; 128 + n ended by signal n.
 */
export async function main(): Promise<void> {
  endWithReaders();
  try {
    const { tool, args } = pickTool(process.argv0, process.argv.slice(2));
    process.exitCode = await (await load(tool)).run(args);
  } catch (thrown) {
    const error = asFastgenError(thrown);
    console.error(error.kind === "internal" ? (error.cause ?? error) : `error: ${error.message}`);
    process.exitCode = error.kind === "invalid_request" ? 2 : 1;
  }
}

if (import.meta.main) await main();
