/** Raw connections to the executable: what no HTTP client would send, and clients that disconnect. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { MAX_HEADER_BYTES } from "../src/limits.ts";
import { connect, missing, post, type RunningServer, startServer, until } from "./server.ts";

const PATH = "/v1/chat/completions";
const messages = [{ role: "user", content: "Tell me a long story." }];
const short = { messages, max_tokens: 2 };
/** Runs for longer than the client stays. */
const long = { messages, max_tokens: 4000, ignore_eos: true };

describe.skipIf(missing !== null)(`raw sockets (${missing ?? "executable"})`, () => {
  let server: RunningServer;
  beforeAll(async () => {
    server = await startServer();
  });
  afterAll(() => server?.stop());

  const gauge = async (name: string) => {
    const text = await (await fetch(`${server.url}/metrics`)).text();
    return Number(new RegExp(`^vllm:${name}\\S* (\\S+)$`, "m").exec(text)![1]);
  };
  /** Nothing runs, nothing waits. */
  const idle = async () => (await gauge("num_requests_running")) + (await gauge("num_requests_waiting")) === 0;

  for (const stream of [true, false]) {
    test(`a client that disconnects frees its sequence (stream: ${stream})`, async () => {
      const client = await connect(server.port);
      client.send(post(PATH, { ...long, stream }));
      if (stream) await client.see(/"content":"[^"]/);
      await until(async () => (await gauge("num_requests_running")) === 1);
      client.drop();
      await until(idle, 2000);
      await until(() => server.log().includes('"error":"aborted"'), 2000);
    });
  }

  test("thirty-two clients that disconnect at once disturb no other request", async () => {
    const other = fetch(server.url + PATH, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ messages, max_tokens: 24, temperature: 0, ignore_eos: true }),
    });
    const clients = await Promise.all(Array.from({ length: 32 }, () => connect(server.port)));
    for (const client of clients) client.send(post(PATH, { ...long, stream: true }));
    await until(async () => (await gauge("num_requests_running")) > 8);
    for (const client of clients) client.drop();
    const reply = (await (await other).json()) as { usage: { completion_tokens: number } };
    expect(reply.usage.completion_tokens).toBe(24);
    await until(idle, 5000);
  });

  test("half a body, then a close: nothing is run, and the server goes on", async () => {
    const client = await connect(server.port);
    client.send(post(PATH, long).slice(0, -20));
    await Bun.sleep(50);
    client.drop();
    await until(() => server.log().includes('"status":499'));
    expect(await idle()).toBe(true);
  });

  test("a body that arrives a few bytes at a time", async () => {
    const client = await connect(server.port);
    const bytes = post(PATH, short);
    for (let i = 0; i < bytes.length; i += 16) {
      client.send(bytes.slice(i, i + 16));
      await Bun.sleep(2);
    }
    await client.see(/^HTTP\/1\.1 200 [\s\S]*"finish_reason":"length"/);
    client.drop();
  });

  test("a chunked body", async () => {
    const client = await connect(server.port);
    const json = JSON.stringify(short);
    const head = `POST ${PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n`;
    client.send(
      `${head}5\r\n${json.slice(0, 5)}\r\n${(json.length - 5).toString(16)}\r\n${json.slice(5)}\r\n0\r\n\r\n`,
    );
    await client.see(/^HTTP\/1\.1 200 /);
    client.drop();
  });

  test("several requests in turn on one connection", async () => {
    const client = await connect(server.port);
    for (const id of ["first", "second", "third"]) {
      client.send(post(PATH, short, `X-Request-Id: ${id}\r\n`));
      await client.see(new RegExp(`x-request-id: ${id}[\\s\\S]*"finish_reason":"length"[\\s\\S]*}$`, "i"));
    }
    client.drop();
  });

  test("pipelined requests are answered in their order, whole answers and streams", async () => {
    const client = await connect(server.port);
    const request = (id: string, body: object) => post(PATH, body, `X-Request-Id: ${id}\r\n`);
    const health = "GET /health HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: last\r\n\r\n";
    client.send(request("slow", { ...short, max_tokens: 64 }) + request("stream", { ...short, stream: true }));
    client.send(request("quick", short) + health);
    await client.see(/x-request-id: last\r\n[\s\S]*}$/i);
    const order = [...client.state.received.matchAll(/^x-request-id: (.*)\r$/gim)].map((match) => match[1]);
    expect(order).toEqual(["slow", "stream", "quick", "last"]);
    expect(client.state.received.match(/HTTP\/1\.1 200 /g)).toHaveLength(4);
    expect(client.state.received.match(/\[DONE\]/g)).toHaveLength(1);
    client.drop();
    await until(idle);
  });

  test("a client that goes away ends the requests that it has pipelined", async () => {
    const client = await connect(server.port);
    client.send(post(PATH, long) + post(PATH, { ...long, stream: true }) + post(PATH, long));
    await until(async () => (await gauge("num_requests_running")) === 1);
    client.drop();
    await until(idle, 5000);
  });

  test("noise after a request: the request is answered, then the connection ends", async () => {
    const client = await connect(server.port);
    client.send(`${post(PATH, short)}\x16\x03\x01\r\n\r\n`);
    await until(() => client.state.closed);
    expect(client.state.received.match(/^HTTP\/1\.1 /gm)).toHaveLength(1);
    expect(client.state.received).toMatch(/^HTTP\/1\.1 200 [\s\S]*"finish_reason":"length"/);
  });

  test("a client that closes its side has gone: its request ends", async () => {
    const client = await connect(server.port);
    client.send(post(PATH, { ...long, stream: true }));
    await client.see(/"content":"[^"]/);
    client.shut();
    await until(() => client.state.closed);
    await until(idle, 5000);
  });

  const chunked = `POST ${PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n`;
  test("trailers after a chunked body are ignored, and the connection goes on", async () => {
    const client = await connect(server.port);
    const json = JSON.stringify(short);
    const trailers = `X-Checksum: 1\r\nContent-Type: text/plain\r\nX-Request-Id: trailer\r\n\r\n`;
    client.send(`${chunked}Trailer: X-Checksum\r\n\r\n${json.length.toString(16)}\r\n${json}\r\n0\r\n${trailers}`);
    await client.see(/^HTTP\/1\.1 200 [\s\S]*"finish_reason":"length"[\s\S]*}$/);
    expect(client.state.received).not.toContain("trailer");
    client.send(post(PATH, short, "X-Request-Id: next\r\n"));
    await client.see(/x-request-id: next\r\n[\s\S]*}$/i);
    client.drop();
  });

  test("a chunk without a size is refused at once, in the API's shape", async () => {
    const client = await connect(server.port);
    client.send(`${chunked}\r\n5\r\n{"mes\r\nzz\r\n`);
    await client.see(/^HTTP\/1\.1 400 [\s\S]*"invalid_request_error"/);
    await until(() => client.state.closed);
  });

  test("oversized headers are a 431", async () => {
    const client = await connect(server.port);
    client.send(`GET /health HTTP/1.1\r\nHost: localhost\r\nX-Long: ${"x".repeat(MAX_HEADER_BYTES)}\r\n\r\n`);
    await client.see(/^HTTP\/1\.1 431 [\s\S]*"headers_too_large"/);
    await until(() => client.state.closed);
  });

  test("a body announced as huge is refused before it is sent", async () => {
    const client = await connect(server.port);
    const head = `POST ${PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n`;
    client.send(`${head}Content-Length: 100000000000\r\n\r\n{"messages"`);
    await client.see(/^HTTP\/1\.1 413 [\s\S]*"request_too_large"/);
    await until(() => client.state.closed);
  });

  for (const [name, bytes] of [
    ["noise", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"],
    ["a bad version", "GET / HTTP/9.9\r\nHost: localhost\r\n\r\n"],
    ["a length and chunks", `${chunked}Content-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n`],
    ["two lengths", `POST ${PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x`],
    ["a negative length", `POST ${PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n{}`],
  ] as const) {
    test(`${name}: refused, and the connection closed`, async () => {
      const client = await connect(server.port);
      client.send(bytes);
      await until(() => client.state.closed, 5000);
      expect(client.state.received).toMatch(/^HTTP\/1\.1 400 [\s\S]*"invalid_request_error"/);
    });
  }

  test("after all of this the server still works", async () => {
    expect((await fetch(`${server.url}/health`)).status).toBe(200);
    await until(idle);
    expect(await gauge("kv_cache_usage_perc")).toBeLessThanOrEqual(1);
  });
});
