/** What a program does when nobody reads its output any longer, with a program that uses nothing else. */
import { afterAll, expect, test } from "bun:test";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";

const folder = mkdtempSync(path.join(tmpdir(), "fastgen-readers-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Writes to `stream` as often as it has input, and ends with 7 where it outlives that this fails. */
function program(stream: "stdout" | "stderr", outlives: boolean): string {
  const file = path.join(folder, `${stream}-${outlives}.ts`);
  const readers = path.join(import.meta.dir, "readers.ts");
  const lines = [
    `import { endWithReaders, outliveReaders } from ${JSON.stringify(readers)};`,
    "endWithReaders();",
    ...(outlives ? ["outliveReaders();"] : ["void outliveReaders;"]),
    `process.${stream}.on("error", () => process.exit(7));`,
    `process.stdin.on("data", () => process.${stream}.write("words\\n"));`,
  ];
  writeFileSync(file, lines.join("\n"));
  return file;
}

/** Runs it, takes the reader of `stream` away, and lets it write. */
async function leave(stream: "stdout" | "stderr", outlives: boolean) {
  const child = spawn(process.execPath, [program(stream, outlives)], { stdio: ["pipe", "pipe", "pipe"] });
  let said = "";
  const other = stream === "stdout" ? child.stderr : child.stdout;
  other.on("data", (bytes) => {
    said += bytes;
  });
  child[stream].destroy();
  await once(child[stream], "close");
  // The system may close the pipe later than this is told of it.
  const goes = setInterval(() => child.stdin.write("go"), 50);
  child.stdin.on("error", () => {});
  const [code] = await once(child, "close");
  clearInterval(goes);
  return { code, said };
}

test("a reader that leaves ends the program without a word", async () => {
  for (const stream of ["stdout", "stderr"] as const) expect(await leave(stream, false)).toEqual({ code: 0, said: "" });
});

test("a server outlives its readers", async () => {
  for (const stream of ["stdout", "stderr"] as const) expect(await leave(stream, true)).toEqual({ code: 7, said: "" });
});

test("an output that cannot be written is told, and is a failure", async () => {
  const full = openSync("/dev/full", "w");
  const child = spawn(process.execPath, [program("stdout", false)], { stdio: ["pipe", full, "pipe"] });
  closeSync(full);
  let said = "";
  child.stderr!.on("data", (bytes) => {
    said += bytes;
  });
  child.stdin!.write("go");
  const [code] = await once(child, "close");
  expect({ code, said }).toEqual({ code: 1, said: expect.stringContaining("error: the output cannot be written: ") });
});
