/** The executable started by a program: it says where it listens, and is gone when the program is. */
import { describe, expect, test } from "bun:test";
import * as path from "node:path";
import { missing, until } from "./server.ts";

const executable = path.join(path.dirname(import.meta.dir), "fgserve");

/** A program that starts a server with a pipe as its standard input, writes the server's pid, and waits. */
const PARENT = `
const child = Bun.spawn([${JSON.stringify(executable)}, "--device", "cpu", "--port", "0", "--stop-with-stdin"],
  { stdin: "pipe", stdout: "inherit", stderr: "inherit" });
console.log("pid " + child.pid);
await child.exited;
`;

const alive = (pid: number) => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

async function readUntil(stream: ReadableStream<Uint8Array>, pattern: RegExp): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  const reader = stream.getReader();
  for (;;) {
    const { value, done } = await reader.read();
    text += decoder.decode(value, { stream: true });
    const found = pattern.exec(text)?.[1];
    if (found !== undefined || done) {
      reader.releaseLock();
      return found ?? text;
    }
  }
}

describe.skipIf(missing !== null)(`fgserve under a program (${missing ?? "executable"})`, () => {
  test("a parent that is killed leaves no server", async () => {
    const parent = Bun.spawn([process.execPath, "-e", PARENT], { stdout: "pipe", stderr: "pipe" });
    const [pid, url] = await Promise.all([
      readUntil(parent.stdout, /pid (\d+)\n/).then(Number),
      readUntil(parent.stderr, /listening on (http:\S+)\n/),
    ]);
    await until(() => fetch(`${url}/health`).then(({ status }) => status === 200));
    expect(alive(pid)).toBe(true);
    parent.kill("SIGKILL");
    await parent.exited;
    await until(() => !alive(pid));
  }, 60_000);

  test("a start that is refused ends, though standard input stays open", async () => {
    const args = ["--device", "cpu", "--port", "0", "--max-model-len", "2048", "--stop-with-stdin"];
    const server = Bun.spawn([executable, ...args], { stdin: "pipe", stdout: "ignore", stderr: "pipe" });
    expect(await server.exited).toBe(2);
    expect(await server.stderr.text()).toContain("error: --max-model-len is 2048");
  });

  test("standard input that closes is a SIGTERM: running requests finish, the exit code is 0", async () => {
    const server = Bun.spawn([executable, "--device", "cpu", "--port", "0", "--stop-with-stdin"], {
      stdin: "pipe",
      stdout: "ignore",
      stderr: "pipe",
    });
    const url = await readUntil(server.stderr, /listening on (http:\S+)\n/);
    await until(() => fetch(`${url}/health`).then(({ status }) => status === 200));
    const answer = await fetch(`${url}/v1/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ prompt: "Once", max_tokens: 300, ignore_eos: true, stream: true }),
    });
    server.stdin.end();
    expect(await answer.text()).toEndWith("data: [DONE]\n\n");
    expect(await server.exited).toBe(0);
  }, 60_000);
});
