/** A server on a Unix socket. */
import { afterEach, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { Service, type ServiceOptions } from "../service.ts";
import { FakeFastgen } from "../testing.ts";
import { type Listener, listen } from "./listen.ts";

const folder = mkdtempSync(path.join(tmpdir(), "listen-"));
const open: Listener[] = [];
afterEach(async () => {
  for (const listener of open.splice(0)) await listener.stop();
});

async function serve(uds: string, service: Partial<ServiceOptions> = {}) {
  const served = new Service({ accessLog: null, ...service });
  served.ready(new FakeFastgen({ answer: "abc" }));
  const listener = await listen(served, "127.0.0.1", 0, uds);
  open.push(listener);
  return listener;
}

const body = JSON.stringify({ prompt: "Hi", stream: true });
const post = { method: "POST", body, headers: { "content-type": "application/json" } };

const uds = path.join(folder, "fastgen.sock");
const ask = (route: string, init: object = {}) => fetch(`http://localhost${route}`, { unix: uds, ...init });

test("answers and streams, to programs of this machine: also what only they may do", async () => {
  const { url } = await serve(uds, { host: null });
  expect(url.href).toBe(`unix:${uds}`);
  expect(await (await ask("/v1/completions", post)).text()).toEndWith("data: [DONE]\n\n");
  expect((await ask("/pause", { method: "POST" })).status).toBe(200);
});

test("is taken away at the end, and one that a killed server left is replaced", async () => {
  const listener = await serve(uds);
  await listener.stop();
  open.length = 0;
  expect(existsSync(uds)).toBe(false);
  // A socket that nobody listens on any more.
  const code = `require("net").createServer().listen(${JSON.stringify(uds)}, () => process.kill(process.pid, "SIGKILL"))`;
  await Bun.spawn([process.execPath, "-e", code]).exited;
  expect(existsSync(uds)).toBe(true);
  await serve(uds);
  expect((await ask("/health")).status).toBe(200);
});

test("belongs to one server; the next one is told", async () => {
  await serve(uds);
  await expect(serve(uds)).rejects.toThrow("another server listens there; choose another path with --uds");
  expect((await ask("/health")).status).toBe(200);
});

test("never takes the place of a file, or of a folder that is not there", async () => {
  const file = path.join(folder, "notes");
  writeFileSync(file, "text");
  await expect(serve(file)).rejects.toThrow("there is a file of that name");
  expect(readFileSync(file, "utf8")).toBe("text");
  await expect(serve(path.join(folder, "none", "s"))).rejects.toThrow(/cannot listen on .*none/);
  await expect(serve(path.join(folder, "x".repeat(120)))).rejects.toThrow(/cannot listen on/);
  rmSync(folder, { recursive: true });
});
