/** The executable: fgserve or fgchat, by the name it was called. */
import * as path from "node:path";
import { asFastgenError, FastgenError } from "../src/errors.ts";
import { endWithReaders } from "./readers.ts";

const TOOLS = ["fgserve", "fgchat"] as const;
type Tool = (typeof TOOLS)[number];

/** Which tool, and its arguments. Under another name the first argument says: "serve" or "chat". */
function pickTool(calledAs: string, args: string[]): { tool: Tool; args: string[] } {
  const name = path.basename(calledAs);
  const named = TOOLS.find((tool) => tool === name);
  if (named) return { tool: named, args };
  const first = TOOLS.find((tool) => tool === args[0] || tool === `fg${args[0]}`);
  if (first) return { tool: first, args: args.slice(1) };
  throw new FastgenError(
    "invalid_request",
    `call this program fgserve or fgchat, or say which: ${name} serve, ${name} chat`,
  );
}

/** Exit codes: 0, 1 an error (one line on stderr; a bug with its stack), 2 wrong usage, 128 + n ended by signal n. */
export async function main(): Promise<void> {
  endWithReaders();
  try {
    const { tool, args } = pickTool(process.argv0, process.argv.slice(2));
    const { run } = tool === "fgserve" ? await import("./serve.ts") : await import("./chat.ts");
    process.exitCode = await run(args);
  } catch (thrown) {
    const error = asFastgenError(thrown);
    console.error(error.kind === "internal" ? (error.cause ?? error) : `error: ${error.message}`);
    process.exitCode = error.kind === "invalid_request" ? 2 : 1;
  }
}

if (import.meta.main) await main();
