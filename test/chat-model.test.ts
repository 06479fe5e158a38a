/** The executable fgchat with a real model, in a terminal, and against a running fgserve. Needs ./fgchat (npm run build). */
import { afterEach, expect, test } from "bun:test";
import { copyFileSync, linkSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { missing, model, startServer } from "./server.ts";
import { startInTerminal, type TerminalProgram } from "./terminal.ts";

const executable = path.join(path.dirname(import.meta.dir), "fgchat");
const why = missing ? ` (skipped: ${missing})` : "";

let program: TerminalProgram | null = null;
const cleanups: (() => void)[] = [];
afterEach(() => {
  program?.kill();
  for (const cleanup of cleanups.splice(0)) cleanup();
});

/** A folder that holds only the executable, under both of its names. */
function alone(): string {
  const folder = mkdtempSync(path.join(tmpdir(), "fastgen-alone-"));
  cleanups.push(() => rmSync(folder, { recursive: true }));
  copyFileSync(executable, path.join(folder, "fgchat"));
  linkSync(path.join(folder, "fgchat"), path.join(folder, "fgserve"));
  return folder;
}

/** No access to this checkout: no Bun in the PATH, no libraries by name. */
const bare = { PATH: "/usr/bin:/bin", FASTGEN_LIBRARY: "", HOME: tmpdir() };

test.skipIf(missing !== null)(
  `a conversation in a terminal, from a folder without a checkout${why}`,
  async () => {
    program = startInTerminal(["./fgchat", model, "--temperature", "0"], { cwd: alone(), env: bare });
    await program.see("loading: 100%|", 60);
    await program.see("\x1b[32mReady to chat!\x1b[0m", 60);
    await program.see("1> ");
    program.type("What is the capital of France?\r");
    await program.see("The capital of France is Paris.", 60);
    await program.see("toks/s]");
    expect(program.shown).toMatch(/--- \[\d+ tokens, \d+\.\d{3}toks\/s\]/);
    await program.see("2> ");
    program.type("Count from 1 to 1000, one number a line.\r");
    await program.see("\r\n", 60);
    await Bun.sleep(1000);
    program.type("\x03");
    await program.see("toks/s]", 60);
    await program.see("3> ");
    program.type("/r 1\r");
    await program.see("1> ");
    program.type("\x04");
    await program.see("^D");
    expect(await program.exited).toBe(0);
  },
  180_000,
);

test.skipIf(missing !== null)(
  `the same with a running server${why}`,
  async () => {
    const folder = alone();
    const server = await startServer(["--api-key", "secret", "--max-model-len", "64"]);
    cleanups.push(() => server.kill("SIGKILL"));
    const args = ["./fgchat", "--url", server.url, "--temperature", "0", "--max-tokens", "12"];
    const refused = startInTerminal(args, { cwd: folder, env: bare });
    await refused.see("error:", 30);
    expect(await refused.exited).toBe(1);

    program = startInTerminal([...args, "--api-key", "secret"], { cwd: folder, env: bare });
    await program.see("1> ", 30);
    program.type("What is the capital of France?\r");
    await program.see("The capital of France is Paris.", 60);
    await program.see(" tokens, ");
    await program.see("2> ");
    program.type(`${"And which rivers flow through it, and where do they end? ".repeat(4)}\r`);
    await program.see("error:", 60);
    await program.see("/r <N> makes room");
    program.type("/q\r");
    expect(await program.exited).toBe(0);
    server.kill("SIGTERM");
    expect(await server.exited).toBe(0);
  },
  180_000,
);
