/** The bounds on connections: how many, how long they may be idle, and how long headers may take. */
import { afterEach, describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { RESERVED_DESCRIPTORS, SPARE_CONNECTIONS } from "../src/limits.ts";
import { connect, missing, model, type RunningServer, startServer, until } from "./server.ts";

const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  for (const undo of cleanUp.splice(0)) await undo();
});

async function start(args: string[], descriptors?: number): Promise<RunningServer> {
  const server = await startServer(args, model, { descriptors });
  cleanUp.push(server.stop);
  return server;
}

type Client = Awaited<ReturnType<typeof connect>>;

async function open(server: RunningServer, count: number): Promise<Client[]> {
  const clients = await Promise.all(Array.from({ length: count }, () => connect(server.port)));
  for (const client of clients) cleanUp.push(client.drop);
  return clients;
}

const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`;
const answered = ({ state }: Client) => state.closed || /^HTTP\/1\.1 .*\r\n[\s\S]*}$/.test(state.received);
/** The statuses of the last request that each was asked; null = closed without an answer. */
async function ask(clients: Client[], path: string): Promise<(number | null)[]> {
  for (const { state, send } of clients) {
    state.received = "";
    send(get(path));
  }
  await until(() => clients.every(answered));
  return clients.map(({ state }) => Number(/^HTTP\/1\.1 (\d+)/.exec(state.received)?.[1] ?? 0) || null);
}

describe.skipIf(missing !== null)(`connections (${missing ?? "executable"})`, () => {
  test("beyond --max-connections a request is a 503 that says so, and a probe is answered", async () => {
    const server = await start(["--max-connections", "3"]);
    const first = await open(server, 3);
    expect(await ask(first, "/v1/models")).toEqual([200, 200, 200]);
    const [fourth, probe] = (await open(server, 2)) as [Client, Client];
    expect(await ask([fourth], "/v1/models")).toEqual([503]);
    expect(fourth.state.received).toMatch(/\r\nretry-after: \d+\r\n/i);
    const body = JSON.parse(fourth.state.received.split("\r\n\r\n")[1]!);
    expect(body.error).toMatchObject({ type: "server_error", code: "too_many_connections", param: null });
    expect(body.error.message).toContain("--max-connections");
    expect(await ask([probe], "/health")).toEqual([200]);
    // Neither keeps its place, and those within the limit go on.
    await until(() => fourth.state.closed && probe.state.closed);
    expect(await ask(first, "/v1/models")).toEqual([200, 200, 200]);
    first.pop()!.drop();
    await until(async () => (await ask(await open(server, 1), "/v1/models"))[0] === 200);
  });

  test("a process with few file descriptors never runs out of them", async () => {
    const limit = 256;
    const room = limit - RESERVED_DESCRIPTORS - SPARE_CONNECTIONS;
    const server = await start([], limit);
    const first = await open(server, room);
    expect(new Set(await ask(first, "/v1/models"))).toEqual(new Set([200]));
    const more = await open(server, limit);
    const statuses = await ask(more, "/v1/models");
    expect(statuses).toContain(503);
    expect(statuses.every((status) => status === 503 || status === null)).toBe(true);
    expect(readdirSync(`/proc/${server.pid}/fd`).length).toBeLessThan(limit - 32);
    // Clients that send nothing take nobody's place for longer than headers may take; those that are in go on.
    expect(new Set(await ask(first, "/v1/models"))).toEqual(new Set([200]));
  });

  test("headers that do not arrive, idle connections: closed after --timeout-keep-alive", async () => {
    const server = await start(["--timeout-keep-alive", "1"]);
    const clients = await open(server, 4);
    const [silent, half, drip, idle] = clients as [Client, Client, Client, Client];
    half.send("GET /v1/models HTTP/1.1\r\nHost: te");
    idle.send(get("/v1/models"));
    const timer = setInterval(() => drip.send("X"), 100);
    cleanUp.push(() => clearInterval(timer));
    drip.send("GET /v1/models HTTP/1.1\r\n");
    await until(() => clients.every(({ state }) => state.closed));
    expect(idle.state.received).toMatch(/^HTTP\/1\.1 200 [\s\S]*}$/);
    for (const { state } of [silent, half, drip])
      expect(state.received).toMatch(/^HTTP\/1\.1 408 [\s\S]*"request_timeout"/);
  });

  test("an answer may take longer than a connection may be idle", async () => {
    const server = await start(["--timeout-keep-alive", "1"]);
    const body = { prompt: "Once", max_tokens: 8000, ignore_eos: true, stream: true };
    const started = performance.now();
    const reply = await fetch(`${server.url}/v1/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    const decoder = new TextDecoder();
    for await (const bytes of reply.body!) {
      expect(decoder.decode(bytes)).toContain("data: ");
      if (performance.now() - started > 4000) return;
    }
  });
});
