/** fgbatch as a process: killed, interrupted, out of room, against a server of a few lines. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";

const root = path.dirname(import.meta.dir);
let folder: string;
let server: ReturnType<typeof Bun.serve>;
/** How often each prompt was answered. */
let answered: Map<string, number>;
/** Milliseconds that an answer takes, at most. */
let slowness = 0;
/** Whether every request is refused. */
let refusing = false;

beforeAll(() => {
  server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    async fetch(request) {
      const { prompt } = (await request.json()) as { prompt: string };
      await Bun.sleep(Math.random() * slowness);
      if (refusing) return Response.json({ error: { message: "no such key" } }, { status: 401 });
      answered.set(prompt, (answered.get(prompt) ?? 0) + 1);
      if (prompt.endsWith("3")) return Response.json({ error: { message: "no threes" } }, { status: 400 });
      return Response.json({ prompt, usage: { prompt_tokens: 1, completion_tokens: 2 } });
    },
  });
});
afterAll(() => server.stop(true));
beforeEach(() => {
  answered = new Map();
  slowness = 0;
  folder = mkdtempSync(path.join(tmpdir(), "fgbatch-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const at = (name: string) => path.join(folder, name);
const ids = (count: number) => Array.from({ length: count }, (_, i) => `r${i}`);

function put(count: number): void {
  const lines = ids(count).map((custom_id) =>
    JSON.stringify({ custom_id, method: "POST", url: "/v1/completions", body: { prompt: custom_id } }),
  );
  writeFileSync(at("in.jsonl"), `${lines.join("\n")}\n`);
}

/** `shell`: run before it, in its own shell. */
function start(args: string[] = [], shell = "") {
  const command = [process.execPath, path.join(root, "cli/main.ts"), "batch", at("in.jsonl"), at("out.jsonl")];
  const url = ["--url", `http://127.0.0.1:${server.port}`];
  const child = Bun.spawn(["sh", "-c", `${shell}exec "$@"`, "sh", ...command, ...url, ...args], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  return { child, said: new Response(child.stderr).text() };
}

async function run(args: string[] = [], shell = ""): Promise<{ code: number; said: string }> {
  const { child, said } = start(args, shell);
  return { said: await said, code: await child.exited };
}

/** The custom_ids of a file of results, which must hold whole lines alone. */
function results(name: string): string[] {
  if (!existsSync(at(name))) return [];
  const text = readFileSync(at(name), "utf8");
  expect(text).toEndWith("\n");
  return text
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line).custom_id);
}

const sizeOf = (name: string) => statSync(at(name), { throwIfNoEntry: false })?.size ?? 0;

test("kill -9 again and again: every custom_id comes once, and none that was done is done again", async () => {
  const all = ids(1500);
  put(all.length);
  slowness = 20;
  let kills = 0;
  for (let size = 0; kills < 20; kills++) {
    const { child } = start(["--max-concurrency", "16"]);
    // It gets some way each time, and is killed wherever it is then.
    const enough = size + 2000 + Math.random() * 8000;
    while (child.exitCode === null && sizeOf("out.jsonl") < enough) await Bun.sleep(1);
    child.kill("SIGKILL");
    await child.exited;
    if (child.exitCode === 0 || child.exitCode === 3) break;
    // What the machine had not yet written when it lost power.
    size = sizeOf("out.jsonl");
    if (kills % 3 === 0) truncateSync(at("out.jsonl"), size - Math.floor(Math.random() * 300));
  }
  expect(kills).toBeGreaterThan(5);
  slowness = 0;
  const { code, said } = await run();
  expect({ code, said }).toMatchObject({ code: 3 });
  expect(said).toContain("1,350 of 1,500 requests answered");
  const good = results("out.jsonl");
  const bad = results("out.errors.jsonl");
  expect(bad.every((id) => id.endsWith("3"))).toBe(true);
  expect([...good, ...bad].sort()).toEqual(all.toSorted());
  // Twice were made those that were on their way when it was killed, or whose lines were lost: some for each kill.
  const repeated = [...answered.values()].reduce((sum, times) => sum + times - 1, 0);
  expect(repeated).toBeLessThanOrEqual(kills * 40);
  const total = [...answered.values()].reduce((sum, times) => sum + times, 0);
  expect((await run()).code).toBe(3);
  expect([...answered.values()].reduce((sum, times) => sum + times, 0)).toBe(total);
}, 120_000);

test("failed requests are tried again once the file of errors is removed", async () => {
  put(5);
  expect((await run()).code).toBe(3);
  expect(results("out.errors.jsonl")).toEqual(["r3"]);
  rmSync(at("out.errors.jsonl"));
  const before = answered.get("r3")!;
  expect((await run(["--errors", at("elsewhere.jsonl")])).code).toBe(3);
  expect(results("elsewhere.jsonl")).toEqual(["r3"]);
  expect([answered.get("r3"), answered.get("r1")]).toEqual([before + 1, 1]);
});

test("SIGTERM ends it in order: what is left is said, and done by the next run", async () => {
  put(200);
  slowness = 50;
  const { child, said } = start(["--max-concurrency", "4"]);
  while (sizeOf("out.jsonl") === 0) await Bun.sleep(5);
  child.kill("SIGTERM");
  expect(await child.exited).toBe(143);
  expect(await said).toMatch(/\d+ of 200 requests answered .*; \d+ left\n.*\nRun the same command again to go on\.\n$/);
  const done = results("out.jsonl").length;
  expect(done).toBeLessThan(200);
  slowness = 0;
  expect((await run()).code).toBe(3);
  expect(results("out.jsonl")).toHaveLength(180);
});

test("where the output cannot grow it says why; with room again it goes on", async () => {
  put(300);
  // Files may have 8 blocks; without the signal, writing beyond them fails as on a full disk.
  const { code, said } = await run([], "trap '' XFSZ; ulimit -f 8; ");
  expect(code).toBe(1);
  expect(said).toMatch(
    /error: '.*out.*\.jsonl' cannot be written to: .* \(EFBIG\)\. Once that is mended, run the same command again/,
  );
  const done = results("out.jsonl").length + results("out.errors.jsonl").length;
  expect(done).toBeGreaterThan(0);
  expect(done).toBeLessThan(300);
  expect((await run()).code).toBe(3);
  expect([...results("out.jsonl"), ...results("out.errors.jsonl")].sort()).toEqual(ids(300).toSorted());
});

test("an input with wrong lines is refused with their numbers, and nothing is left", async () => {
  writeFileSync(at("in.jsonl"), "{}\nno\n");
  const { code, said } = await run();
  expect(code).toBe(2);
  expect(said).toContain(
    `error: ${at("in.jsonl")}, line 1: custom_id is required; 1 more line is wrong. Nothing was done`,
  );
  expect(said).toContain(`${at("in.jsonl")}, line 2: is not valid JSON`);
  expect(existsSync(at("out.jsonl")) || existsSync(at("out.errors.jsonl"))).toBe(false);
});

test("wrong usage: a model beside a server, an input that is not there", async () => {
  put(1);
  expect((await run(["a-model"])).said).toContain("error: with --url the requests name the model");
  const child = Bun.spawnSync([process.execPath, path.join(root, "cli/main.ts"), "batch", at("in.jsonl"), "-"]);
  expect([child.exitCode, child.stderr.toString()]).toEqual([
    2,
    "error: standard input and output cannot be gone on with: name a file in place of -, or ./- for one of that name\n",
  ]);
  rmSync(at("in.jsonl"));
  const { code, said } = await run();
  expect(code).toBe(2);
  expect(said).toMatch(/^error: '.*in\.jsonl' cannot be read: no such file or directory \(ENOENT\)\n$/);
});

test("where the same command would fail again, exit code 2 says so: an output in use, a model that is none, a key that is refused", async () => {
  put(20);
  slowness = 200;
  const first = start(["--max-concurrency", "1"]);
  while (sizeOf("out.jsonl") === 0) await Bun.sleep(5);
  const second = await run();
  first.child.kill("SIGTERM");
  await first.child.exited;
  expect(second).toEqual({
    code: 2,
    said: `error: another process writes to '${at("out.jsonl")}': wait until it has ended, or name another file for the results\n`,
  });

  const args = [process.execPath, path.join(root, "cli/main.ts"), "batch", at("in.jsonl"), at("new.jsonl"), folder];
  const noModel = Bun.spawn([...args, "--device", "cpu"], { stderr: "pipe" });
  const said = await new Response(noModel.stderr).text();
  expect(await noModel.exited).toBe(2);
  expect(said).toMatch(/^0 of 20 requests answered .*; 20 left\nerror: .*\n$/);
  expect(said).not.toContain("same command");

  refusing = true;
  const refused = await run();
  refusing = false;
  expect(refused.code).toBe(2);
  expect(refused.said).toContain(
    "error: the server refuses requests: no such key (HTTP 401); give its key with --api-key\n",
  );
});
