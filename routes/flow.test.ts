/** Streams and bodies over real sockets: clients that do not read, do not finish, or go away. */
import { afterEach, describe, expect, test } from "bun:test";
import * as net from "node:net";
import { FastgenError } from "../src/errors.ts";
import { SMALL_BODY_BYTES } from "../src/limits.ts";
import { FakeFastgen, stalledAt, startServer, until } from "./testing.ts";

const PATH = "/v1/completions";
const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  for (const undo of cleanUp.splice(0)) await undo();
});

async function serve(fake: FakeFastgen, options: Parameters<typeof startServer>[1] = {}) {
  const server = await startServer(fake, options);
  cleanUp.push(server.stop);
  return server;
}

/** A connection that sends `text`, and reads only if asked to. */
function connect(port: number, text: string, { reads = true } = {}) {
  const state = { received: "", closed: false };
  const socket = net.connect(port, "127.0.0.1", () => socket.write(text));
  socket.on("error", () => {});
  socket.on("close", () => {
    state.closed = true;
  });
  if (reads) socket.on("data", (bytes) => (state.received += bytes.toString("latin1")));
  else socket.pause();
  cleanUp.push(() => socket.destroy());
  return { state, socket };
}

function head(length: number, more = ""): string {
  return `POST ${PATH} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n${more}Content-Length: ${length}\r\n\r\n`;
}

function post(body: object): string {
  const json = JSON.stringify(body);
  return head(Buffer.byteLength(json)) + json;
}

const endless = { prompt: "a", max_tokens: 10_000_000, stream: true };
/** An answer that overflows every buffer on its way, many tokens between two turns of the event loop. */
function talkative() {
  let tokens = 0;
  return new FakeFastgen({
    answer: "x".repeat(10_000_000),
    max_model_len: 100_000_000,
    pace: () => (++tokens % 64 === 0 ? new Promise<void>((resolve) => setImmediate(resolve)) : undefined),
  });
}

describe("a stream that nobody reads", () => {
  test("is pulled no further, is ended after its time, and holds up nobody else", async () => {
    const fake = talkative();
    const server = await serve(fake, { streamWriteSeconds: 1, maxQueued: 2 });
    const client = connect(server.port, post(endless), { reads: false });
    const last = await stalledAt(() => fake.calls[0]?.tokens ?? 0, 100);
    // The sockets' buffers hold about 4 MB: this much is read ahead and no more.
    expect(last).toBeLessThan(100_000);
    expect((await server.post(PATH, { prompt: "b", max_tokens: 1 })).status).toBe(200);
    await until(() => fake.calls[0]!.aborted);
    await until(() => server.accessLog.some(({ error }) => error === "aborted"));
    expect(server.accessLog.find(({ error }) => error === "aborted")).toMatchObject({
      message: "the client read nothing for 1 seconds",
    });
    client.socket.resume();
    await until(() => client.state.closed);
    // Its place in the queue is free again.
    expect((await server.post(PATH, { prompt: ["b", "c"], max_tokens: 1 })).status).toBe(200);
  }, 30_000);

  test("goes on when it is read", async () => {
    const fake = talkative();
    const server = await serve(fake, { streamWriteSeconds: 30 });
    const client = connect(server.port, post({ ...endless, max_tokens: 40_000 }), { reads: false });
    const last = await stalledAt(() => fake.calls[0]?.tokens ?? 0, 100);
    expect(last).toBeLessThan(40_000);
    client.socket.on("data", (bytes) => (client.state.received += bytes.toString("latin1")));
    client.socket.resume();
    await until(() => client.state.received.includes("[DONE]"));
    expect(client.state.received.match(/"text":"x"/g)).toHaveLength(40_000);
  }, 30_000);

  test("ends the one that is pipelined behind it too", async () => {
    const fake = talkative();
    const server = await serve(fake, { streamWriteSeconds: 1 });
    const client = connect(server.port, post(endless) + post(endless), { reads: false });
    await until(() => fake.calls[0]?.aborted === true);
    expect(fake.calls).toHaveLength(1);
    expect(fake.calls[0]!.tokens).toBeLessThan(100_000);
    client.socket.resume();
    await until(() => client.state.closed);
    expect(server.service.open).toBe(0);
  }, 30_000);

  test("a generation that takes its time is not ended for that", async () => {
    const gate = Promise.withResolvers<void>();
    const fake = new FakeFastgen({ answer: "ab", pace: () => gate.promise });
    const server = await serve(fake, { streamWriteSeconds: 1 });
    const client = connect(server.port, post(endless));
    await Bun.sleep(6000);
    gate.resolve();
    await until(() => client.state.received.includes("[DONE]"));
    expect(client.state.closed).toBe(false);
  }, 30_000);
});

