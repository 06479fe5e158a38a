/** The port: who has it, how it is named, and how it is given back. */
import { afterEach, expect, test } from "bun:test";
import * as net from "node:net";
import { MAX_HEADER_BYTES } from "../../src/limits.ts";
import { Service } from "../service.ts";
import { FakeFastgen, until } from "../testing.ts";
import { type Listener, listen } from "./listen.ts";

const open: Listener[] = [];
afterEach(async () => {
  for (const listener of open.splice(0)) await listener.stop();
});

async function serve(host = "127.0.0.1", port = 0, options: ConstructorParameters<typeof Service>[0] = {}) {
  const service = new Service({ accessLog: null, ...options });
  service.ready(new FakeFastgen());
  const listener = await listen(service, host, port);
  open.push(listener);
  return listener;
}

test("a port belongs to one server; the next one is told, and may have another", async () => {
  const { port } = await serve();
  await expect(serve("127.0.0.1", port)).rejects.toMatchObject({
    kind: "unavailable",
    message: expect.stringContaining(`the port is in use; choose another with --port, such as ${port + 1}`),
  });
  await expect(serve("192.0.2.1")).rejects.toThrow("choose an address of this machine with --host");
  for (const host of ["nowhere.invalid", "::1x"]) {
    await expect(serve(host)).rejects.toThrow(`cannot listen on ${host}:0: there is no such host; choose an address`);
  }
  expect((await serve()).port).not.toBe(port);
});

test("its URL can be asked, whatever the family of its address", async () => {
  for (const [host, name] of [
    ["127.0.0.1", "127.0.0.1"],
    ["::1", "[::1]"],
    ["[::1]", "[::1]"],
  ] as const) {
    const { url, port } = await serve(host);
    expect(url.href).toBe(`http://${name}:${port}/`);
    expect((await fetch(new URL("/health", url))).status).toBe(200);
  }
});

test("stopping ends connections that are kept for further requests, and frees the port", async () => {
  const listener = await serve();
  let closed = false;
  let received = "";
  const idle = net.connect(listener.port, "127.0.0.1", () =>
    idle.write("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"),
  );
  idle.on("error", () => {});
  idle.on("data", (bytes) => {
    received += bytes;
  });
  idle.on("close", () => {
    closed = true;
  });
  await until(() => received.includes('"ok"'));
  await listener.stop();
  await until(() => closed);
  open.length = 0;
  expect((await serve("127.0.0.1", listener.port)).port).toBe(listener.port);
});

test("as many connections as the limit says are served; one that closes makes room", async () => {
  const { port } = await serve("127.0.0.1", 0, { maxConnections: 1 });
  const ask = () => {
    const state = { received: "", closed: false };
    const socket = net.connect(port, "127.0.0.1", () =>
      socket.write("GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    );
    socket.on("data", (bytes) => {
      state.received += bytes;
    });
    socket.on("close", () => {
      state.closed = true;
    });
    return { state, socket };
  };
  for (let round = 0; round < 3; round++) {
    const kept = ask();
    await until(() => kept.state.received.includes('"list"'));
    const crowded = ask();
    await until(() => crowded.state.closed);
    expect(crowded.state.received).toStartWith("HTTP/1.1 503");
    kept.socket.end();
    await until(() => kept.state.closed);
  }
});

test("headers are bounded, and the client is told the bound", async () => {
  const { port } = await serve();
  const ask = async (bytes: number) => {
    let received = "";
    const socket = net.connect(port, "127.0.0.1", () =>
      socket.write(`GET /health HTTP/1.1\r\nHost: localhost\r\nX-Pad: ${"x".repeat(bytes)}\r\n\r\n`),
    );
    socket.on("error", () => {});
    socket.on("data", (data) => {
      received += data;
    });
    await until(() => received.includes("}"));
    socket.destroy();
    return received;
  };
  expect(await ask(MAX_HEADER_BYTES - 1024)).toStartWith("HTTP/1.1 200");
  const refused = await ask(MAX_HEADER_BYTES + 1024);
  expect(refused).toStartWith("HTTP/1.1 431");
  expect(refused).toContain(`larger than the ${MAX_HEADER_BYTES} bytes`);
});

test("a request whose head does not arrive is told so, and its connection ends", async () => {
  const { port } = await serve("127.0.0.1", 0, { idleSeconds: 1 });
  const state = { received: "", closed: false };
  const socket = net.connect(port, "127.0.0.1", () => socket.write("GET /health HTTP/1.1\r\nHost: loc"));
  socket.on("data", (bytes) => {
    state.received += bytes;
  });
  socket.on("close", () => {
    state.closed = true;
  });
  await until(() => state.closed, 50);
  expect(state.received).toStartWith("HTTP/1.1 408");
  expect(state.received).toContain("did not arrive in time");
}, 15_000);
