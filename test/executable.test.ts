/** The executable as users get it: one file, three names, nothing beside it. Needs ./fgserve (npm run build). */
import { afterAll, beforeAll, expect, test } from "bun:test";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";

const root = path.dirname(import.meta.dir);
const built = ["fgserve", "fgchat", "fgbatch"].map((name) => path.join(root, name));
const missing = !built.every((file) => existsSync(file));
const why = missing ? " (skipped: needs ./fgserve, ./fgchat and ./fgbatch: npm run build)" : "";
const check = test.skipIf(missing);

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), "fastgen-executable-"));
  if (!missing) copyFileSync(built[0]!, path.join(folder, "fgserve"));
  for (const name of ["fgchat", "fgbatch"]) symlinkSync("fgserve", path.join(folder, name));
  symlinkSync("fgserve", path.join(folder, "other"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const environment = () => ({ PATH: "/usr/bin:/bin", HOME: folder, HF_ENDPOINT: "http://127.0.0.1:1" });

/** Runs it with no access to this checkout or to the network. */
function run(name: string, args: string[], { input = "", cwd = folder, variables = {} } = {}) {
  const child = Bun.spawnSync([path.join(folder, name), ...args], {
    cwd,
    env: { ...environment(), ...variables },
    stdin: new Blob([input]),
    argv0: name,
  });
  return { code: child.exitCode, out: child.stdout.toString(), err: child.stderr.toString() };
}

check(`all names are one file${why}`, () => {
  expect(new Set(built.map((file) => statSync(file).ino)).size).toBe(1);
  expect(run("fgserve", ["--help"]).out).toStartWith("Usage: fgserve");
  expect(run("fgchat", ["--help"]).out).toStartWith("Usage: fgchat");
  expect(run("fgbatch", ["--help"]).out).toStartWith("Usage: fgbatch");
  expect(run("other", ["batch", "--help"]).out).toStartWith("Usage: fgbatch");
  expect(run("other", ["chat", "--help"]).out).toStartWith("Usage: fgchat");
});

check(`it carries the tokenizer's addon for this platform only${why}`, () => {
  const bytes = readFileSync(built[0]!);
  expect(bytes.includes("tokenizers.linux-")).toBe(true);
  for (const other of ["darwin-arm64", "win32-x64-msvc", "android-arm64"]) {
    expect(bytes.includes(`tokenizers.${other}.node`)).toBe(false);
  }
});

check(`the built-in model chats, without a file or a network${why}`, () => {
  const { code, out, err } = run("fgchat", ["--temperature", "0"], { input: "Hello!\nWhat is 2 plus 3?\n/q\n" });
  expect(err.replaceAll("\n", " ")).toMatch(/No model was named.* fastgen-tiny .*: +fgchat mistralai\/Mistral-7B/);
  expect(err).toContain("100%");
  expect(out).toContain("Ready to chat!");
  expect(out).toMatch(/1> Hello!\n\S.*\n(.*\n)*--- \[\d+ tokens, [\d.]+toks\/s\]\n2> /);
  expect(out).toContain("5");
  expect(code).toBe(0);
});

check(`the built-in model answers a batch, over each API${why}`, () => {
  const messages = [{ role: "user", content: "What is 2 plus 3?" }];
  const bodies = {
    "/v1/chat/completions": { messages, temperature: 0 },
    "/v1/completions": { prompt: "Hello", max_tokens: 4 },
    "/v1/responses": { input: "What is 2 plus 3?", temperature: 0 },
    "/v1/messages": { messages, max_tokens: 20, temperature: 0 },
  };
  const lines = Object.entries(bodies).map(([url, body]) =>
    JSON.stringify({ custom_id: url, method: "POST", url, body }),
  );
  writeFileSync(path.join(folder, "in.jsonl"), lines.join("\n"));
  const { code, err } = run("fgbatch", ["in.jsonl", "out.jsonl"]);
  expect({ code, err }).toMatchObject({ code: 0 });
  expect(err).toContain("4 of 4 requests answered (out.jsonl)");
  const results = readFileSync(path.join(folder, "out.jsonl"), "utf8").trimEnd().split("\n");
  const answers = new Map(results.map((line) => [JSON.parse(line).custom_id, JSON.parse(line).response]));
  expect([...answers.keys()].sort()).toEqual(Object.keys(bodies).sort());
  for (const url of ["/v1/chat/completions", "/v1/responses", "/v1/messages"]) {
    expect(answers.get(url).status_code).toBe(200);
    expect(JSON.stringify(answers.get(url).body)).toContain("5");
  }
});

check(`nothing in the folder it starts in is run or trusted${why}`, async () => {
  const hostile = mkdtempSync(path.join(tmpdir(), "fastgen-hostile-"));
  const marker = path.join(hostile, "ran");
  const put = (file: string, text: string) => {
    mkdirSync(path.dirname(path.join(hostile, file)), { recursive: true });
    writeFileSync(path.join(hostile, file), text);
  };
  const script = `require("fs").appendFileSync(${JSON.stringify(marker)}, "x");`;
  for (const file of ["evil.ts", "evil.js", "index.ts", "node_modules/zod/index.js", "node_modules/hono/index.js"]) {
    put(file, script);
  }
  const preload = 'preload = ["./evil.ts"]\n';
  for (const file of ["bunfig.toml", ".bunfig.toml"]) put(file, `${preload}[run]\n${preload}[test]\n${preload}`);
  const variables = `FASTGEN_API_KEY=theirs\nHF_ENDPOINT=http://127.0.0.1:9\nFASTGEN_LIBRARY=.\nHF_HOME=.\n`;
  for (const file of [".env", ".env.local", ".env.production", ".env.development"]) put(file, variables);
  put("package.json", '{"name": "fastgen", "main": "evil.js", "imports": {"#*": "./evil.js"}}');
  put("tsconfig.json", '{"compilerOptions": {"paths": {"*": ["./evil.ts"]}}}');
  for (const file of ["libfastgen_cpu.so", "build/libfastgen_cpu.so", "libfastgen_cuda.so"]) put(file, "not a library");

  try {
    for (const [name, args, input] of [
      ["fgserve", ["--version"], ""],
      ["fgserve", ["--help"], ""],
      ["fgchat", ["--version"], ""],
      ["fgchat", ["--temperature", "0"], "Hello!\n/q\n"],
    ] as const) {
      const result = run(name, [...args], { input, cwd: hostile });
      expect({ name, args, code: result.code }).toEqual({ name, args, code: 0 });
    }
    // A key from .env would protect the server, and its HF_ENDPOINT would be in the message.
    expect(run("fgserve", ["org/none", "--port", "0"], { cwd: hostile }).err).toContain("http://127.0.0.1:1 ");
    const server = Bun.spawn([path.join(folder, "fgserve"), "--port", "0", "--device", "cpu"], {
      cwd: hostile,
      env: environment(),
      stdout: "pipe",
      stderr: "ignore",
    });
    const reader = server.stdout.pipeThrough(new TextDecoderStream()).getReader();
    let banner = "";
    while (!banner.includes("Ready: ")) banner += (await reader.read()).value ?? "";
    const url = /Ready: (\S+)/.exec(banner)![1];
    expect((await fetch(`${url}/v1/models`)).status).toBe(200);
    server.kill();
    await server.exited;
    expect(existsSync(marker)).toBe(false);
  } finally {
    rmSync(hostile, { recursive: true });
  }
});

check(`no folder to unpack into is needed${why}`, () => {
  const empty = mkdtempSync(path.join(tmpdir(), "fastgen-empty-"));
  for (const folder of ["/nonexistent", "/proc", empty]) {
    const variables = { TMPDIR: folder, BUN_TMPDIR: folder };
    const { code, out, err } = run("fgchat", ["--temperature", "0"], { input: "Hello!\n/q\n", variables });
    expect(err).not.toContain("    at ");
    expect(out).toContain("Ready to chat!");
    expect(code).toBe(0);
  }
  expect(readdirSync(empty)).toEqual([]);
  rmSync(empty, { recursive: true });
});

check(`a reader that leaves early ends it without a word${why}`, () => {
  for (const command of ["fgserve --help 2>err", "fgchat --help 2>err", "fgchat 2>err", "fgchat 2>&1"]) {
    const child = Bun.spawnSync(["sh", "-c", `: >err; ./${command} | head -n 1; cat err`], {
      cwd: folder,
      env: environment(),
      stdin: new Blob(["Hello!\n".repeat(20)]),
    });
    const output = child.stdout.toString();
    expect(output.trim()).not.toBe("");
    expect(output).not.toMatch(/EPIPE|^ {4,}at /m);
  }
  const full = Bun.spawnSync(["sh", "-c", "./fgserve --help >/dev/full"], { cwd: folder, env: environment() });
  expect(full.stderr.toString()).toMatch(/^error: the output cannot be written: .*\n$/);
  expect(full.exitCode).toBe(1);
});

check(`a limit on address space is named${why}`, () => {
  const script = "ulimit -v 2000000; exec ./fgserve --port 0 --device cpu";
  const child = Bun.spawnSync(["sh", "-c", script], { cwd: folder, env: environment() });
  expect(child.stderr.toString()).toMatch(/^error: .*ulimit -v unlimited.*$/m);
  expect(child.stderr.toString()).not.toContain("    at ");
  expect(child.exitCode).toBe(1);
});

check(`exit codes: 0 success, 1 an error in one line, 2 wrong usage${why}`, () => {
  const cases: [string, string[], number, RegExp][] = [
    ["fgserve", ["--version"], 0, /^$/],
    ["fgserve", ["org/none", "--port", "0"], 1, /^fgserve: listening on .*\nerror: org\/none .*127\.0\.0\.1.*\n$/],
    ["fgchat", [folder], 1, /^error: .* has no config\.json: .*\n$/],
    ["fgserve", ["--prot", "1"], 2, /--port/],
    ["fgchat", ["--url", "http://127.0.0.1:1"], 1, /^error: cannot reach .*\n$/],
    ["other", [], 2, /fgserve, fgchat or fgbatch/],
  ];
  for (const [name, args, code, err] of cases) {
    const result = run(name, args);
    expect({ args, code: result.code }).toEqual({ args, code });
    expect(result.err).toMatch(err);
  }
});
