/** fgserve as it is shipped: the compiled executable at the root, run from an empty folder. */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";

const root = path.dirname(import.meta.dir);
const executable = path.join(root, "fgserve");
export const model = process.env.FASTGEN_TEST_MODEL ?? path.join(root, ".cache/models/SmolLM2-135M-Instruct");

/** Why the executable cannot be tested, or null; for a skipped test's name. */
export const missingExecutable = existsSync(executable) ? null : "skipped: needs ./fgserve: npm run build";

/** What keeps these tests from running, or null; for a skipped test's name. */
export const missing = !existsSync(executable)
  ? "needs ./fgserve: npm run build"
  : !existsSync(path.join(model, "config.json"))
    ? "needs the model of FASTGEN_TEST_MODEL"
    : null;

export interface RunningServer {
  pid: number;
  /** http://127.0.0.1:PORT */
  url: string;
  port: number;
  /** What it printed when it was ready. */
  banner: string;
  /** stderr so far. */
  log: () => string;
  kill: (signal: NodeJS.Signals) => void;
  exited: Promise<number>;
  stop: () => Promise<void>;
}

/** Runs `fgserve args`; nothing of this checkout or of the caller's environment is in its reach but the model. */
export function spawnServer(args: string[]) {
  const folder = mkdtempSync(path.join(tmpdir(), "fgserve-"));
  const child = Bun.spawn([executable, ...args], {
    cwd: folder,
    env: { PATH: "/usr/bin:/bin", HOME: folder, TMPDIR: process.env.TMPDIR },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  void child.exited.then(() => rmSync(folder, { recursive: true, force: true }));
  const output = { stdout: "", stderr: "" };
  const read = async (name: keyof typeof output) => {
    for await (const text of child[name].pipeThrough(new TextDecoderStream())) output[name] += text;
  };
  const ended = Promise.all([read("stdout"), read("stderr"), child.exited]);
  return { child, output, exited: ended.then(([, , code]) => code) };
}

/** Starts a server of the test model on a port of its own and waits until it is ready. */
export function startServer(args: string[] = []): Promise<RunningServer> {
  return waitUntilReady(spawnServer([model, "--port", "0", "--device", "cpu", ...args]));
}

/** Waits until a server just spawned is ready. Throws, with its output, when it ends first or takes too long. */
export async function waitUntilReady(spawned: ReturnType<typeof spawnServer>): Promise<RunningServer> {
  const { child, output, exited } = spawned;
  let running = true;
  void exited.then(() => {
    running = false;
  });
  const deadline = performance.now() + 30_000;
  // The banner's end: the curl example.
  while (!output.stdout.includes("-d '")) {
    if (!running || performance.now() > deadline) {
      child.kill("SIGKILL");
      throw new Error(`fgserve did not become ready:\n${output.stdout}${output.stderr}`);
    }
    await Bun.sleep(10);
  }
  const url = /Ready: (http:\S+)/.exec(output.stdout)![1]!;
  return {
    pid: child.pid,
    url,
    port: Number(new URL(url).port),
    banner: output.stdout,
    log: () => output.stderr,
    kill: (signal) => child.kill(signal),
    exited,
    stop: async () => {
      child.kill("SIGKILL");
      await exited;
    },
  };
}

/** A raw connection: what was received, and whether the other side has closed. */
export async function connect(port: number) {
  const state = { received: "", closed: false };
  const decoder = new TextDecoder();
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port,
    socket: {
      data(_, bytes) {
        state.received += decoder.decode(bytes, { stream: true });
      },
      close() {
        state.closed = true;
      },
      error() {},
    },
  });
  return {
    state,
    send: (text: string) => socket.write(text),
    drop: () => socket.terminate(),
    /** Waits until what was received fits. */
    see: (pattern: RegExp, milliseconds = 20_000) => until(() => pattern.test(state.received), milliseconds),
  };
}

/** The bytes of a POST with a JSON body. */
export function post(target: string, body: object, headers = ""): string {
  const json = JSON.stringify(body);
  const length = Buffer.byteLength(json);
  return `POST ${target} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n${headers}Content-Length: ${length}\r\n\r\n${json}`;
}

export async function until(condition: () => boolean | Promise<boolean>, milliseconds = 20_000): Promise<void> {
  const deadline = performance.now() + milliseconds;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`the condition did not come to hold in ${milliseconds} ms`);
    await Bun.sleep(5);
  }
}
