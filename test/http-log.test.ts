/** The executable's log, where its reader does not read, has gone, or has no room; and an end that waits for nothing vain. */
import { afterEach, describe, expect, test } from "bun:test";
import { closeSync, constants, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { connect, missing, type RunningServer, startServer, until } from "./server.ts";

const folder = mkdtempSync(path.join(tmpdir(), "fgserve-log-"));
const servers: RunningServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.stop();
});
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));

async function start(args: string[] = [], stderr: "pipe" | number = "pipe"): Promise<RunningServer> {
  const server = await startServer(args, null, { stderr });
  servers.push(server);
  return server;
}

/** Both ends of a pipe with a name. */
function pipe(name: string): [reader: number, writer: number] {
  const fifo = path.join(folder, name);
  Bun.spawnSync(["mkfifo", fifo]);
  const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
  return [reader, openSync(fifo, constants.O_WRONLY)];
}

/** Requests whose log lines are 1 MB together: far more than a pipe holds. */
async function chatter(server: RunningServer): Promise<void> {
  for (let i = 0; i < 20; i++) {
    const replies = Array.from({ length: 100 }, () => fetch(`${server.url}/v1/${"x".repeat(400)}`));
    for (const reply of await Promise.all(replies)) expect(reply.status).toBe(404);
  }
}

async function endsWell(server: RunningServer): Promise<void> {
  expect((await fetch(`${server.url}/health`)).status).toBe(200);
  const before = performance.now();
  server.kill("SIGTERM");
  expect(await server.exited).toBe(0);
  expect(performance.now() - before).toBeLessThan(10_000);
}

describe.skipIf(missing !== null)(`fgserve's log (${missing ?? "executable"})`, () => {
  test("a pipe that nobody reads", async () => {
    const [reader, writer] = pipe("unread");
    const server = await start([], writer);
    closeSync(writer);
    await chatter(server);
    await endsWell(server);
    closeSync(reader);
  }, 30_000);

  test("a pipe whose reader has gone", async () => {
    const [reader, writer] = pipe("closed");
    const server = await start([], writer);
    closeSync(writer);
    closeSync(reader);
    await chatter(server);
    await endsWell(server);
  }, 30_000);

  test("a disk that is full", async () => {
    const full = openSync("/dev/full", "w");
    const server = await start([], full);
    closeSync(full);
    await chatter(server);
    await endsWell(server);
  }, 30_000);

  test("SIGTERM does not wait for a body that was half sent", async () => {
    const server = await start();
    const client = await connect(server.port);
    client.send(
      "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{",
    );
    // Its record is open once another request, sent later, has been answered.
    await until(async () => (await fetch(`${server.url}/version`)).status === 200);
    await endsWell(server);
    expect(client.state.received).toStartWith("HTTP/1.1 503");
  }, 30_000);
});
