/** Connections over real sockets: what follows a request on its connection, and bounds on how many there are. */
import { afterEach, expect, spyOn, test } from "bun:test";
import * as http from "node:http";
import * as net from "node:net";
import { MAX_PIPELINED, SPARE_CONNECTIONS } from "../../src/limits.ts";
import { FakeFastgen, stalledAt, startServer, until } from "../testing.ts";
import { Connection } from "./connection.ts";

const PATH = "/v1/completions";
const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  for (const undo of cleanUp.splice(0)) await undo();
});

async function serve(options: Parameters<typeof startServer>[1] = {}, fake = new FakeFastgen()) {
  const server = await startServer(fake, options);
  cleanUp.push(server.stop);
  return server;
}

function connect(port: number, text: string) {
  const state = { received: "", closed: false };
  const socket = net.connect(port, "127.0.0.1", () => socket.write(text));
  socket.on("error", () => {});
  socket.on("close", () => {
    state.closed = true;
  });
  socket.on("data", (bytes) => {
    state.received += bytes.toString("latin1");
  });
  cleanUp.push(() => socket.destroy());
  return { state, socket };
}

/** The port of a bare server for one connection, which answers with a body; `onEnd` hears of the exchange's end. */
async function serveOnce(body: () => ReadableStream, writeSeconds: number, onEnd: () => void): Promise<number> {
  const server = http.createServer();
  server.on("connection", (socket) => {
    const connection = new Connection(socket, { answer: () => new Response(body()), writeSeconds, last: false });
    server.on("request", async (incoming, outgoing) => {
      await connection.answer(incoming, outgoing);
      onEnd();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanUp.push(() => server.close());
  return (server.address() as net.AddressInfo).port;
}

const head = `POST ${PATH} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n`;
function post(body: object): string {
  const json = JSON.stringify(body);
  return `${head}Content-Length: ${json.length}\r\n\r\n${json}`;
}
const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: test\r\n\r\n`;

test("pipelined requests are answered in their order, however long each takes", async () => {
  const gate = Promise.withResolvers<void>();
  const server = await serve({}, new FakeFastgen({ answer: "ab", pace: () => gate.promise }));
  const { state } = connect(server.port, post({ prompt: "a", stream: true }) + get("/v1/models") + get("/nothing"));
  await until(() => server.service.open === 1);
  expect(state.received).toBe("");
  gate.resolve();
  await until(() => state.received.includes("no such path"));
  expect(state.received.match(/HTTP\/1\.1 \d+/g)).toEqual(["HTTP/1.1 200", "HTTP/1.1 200", "HTTP/1.1 404"]);
  expect(state.received.indexOf("[DONE]")).toBeLessThan(state.received.lastIndexOf("HTTP/1.1 200"));
});

test("many pipelined requests are answered in turn, and others between them", async () => {
  const gate = Promise.withResolvers<void>();
  const server = await serve({}, new FakeFastgen({ answer: "ab", pace: () => gate.promise }));
  const count = MAX_PIPELINED - 1;
  const { state } = connect(server.port, post({ prompt: "a" }) + get("/nothing").repeat(count));
  await until(() => server.service.open === 1);
  expect((await fetch(`${server.url}/health`)).status).toBe(200);
  expect(server.service.open).toBe(1);
  const other = connect(server.port, "");
  await until(() => other.socket.readyState === "open");
  gate.resolve();
  other.socket.write(get("/v1/models"));
  await until(() => state.received.split("HTTP/1.1 404").length > count);
  const paths = server.accessLog.map(({ path }) => path);
  expect(paths).toContain("/v1/models");
  expect(paths.indexOf("/v1/models")).toBeLessThan(count);
  expect(state.closed).toBe(false);
});

test("a connection that pipelines too many requests closes at once, and its request ends", async () => {
  const fake = new FakeFastgen({ answer: "ab", pace: () => new Promise(() => {}) });
  const server = await serve({}, fake);
  const { state } = connect(server.port, post({ prompt: "a" }) + get("/health").repeat(MAX_PIPELINED));
  await until(() => state.closed);
  expect(state.received).toBe("");
  expect(fake.calls.every((call) => call.aborted)).toBe(true);
});

test("too many requests that are answered at once are not answered in one go either", async () => {
  const server = await serve();
  const { state } = connect(server.port, get("/v1/models").repeat(20 * MAX_PIPELINED));
  await until(() => state.closed);
  expect(server.accessLog.length).toBeLessThan(20 * MAX_PIPELINED);
});

test("requests that wait on all connections together are bounded: connections that bring more close", async () => {
  const gate = Promise.withResolvers<void>();
  const server = await serve({}, new FakeFastgen({ answer: "ab", pace: () => gate.promise }));
  const text = post({ prompt: "a" }) + get("/health").repeat(MAX_PIPELINED - 1);
  const clients = Array.from({ length: 70 }, () => connect(server.port, text));
  await until(() => clients.some(({ state }) => state.closed));
  // Those who leave give back what they held.
  for (const { socket } of clients) socket.destroy();
  gate.resolve();
  await until(() => server.service.open === 0);
  const later = connect(server.port, text);
  await until(() => later.state.received.split('"status":"ok"').length === MAX_PIPELINED);
}, 30_000);

test("noise after a request: its answer comes whole, then the connection ends", async () => {
  const gate = Promise.withResolvers<void>();
  const fake = new FakeFastgen({ answer: "ab", pace: () => gate.promise });
  const server = await serve({}, fake);
  const { state } = connect(server.port, `${post({ prompt: "a", stream: true })}\x16\x03\r\n\r\n`);
  await until(() => fake.calls.length === 1);
  gate.resolve();
  await until(() => state.closed);
  expect(state.received.match(/HTTP\/1\.1 \d+/g)).toEqual(["HTTP/1.1 200"]);
  expect(state.received).toContain("[DONE]");
});

test("noise in a body: the request is refused at once, and the connection ends", async () => {
  const server = await serve();
  const { state } = connect(server.port, `${head}Transfer-Encoding: chunked\r\n\r\n5\r\n{"pro\r\nzz\r\n`);
  await until(() => state.closed);
  expect(state.received).toMatch(/^HTTP\/1\.1 400 [\s\S]*"invalid_request_error"/);
  expect(server.service.open).toBe(0);
});

test("trailers are ignored, and the connection goes on", async () => {
  const server = await serve();
  const body = '{"prompt":"a","max_tokens":1}';
  const chunked = `${head}Transfer-Encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n${body}\r\n0\r\nX-Sum: 1\r\n\r\n`;
  const { state } = connect(server.port, chunked + get("/health"));
  await until(() => state.received.includes('"status":"ok"'));
  expect(state.received.match(/HTTP\/1\.1 \d+/g)).toEqual(["HTTP/1.1 200", "HTTP/1.1 200"]);
});

test("connections: beyond the bound a 503 or a probe's answer, far beyond it none", async () => {
  const server = await serve({ maxConnections: 2 });
  const kept = [connect(server.port, get("/v1/models")), connect(server.port, get("/v1/models"))];
  await until(() => kept.every(({ state }) => state.received.includes('"list"')));
  const refused = connect(server.port, get("/v1/models"));
  await until(() => refused.state.closed);
  expect(refused.state.received).toMatch(/^HTTP\/1\.1 503 [\s\S]*connection: close[\s\S]*too_many_connections/i);
  const probe = connect(server.port, get("/health"));
  await until(() => probe.state.closed);
  expect(probe.state.received).toStartWith("HTTP/1.1 200");
  // Those that say nothing whole hold their places, as far as there are any.
  const half = Array.from({ length: SPARE_CONNECTIONS + 8 }, () => connect(server.port, "GET /health HTTP/1.1\r\n"));
  await until(() => half.filter(({ state }) => state.closed).length === 8);
  expect(half.every(({ state }) => state.received === "")).toBe(true);
  for (const { socket } of half) socket.destroy();
  kept[0]!.socket.write(get("/health"));
  await until(() => kept[0]!.state.received.includes('"status":"ok"'));
});

test("the rest of a refused body is dropped, and the connection goes on", async () => {
  const server = await serve({ maxBodyBytes: 200_000 });
  const body = "x".repeat(600_000);
  const { state } = connect(server.port, `${head}Content-Length: ${body.length}\r\n\r\n${body}${get("/health")}`);
  await until(() => state.received.includes('"status":"ok"'));
  expect(state.received.match(/HTTP\/1\.1 \d+/g)).toEqual(["HTTP/1.1 413", "HTTP/1.1 200"]);
});

test("a body that says it is too large is refused before it comes", async () => {
  const server = await serve({ maxBodyBytes: 200_000 });
  const { state } = connect(server.port, `${head}Content-Length: 200001\r\n\r\n`);
  await until(() => state.received.includes("request_too_large"));
  expect(state.received).toStartWith("HTTP/1.1 413");
});

test("a body waits outside until it is asked for", async () => {
  const gate = Promise.withResolvers<void>();
  const answer = async (request: Request) => {
    const reader = request.body!.getReader();
    let size = 0;
    for (let read = await reader.read(); !read.done; read = await reader.read()) {
      size += read.value.length;
      await gate.promise;
    }
    return new Response(String(size));
  };
  let arrived = 0;
  const server = http.createServer();
  server.on("connection", (socket) => {
    const connection = new Connection(socket, { answer, writeSeconds: 60, last: false });
    server.on("request", (incoming, outgoing) => {
      void connection.answer(incoming, outgoing);
      incoming.on("data", (bytes) => {
        arrived += bytes.length;
      });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanUp.push(() => server.close());
  const piece = "x".repeat(1024 * 1024);
  const length = 64 * piece.length;
  const { port } = server.address() as net.AddressInfo;
  const { state, socket } = connect(port, `${head}Content-Length: ${length}\r\n\r\n`);
  socket.once("connect", () => {
    for (let i = 0; i < 64; i++) socket.write(piece);
  });
  let before = -1;
  await until(() => {
    const stalled = socket.bytesWritten > 0 && arrived === before;
    before = arrived;
    return stalled;
  }, 500);
  expect(arrived).toBeLessThan(length / 2);
  gate.resolve();
  await until(() => state.received.endsWith(String(length)));
}, 30_000);

test("an exchange ends when its client goes away, also one that waits for it to read", async () => {
  let pulled = 0;
  const endless = () =>
    new ReadableStream({
      pull(controller) {
        pulled++;
        controller.enqueue(new Uint8Array(64 * 1024));
      },
    });
  let ended = false;
  const port = await serveOnce(endless, 600, () => {
    ended = true;
  });
  const { socket } = connect(port, get("/"));
  socket.pause();
  await stalledAt(() => pulled, 500);
  expect(ended).toBe(false);
  socket.destroy();
  await until(() => ended);
}, 30_000);

test("a client that was slow once is not cut off later: its clock ends when it reads", async () => {
  const WRITE_SECONDS = 54_321;
  const set = spyOn(globalThis, "setTimeout");
  const clear = spyOn(globalThis, "clearTimeout");
  cleanUp.push(
    () => set.mockRestore(),
    () => clear.mockRestore(),
  );
  let pulled = 0;
  const large = new ReadableStream({
    pull(controller) {
      if (++pulled > 512) controller.close();
      else controller.enqueue(new Uint8Array(64 * 1024));
    },
  });
  let ended = false;
  const port = await serveOnce(
    () => large,
    WRITE_SECONDS,
    () => {
      ended = true;
    },
  );
  const { socket } = connect(port, get("/"));
  socket.pause();
  const clocks = () => set.mock.results.filter((_, i) => set.mock.calls[i]![1] === WRITE_SECONDS * 1000);
  await until(() => clocks().length > 0);
  socket.resume();
  await until(() => ended);
  const cleared = new Set<unknown>(clear.mock.calls.map(([timer]) => timer));
  for (const { value } of clocks()) expect(cleared.has(value)).toBe(true);
}, 30_000);
