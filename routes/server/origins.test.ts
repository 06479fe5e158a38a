/** Who may call from a web page: Host, Origin, preflights, and CORS headers on every kind of reply. */
import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { FakeFastgen, json, startServer, until } from "../testing.ts";
import { isLoopback } from "./origins.ts";

type Started = Awaited<ReturnType<typeof startServer>>;
type Options = Parameters<typeof startServer>[1];

const started: Started[] = [];
const start = async (options: Options = {}, fake: FakeFastgen | null = new FakeFastgen()) => {
  const server = await startServer(fake, options);
  started.push(server);
  return server;
};
const stopAll = () => {
  for (const server of started.splice(0)) server.stop();
};
afterEach(stopAll);
afterAll(stopAll);

const CHAT = "/v1/chat/completions";
const body = { messages: [{ role: "user", content: "Hi" }] };
const page = "https://page.example";
const KEY = { authorization: "Bearer k" };

const preflight = (server: Started, origin: string, headers: Record<string, string> = {}) =>
  fetch(server.url + CHAT, {
    method: "OPTIONS",
    headers: { origin, "access-control-request-method": "POST", ...headers },
  });

test.each([
  ["localhost", true],
  ["LOCALHOST", true],
  ["localhost.", true],
  ["app.localhost", true],
  ["127.0.0.1", true],
  ["127.1.2.3", true],
  ["::1", true],
  ["[::1]", true],
  ["[::ffff:7f00:1]", true],
  ["::ffff:127.0.0.1", true],
  ["localhost.example.com", false],
  ["notlocalhost", false],
  ["127.0.0.1.example.com", false],
  ["128.0.0.1", false],
  ["0.0.0.0", false],
  ["192.168.1.2", false],
  ["::", false],
  ["[::ffff:7f:1]", false],
  ["[2001:db8::1]", false],
  ["", false],
])("is '%s' loopback: %p", (name, loopback) => {
  expect(isLoopback(name)).toBe(loopback);
});

describe("origins", () => {
  // What is allowed: the options, an Origin, whether it may.
  const list = ["https://page.example", "app://desk"];
  const cases: [string, Options, string, boolean][] = [
    ["no key", {}, "http://localhost:3000", true],
    ["no key", {}, "https://localhost", true],
    ["no key", {}, "http://127.0.0.1:8080", true],
    ["no key", {}, "http://[::1]:8080", true],
    ["no key", {}, "http://app.localhost:1", true],
    ["no key", {}, page, false],
    ["no key", {}, "null", false],
    ["no key", {}, "", false],
    ["no key", {}, "tauri://localhost", true],
    ["no key", {}, "capacitor://localhost", true],
    ["no key", {}, "tauri://elsewhere.example", false],
    ["no key", {}, "http://localhost.example.com", false],
    ["no key", {}, "http://example.com/localhost", false],
    ["no key", {}, "http://192.168.1.2:5678", false],
    ["no key", {}, "file://", false],
    ["no key", {}, "chrome-extension://localhost", false],
    ["no key", {}, "http://localhost:3000, https://page.example", false],
    ["a key", { apiKey: "k" }, page, true],
    ["a key", { apiKey: "k" }, "null", true],
    ["a list", { allowedOrigins: list }, page, true],
    ["a list", { allowedOrigins: list }, "app://desk", true],
    ["a list", { allowedOrigins: list }, "http://page.example", false],
    ["a list", { allowedOrigins: list }, "https://page.example:8443", false],
    ["a list", { allowedOrigins: list }, "http://localhost:3000", false],
    ["a list and a key", { allowedOrigins: list, apiKey: "k" }, page, true],
    ["a list and a key", { allowedOrigins: list, apiKey: "k" }, "https://other.example", false],
    ["any", { allowedOrigins: ["*"] }, page, true],
    ["any", { allowedOrigins: ["*"] }, "null", true],
    ["all of 0.0.0.0", { host: "0.0.0.0" }, page, false],
    ["all of 0.0.0.0", { host: "0.0.0.0" }, "http://localhost:3000", true],
    ["a socket", { host: null }, page, false],
  ];
  test.each(cases)("%s (%j): '%s' may: %p", async (_, options, origin, may) => {
    const fake = new FakeFastgen();
    const server = await start(options, fake);
    // A simple request, as a form or a fetch without CORS makes it, must not reach the model either.
    const plain = await server.post(CHAT, body, { ...KEY, origin, "content-type": "text/plain" });
    const reply = await server.post(CHAT, body, { ...KEY, origin });
    const asked = await preflight(server, origin);
    if (may) {
      expect([plain.status === 403, reply.status, asked.status]).toEqual([false, 200, 204]);
      expect(["*", origin]).toContain(reply.headers.get("access-control-allow-origin")!);
      expect(["*", origin]).toContain(asked.headers.get("access-control-allow-origin")!);
    } else {
      expect([plain.status, reply.status, asked.status]).toEqual([403, 403, 403]);
      expect(reply.headers.get("access-control-allow-origin")).toBeNull();
      expect(asked.headers.get("access-control-allow-origin")).toBeNull();
      const { error } = await json(reply);
      expect(error.code).toBe("origin_not_allowed");
      expect(error.message).toContain("--allowed-origins");
      expect(fake.calls).toHaveLength(0);
      expect((await fetch(`${server.url}/metrics`, { headers: { origin } })).status).toBe(403);
    }
  });

  test("requests of pages that bear no Origin are refused too; a link to the server is not", async () => {
    const fake = new FakeFastgen();
    const server = await start({}, fake);
    const site = (headers: Record<string, string>, method = "GET") =>
      fetch(`${server.url}/v1/models`, { method, headers });
    const foreign = { "sec-fetch-site": "cross-site" };
    const tab = { "sec-fetch-mode": "navigate", "sec-fetch-dest": "document" };
    expect((await site({ ...foreign, "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image" })).status).toBe(403);
    expect((await site({ ...foreign, "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe" })).status).toBe(403);
    expect((await server.post(CHAT, body, { ...foreign, ...tab })).status).toBe(403);
    expect(fake.calls).toHaveLength(0);
    expect((await site({ ...foreign, ...tab })).status).toBe(200);
    for (const own of ["none", "same-origin", "same-site"]) {
      expect((await site({ "sec-fetch-site": own })).status).toBe(200);
    }
    // localhost and 127.0.0.1 are different sites to a browser, but the Origin says what counts.
    const near = { ...foreign, origin: "http://localhost:3000" };
    expect((await server.post(CHAT, body, near)).status).toBe(200);
    expect((await (await start({ apiKey: "k" })).post(CHAT, body, { ...foreign, ...KEY })).status).toBe(200);
  });
});