describe("a stream", () => {
  test("begins with its first token, and no token waits for the next", async () => {
    const gates = [0, 1].map(() => Promise.withResolvers<void>());
    let paced = 0;
    const server = await serve(new FakeFastgen({ answer: "ab", pace: () => gates[paced++]?.promise }));
    const client = connect(server.port, post({ prompt: "a", stream: true }));
    await until(() => paced === 1);
    // Another request, from its beginning to its end.
    expect((await fetch(`${server.url}/health`)).status).toBe(200);
    expect(client.state.received).toBe("");
    gates[0]!.resolve();
    await until(() => client.state.received.includes('"text":"a"'));
    expect(client.state.received).toStartWith("HTTP/1.1 200 OK\r\n");
    expect(paced).toBe(2);
    gates[1]!.resolve();
    await until(() => client.state.received.includes("[DONE]"));
  });

  const messages = [{ role: "user", content: "a" }];
  test.each<[string, object]>([
    [PATH, { prompt: "a" }],
    ["/v1/chat/completions", { messages }],
    ["/v1/responses", { input: "a" }],
    ["/v1/messages", { messages, max_tokens: 9 }],
  ])("has a status of its own where it fails before that: %s", async (path, body) => {
    const error = new FastgenError("device", "the GPU is gone");
    const server = await serve(new FakeFastgen({ answer: "ab", failAfter: 0, error }), { maxQueued: 1 });
    // The first one's place in the queue is free for the second.
    for (const _ of [1, 2]) {
      const reply = await server.post(path, { ...body, stream: true });
      expect(reply.status).toBe(500);
      expect(await reply.json()).toMatchObject({ error: { message: "the GPU is gone" } });
      expect(server.accessLog.at(-1)).toMatchObject({ status: 500, error: "device" });
    }
  });
});

describe("bodies", () => {
  test("draining does not wait for one that has not arrived, and answers it", async () => {
    const fake = new FakeFastgen();
    const server = await serve(fake);
    const half = connect(server.port, `${head(1000)}{"prompt":`);
    const chunked = connect(
      server.port,
      `POST ${PATH} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"pro\r\n`,
    );
    await until(() => server.service.open === 2);
    expect(await server.service.drain(10)).toBe(true);
    for (const { state } of [half, chunked]) {
      await until(() => state.received.includes("shutting down"));
      expect(state.received).toStartWith("HTTP/1.1 503");
    }
    expect(fake.calls).toHaveLength(0);
  });

  test("large ones are bounded together; small ones always pass; room comes back", async () => {
    const server = await serve(new FakeFastgen({ max_model_len: 10_000_000 }), {
      maxBodyBytes: 300_000,
      maxTotalBodyBytes: 400_000,
    });
    const prompt = "x".repeat(250_000);
    const json = JSON.stringify({ prompt, max_tokens: 1 });
    const first = connect(server.port, head(json.length) + json.slice(0, -10));
    await until(() => server.service.open === 1);
    const small = { prompt: "x".repeat(SMALL_BODY_BYTES - 100), max_tokens: 1 };
    let refused: Response | null = null;
    // The first one's bytes may still be on their way.
    for (let i = 0; i < 50 && refused?.status !== 429; i++) refused = await server.post(PATH, json);
    expect(refused!.status).toBe(429);
    expect(await refused!.text()).toContain("--max-total-body-bytes");
    expect((await server.post(PATH, small)).status).toBe(200);
    first.socket.write(json.slice(-10));
    await until(() => first.state.received.startsWith("HTTP/1.1 200"));
    expect((await server.post(PATH, json)).status).toBe(200);
    // One that goes away gives its room back too.
    const gone = connect(server.port, head(json.length) + json.slice(0, -10));
    await until(() => server.service.open === 1);
    gone.socket.destroy();
    await until(() => server.service.open === 0);
    expect((await server.post(PATH, json)).status).toBe(200);
  });

  test("compressed ones are refused", async () => {
    const server = await serve(new FakeFastgen());
    const body = Bun.gzipSync(Buffer.from(JSON.stringify({ prompt: "a" })));
    const reply = await server.post(PATH, body, { "content-encoding": "gzip" });
    expect(reply.status).toBe(415);
    expect(await reply.text()).toContain("Content-Encoding 'gzip'");
    expect((await server.post(PATH, { prompt: "a" }, { "content-encoding": "identity" })).status).toBe(200);
  });

  test("a client still sending a body that is refused gets to read why", async () => {
    const server = await serve(new FakeFastgen());
    const bytes = `{"prompt":"a","user":${"[".repeat(1_000_000)}`;
    const client = connect(server.port, head(bytes.length) + bytes);
    await until(() => client.state.received.includes("levels of nesting"));
    expect(client.state.received).toStartWith("HTTP/1.1 400");
  });

  test.each(["Connection: close\r\n", ""])(
    "one that sends all before it reads finds its connection whole (%j)",
    async (more) => {
      const server = await serve(new FakeFastgen(), { maxBodyBytes: 100_000 });
      const length = 2_000_000;
      const { state, socket } = connect(server.port, head(length, more));
      await until(() => state.received.includes("--max-body-bytes"));
      for (let sent = 0; sent < length; sent += 50_000) {
        expect(state.closed).toBe(false);
        await new Promise((resolve) => socket.write("x".repeat(50_000), resolve));
      }
      if (more === "") socket.end();
      await until(() => state.closed);
      expect(state.received).toStartWith("HTTP/1.1 413");
    },
  );

  test("one that never comes does not keep its connection", async () => {
    const server = await serve(new FakeFastgen());
    const { state } = connect(server.port, head(1000, "Connection: close\r\nContent-Encoding: gzip\r\n"));
    await until(() => state.closed);
    expect(state.received).toStartWith("HTTP/1.1 415");
  }, 30_000);
});

