/** fgserve as users get it: the compiled executable at the root, run from an empty folder. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";

const root = path.dirname(import.meta.dir);
const executable = path.join(root, "fgserve");
const real = process.env.FASTGEN_TEST_MODEL ?? path.join(root, ".cache/models/SmolLM2-135M-Instruct");
/** A real model where there is one, else the built-in one: sockets, flags and signals are the same with both. */
export const model = existsSync(path.join(real, "config.json")) ? real : builtInModel("test-model", 16_384);

/** The built-in model with a context of so many tokens, in which requests and answers may be as long as tests want them. @param name of its folder. */
export function builtInModel(name: string, tokens: number): string {
  const files = path.join(root, "models/fastgen-tiny");
  const folder = path.join(root, "build", name);
  mkdirSync(folder, { recursive: true });
  const config = JSON.parse(readFileSync(path.join(files, "config.json"), "utf8"));
  const longer = JSON.stringify({ ...config, max_position_embeddings: tokens });
  for (const file of readdirSync(files)) {
    const content = file === "config.json" ? longer : readFileSync(path.join(files, file));
    writeFileSync(path.join(folder, file), content);
  }
  return folder;
}

/** Why these tests cannot run, or null; for the names of skipped tests. */
export const missing = existsSync(executable) ? null : "needs ./fgserve: npm run build";

export interface RunningServer {
  pid: number;
  /** http://127.0.0.1:PORT */
  url: string;
  port: number;
  /** What it printed to stdout until it was ready. */
  banner: string;
  /** stderr so far. */
  log: () => string;
  kill: (signal: NodeJS.Signals) => void;
  exited: Promise<number>;
  stop: () => Promise<void>;
}

export interface SpawnOptions {
  /** Its stderr is kept, or goes to this file descriptor. */
  stderr?: "pipe" | number;
  /** How many files it may open. */
  descriptors?: number;
  /** Of its environment. */
  variables?: Record<string, string>;
}

/** Runs `fgserve args`; of this checkout and of the caller's environment it sees only the model. */
export function spawnServer(args: string[], { stderr = "pipe", descriptors, variables }: SpawnOptions = {}) {
  const folder = mkdtempSync(path.join(tmpdir(), "fgserve-"));
  const bounded = ["sh", "-c", `ulimit -n ${descriptors}; exec "$@"`, "sh"];
  const child = Bun.spawn([...(descriptors === undefined ? [] : bounded), executable, ...args], {
    cwd: folder,
    env: { PATH: "/usr/bin:/bin", HOME: folder, TMPDIR: folder, ...variables },
    stdin: "ignore",
    stdout: "pipe",
    stderr,
  });
  void child.exited.then(() => rmSync(folder, { recursive: true, force: true }));
  const output = { stdout: "", stderr: "" };
  const read = async (name: keyof typeof output) => {
    const stream = child[name];
    if (!(stream instanceof ReadableStream)) return;
    for await (const text of stream.pipeThrough(new TextDecoderStream())) output[name] += text;
  };
  const ended = Promise.all([read("stdout"), read("stderr"), child.exited]);
  return { child, output, exited: ended.then(([, , code]) => code) };
}

/** Starts a server of `served` (null = the built-in model) on a port of its own and waits until it is ready. */
export async function startServer(
  args: string[] = [],
  served: string | null = model,
  options: SpawnOptions = {},
): Promise<RunningServer> {
  const positional = served === null ? [] : [served];
  const { child, output, exited } = spawnServer([...positional, "--port", "0", "--device", "cpu", ...args], options);
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

/** A raw connection: what was received, and whether the server has closed it. */
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
    /** Says that nothing more will be sent. */
    shut: () => socket.shutdown(),
    /** Waits until what was received matches. */
    see: (pattern: RegExp, milliseconds = 20_000) => until(() => pattern.test(state.received), milliseconds),
  };
}

/** The bytes of a POST with a JSON body. */
export function post(target: string, body: object, headers = ""): string {
  const json = JSON.stringify(body);
  const length = Buffer.byteLength(json);
  return `POST ${target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n${headers}Content-Length: ${length}\r\n\r\n${json}`;
}

export async function until(condition: () => boolean | Promise<boolean>, milliseconds = 20_000): Promise<void> {
  const deadline = performance.now() + milliseconds;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`the condition did not come to hold in ${milliseconds} ms`);
    await Bun.sleep(5);
  }
}