describe("the Host header", () => {
  const cases: [Options, string, boolean][] = [
    [{ host: "127.0.0.1" }, "localhost", true],
    [{ host: "127.0.0.1" }, "localhost:5678", true],
    [{ host: "127.0.0.1" }, "LocalHost:1", true],
    [{ host: "127.0.0.1" }, "127.0.0.1:5678", true],
    [{ host: "127.0.0.1" }, "[::1]:5678", true],
    [{ host: "127.0.0.1" }, "app.localhost:5678", true],
    [{ host: "127.0.0.1" }, "rebound.example", false],
    [{ host: "127.0.0.1" }, "rebound.example:5678", false],
    [{ host: "127.0.0.1" }, "localhost.rebound.example:5678", false],
    [{ host: "127.0.0.1" }, "127.0.0.1.rebound.example:5678", false],
    [{ host: "127.0.0.1" }, "192.168.1.2:5678", false],
    [{ host: "127.0.0.1" }, "localhost:x", false],
    [{ host: "localhost" }, "rebound.example", false],
    [{ host: "::1" }, "rebound.example", false],
    [{ host: "127.0.0.1", apiKey: "k" }, "rebound.example", false],
    [{ host: "127.0.0.1", allowedOrigins: ["*"] }, "rebound.example", false],
    [{ host: "127.0.0.1", allowedHosts: ["gpu.example"] }, "gpu.example:5678", true],
    [{ host: "127.0.0.1", allowedHosts: ["GPU.example"] }, "gpu.EXAMPLE", true],
    [{ host: "127.0.0.1", allowedHosts: ["gpu.example"] }, "localhost:5678", true],
    [{ host: "127.0.0.1", allowedHosts: ["gpu.example"] }, "other.example", false],
    [{ host: "127.0.0.1", allowedHosts: ["gpu.example:80"] }, "gpu.example", true],
    [{ host: "127.0.0.1", allowedHosts: ["gpu.example:81"] }, "gpu.example:82", false],
    [{ host: "127.0.0.1", allowedHosts: ["*.example"] }, "gpu.example:1", true],
    [{ host: "127.0.0.1", allowedHosts: ["*.example"] }, "gpuexample", false],
    [{ host: "127.0.0.1", allowedHosts: ["[2001:db8::1]"] }, "[2001:db8::1]:5678", true],
    [{ host: "127.0.0.1", allowedHosts: ["*"] }, "rebound.example", true],
    // Elsewhere nobody knows by which names the machine is reached; a list is taken at its word.
    [{ host: "0.0.0.0" }, "any.example:5678", true],
    [{ host: "::" }, "any.example:5678", true],
    [{ host: "192.168.1.2" }, "192.168.1.2:5678", true],
    [{ host: null }, "any.example", true],
    [{ host: "0.0.0.0", allowedHosts: ["gpu.example"] }, "gpu.example", true],
    [{ host: "0.0.0.0", allowedHosts: ["gpu.example"] }, "other.example", false],
  ];
  test.each(cases)("%j: '%s' may: %p", async (options, host, may) => {
    const fake = new FakeFastgen();
    const server = await start(options, fake);
    const reply = await server.post(CHAT, body, { ...KEY, host });
    expect(reply.status).toBe(may ? 200 : 403);
    if (may) return;
    expect((await json(reply)).error).toMatchObject({
      code: "host_not_allowed",
      message: expect.stringContaining("--allowed-hosts"),
    });
    expect(fake.calls).toHaveLength(0);
    expect((await fetch(`${server.url}/health`, { headers: { host } })).status).toBe(403);
  });
});