describe("requests", () => {
  const bounded = { maxRequests: 1 };

  test("open at once are bounded; probes are not", async () => {
    const gate = Promise.withResolvers<void>();
    const server = await serve(new FakeFastgen({ pace: () => gate.promise }), bounded);
    const running = server.post(PATH, { prompt: "a", max_tokens: 1 });
    await until(() => server.service.open === 1);
    const refused = await server.post(PATH, { prompt: "a", max_tokens: 1 });
    expect(refused.status).toBe(429);
    expect(await refused.text()).toContain("1 requests are open");
    expect((await fetch(`${server.url}/health`)).status).toBe(200);
    gate.resolve();
    expect((await running).status).toBe(200);
    expect((await server.post(PATH, { prompt: "a", max_tokens: 1 })).status).toBe(200);
  });

  test("a client that asks first is told to send its body only if it is wanted", async () => {
    const server = await serve(new FakeFastgen({ answer: "ab" }), { maxBodyBytes: 100 });
    const ask = (length: number) => head(length).replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
    const refused = connect(server.port, ask(101));
    await until(() => refused.state.closed);
    expect(refused.state.received).toStartWith("HTTP/1.1 413");
    const body = '{"prompt":"a"}';
    const wanted = connect(server.port, ask(body.length));
    await until(() => wanted.state.received === "HTTP/1.1 100 Continue\r\n\r\n");
    wanted.socket.write(body);
    await until(() => /HTTP\/1\.1 200 .*}$/s.test(wanted.state.received));
    expect(wanted.state.closed).toBe(false);
  });

  const get = (lines: string) => `GET /health HTTP/1.${lines}\r\n\r\n`;
  test.each([
    ["HTTP/1.0 without Host", get("0"), 200],
    ["HTTP/1.0 with Host", get("0\r\nHost: a"), 200],
    ["HTTP/1.1 without Host", get("1"), 400],
    ["two Host headers", get("1\r\nHost: a\r\nHost: b"), 400],
    ["two equal Host headers", get("1\r\nHost: a\r\nHost: a"), 400],
    ["a Host with a path", get("1\r\nHost: a/b"), 400],
    ["a Host with a port", get("1\r\nHost: [::1]:80"), 200],
    ["an empty Host", get("1\r\nHost:"), 200],
    ["an absolute target", get("1\r\nHost: a").replace("/health", "http://b/health"), 200],
    ["a target that is no URL", get("1\r\nHost: a").replace("/health", "http://["), 400],
    ["CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400],
    ["an unknown expectation", get("1\r\nHost: a\r\nExpect: more"), 200],
    ["compression in transfer", get("1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked"), 501],
    ["a method that no route takes", get("1\r\nHost: a").replace("GET", "TRACE"), 405],
    ["an upgrade to HTTP/2", get("1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c"), 200],
    ["a POST of HTTP/1.0", post({ prompt: "a", max_tokens: 1 }).replace("1.1\r\nHost: test", "1.0"), 200],
  ])("%s: %p is a %d", async (_, text, status) => {
    const server = await serve(new FakeFastgen());
    const client = connect(server.port, text);
    await until(() => /\r\n\r\n.*}$/s.test(client.state.received));
    expect(client.state.received).toStartWith(`HTTP/1.1 ${status}`);
  });

  test("HEAD has GET's length", async () => {
    const server = await serve(new FakeFastgen());
    for (const path of ["/health", "/version", "/v1/models", "/nothing"]) {
      const length = (await (await fetch(server.url + path)).arrayBuffer()).byteLength;
      const client = connect(server.port, `HEAD ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
      await until(() => client.state.received.endsWith("\r\n\r\n"));
      expect(/content-length: (\d+)/i.exec(client.state.received)?.[1]).toBe(String(length));
    }
  });
});