describe("preflights", () => {
  test("are answered before the key is asked for, while the model loads, and whatever the path", async () => {
    const server = await start({ apiKey: "k" }, null);
    for (const path of [CHAT, "/v1/models", "/health", "/nothing"]) {
      const asked = await fetch(server.url + path, {
        method: "OPTIONS",
        headers: {
          origin: page,
          "access-control-request-method": "POST",
          "access-control-request-headers": "authorization, content-type,x-stainless-os",
        },
      });
      expect(asked.status).toBe(204);
      expect(asked.headers.get("access-control-allow-origin")).toBe("*");
      expect(asked.headers.get("access-control-allow-methods")).toContain("POST");
      expect(asked.headers.get("access-control-allow-headers")).toContain("x-stainless-os");
      expect(Number(asked.headers.get("access-control-max-age"))).toBeGreaterThan(0);
    }
  });

  test("a page may reach into a private network where its origin may use the server", async () => {
    const asks = { "access-control-request-private-network": "true" };
    const name = "access-control-allow-private-network";
    expect((await preflight(await start(), "http://localhost:1", asks)).headers.get(name)).toBe("true");
    expect((await preflight(await start(), page, asks)).headers.get(name)).toBeNull();
    expect((await preflight(await start({ apiKey: "k" }), page)).headers.get(name)).toBeNull();
  });

  test("methods, headers and credentials are as the flags say", async () => {
    const server = await start({
      allowedOrigins: [page],
      allowedMethods: ["POST"],
      allowedHeaders: ["authorization", "content-type"],
      allowCredentials: true,
    });
    const { headers } = await preflight(server, page, { "access-control-request-headers": "x-other" });
    expect(headers.get("access-control-allow-origin")).toBe(page);
    expect(headers.get("access-control-allow-methods")).toBe("POST");
    expect(headers.get("access-control-allow-headers")).toBe("authorization,content-type");
    expect(headers.get("access-control-allow-credentials")).toBe("true");
    expect(headers.get("vary")).toContain("Origin");
    // "*" and credentials do not go together in a browser.
    const any = await start({ allowedOrigins: ["*"], allowCredentials: true });
    expect((await preflight(any, page)).headers.get("access-control-allow-origin")).toBe(page);
  });

  test("OPTIONS that asks nothing is a method that the path does not take", async () => {
    expect((await fetch((await start()).url + CHAT, { method: "OPTIONS" })).status).toBe(405);
  });
});

describe("every reply can be read by a page that may send requests", () => {
  const readable = (reply: Response) => {
    expect(reply.headers.get("access-control-allow-origin")).toBe("*");
    expect(reply.headers.get("access-control-expose-headers")).toContain("x-request-id");
    return reply.status;
  };
  const origin = { origin: page };

  test("streams and errors too", async () => {
    const server = await start({ apiKey: "k", maxBodyBytes: 1000, maxQueued: 1 });
    const post = (path: string, content: unknown, headers = {}) =>
      server.post(path, content, { ...KEY, ...origin, ...headers });
    expect(readable(await post(CHAT, body))).toBe(200);
    const stream = await post(CHAT, { ...body, stream: true });
    expect(readable(stream)).toBe(200);
    expect(stream.headers.get("content-type")).toStartWith("text/event-stream");
    expect(await stream.text()).toEndWith("data: [DONE]\n\n");
    expect(readable(await post(CHAT, { ...body, n: 0 }))).toBe(400);
    expect(readable(await server.post(CHAT, body, origin))).toBe(401);
    expect(readable(await post("/v1/nothing", {}))).toBe(404);
    expect(readable(await fetch(server.url + CHAT, { headers: { ...KEY, ...origin } }))).toBe(405);
    expect(readable(await post(CHAT, { ...body, user: "x".repeat(2000) }))).toBe(413);
    expect(readable(await fetch(`${server.url}/health`, { headers: origin }))).toBe(200);
    expect(readable(await fetch(`${server.url}/metrics`, { headers: origin }))).toBe(200);
  });

  test("refusals for lack of room, of a model, of an engine", async () => {
    const failing = new FakeFastgen({ failAfter: 0 });
    expect(readable(await (await start({ allowedOrigins: ["*"] }, failing)).post(CHAT, body, origin))).toBe(500);
    expect(readable(await (await start({ allowedOrigins: ["*"] }, null)).post(CHAT, body, origin))).toBe(503);
    const gate = Promise.withResolvers<void>();
    const held = new FakeFastgen({ pace: () => gate.promise });
    const full = await start({ allowedOrigins: ["*"], maxQueued: 1 }, held);
    const first = full.post(CHAT, body, origin);
    await until(() => held.calls.length === 1);
    expect(readable(await full.post(CHAT, body, origin))).toBe(429);
    gate.resolve();
    expect(readable(await first)).toBe(200);
  });

  test("a client that is no page gets no CORS headers", async () => {
    const reply = await (await start({ apiKey: "k" })).post(CHAT, body, KEY);
    expect([...reply.headers.keys()].filter((name) => name.startsWith("access-control"))).toEqual([]);
  });
});
