import { afterAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { gunzipSync } from "node:zlib";
import { assetPath } from "../../src/assets.ts";
import { MAX_PAGE_SERVERS } from "../../src/limits.ts";
import { parseMetrics, quantile, samplesOf, sum } from "../../web/metrics.ts";
import { FakeFastgen, json, startServer } from "../testing.ts";
import { PAGE } from "./page.ts";

const missing = assetPath(PAGE) === null ? "needs the page: npm run build" : null;

/** A policy's directives. */
function policyOf(reply: Response): Map<string, string> {
  const policy = reply.headers.get("content-security-policy")!;
  return new Map(policy.split("; ").map((directive) => directive.split(/ (.*)/) as [string, string]));
}

describe.skipIf(missing !== null)(`the page (${missing ?? "built"})`, async () => {
  const server = await startServer(new FakeFastgen(), { apiKey: "secret", host: "127.0.0.1" });
  afterAll(() => server.stop());
  const open = (query = "", headers: Record<string, string> = {}) => fetch(`${server.url}/${query}`, { headers });

  test("is one small file of HTML without a key, to this machine alone", async () => {
    const reply = await open();
    expect(reply.status).toBe(200);
    expect(reply.headers.get("content-type")).toBe("text/html; charset=utf-8");
    const html = await reply.text();
    expect(html).toStartWith("<!doctype html>");
    expect(Buffer.byteLength(html)).toBeLessThanOrEqual(100_000);
    // Nothing is loaded from anywhere.
    expect(html.match(/<(script|link|img|iframe|source|video|audio)\b[^>]*(src|href)="(?!data:)[^"]*"/g)).toBeNull();
    expect((await open("", { host: "rebound.example" })).status).toBe(403);
  });

  test("comes compressed to those who take it so", async () => {
    const ask = async (encoding: string) => {
      const reply = await fetch(`${server.url}/`, { headers: { "accept-encoding": encoding }, decompress: false });
      return { encoding: reply.headers.get("content-encoding"), bytes: await reply.bytes() };
    };
    const [gzip, plain] = [await ask("gzip, deflate, br"), await ask("identity")];
    expect([gzip.encoding, plain.encoding]).toEqual(["gzip", null]);
    expect(Buffer.from(gunzipSync(gzip.bytes))).toEqual(Buffer.from(plain.bytes));
    expect((await ask("br, gzip;q=0")).encoding).toBeNull();
  });

  test("may run its own script alone, and be in no frame", async () => {
    const reply = await open();
    const policy = policyOf(reply);
    const html = await reply.text();
    for (const tag of ["script", "style"]) {
      const contents = [...html.matchAll(new RegExp(`<${tag}\\b[^>]*>(.*?)</${tag}>`, "gs"))];
      expect(contents).toHaveLength(1);
      const hash = createHash("sha256").update(contents[0]![1]!).digest("base64");
      expect(policy.get(`${tag}-src`)).toBe(`'sha256-${hash}'`);
    }
    expect(Object.fromEntries(policy)).toMatchObject({
      "default-src": "'none'",
      "connect-src": "'self'",
      "frame-ancestors": "'none'",
      "base-uri": "'none'",
      "form-action": "'none'",
      "require-trusted-types-for": "'script'",
      "trusted-types": "'none'",
    });
    expect(reply.headers.get("x-content-type-options")).toBe("nosniff");
    expect(html).not.toMatch(/\son[a-z]+=["']/);
  });

  test("may connect to the servers that its address names, and to no others", async () => {
    const query = (...servers: string[]) =>
      `?${new URLSearchParams(servers.map((name) => ["server", name] as [string, string]))}`;
    const reply = await open(query("http://gpu2:5678", "https://chat.example.com", "http://[::1]:8000"));
    expect(policyOf(reply).get("connect-src")).toBe(
      "'self' http://gpu2:5678 https://chat.example.com http://[::1]:8000",
    );
    const wrong = [
      "http://a; script-src *",
      "http://a b",
      "http://*",
      "*",
      "'unsafe-inline'",
      "http://a/path",
      "http://user@a",
      "ftp://a",
      "data:",
      "HTTP://A",
      "http://a:80",
      "",
    ];
    for (const text of wrong) {
      const refused = await open(query(text));
      expect(refused.status).toBe(400);
      expect((await json(refused)).error).toMatchObject({ param: "server" });
      expect(refused.headers.get("content-security-policy")).toBeNull();
    }
    const many = (count: number) => query(...Array.from({ length: count }, (_, i) => `http://gpu${i}`));
    expect((await open(many(MAX_PAGE_SERVERS))).status).toBe(200);
    expect((await open(many(MAX_PAGE_SERVERS + 1))).status).toBe(400);
  });

  test("opens in a tab from anywhere, and in nothing else of another site", async () => {
    const open = await startServer(new FakeFastgen(), { host: "127.0.0.1" });
    const ask = async (dest: string, mode: string) => {
      const headers = { "sec-fetch-site": "cross-site", "sec-fetch-dest": dest, "sec-fetch-mode": mode };
      return (await fetch(`${open.url}/`, { headers })).status;
    };
    expect(await ask("document", "navigate")).toBe(200);
    expect(await ask("iframe", "navigate")).toBe(403);
    expect(await ask("empty", "no-cors")).toBe(403);
    open.stop();
  });

  test("is there while the model loads, and not there with --no-ui", async () => {
    const loading = await startServer(null);
    expect((await fetch(`${loading.url}/`)).status).toBe(200);
    loading.stop();
    const bare = await startServer(new FakeFastgen(), { ui: false });
    expect((await fetch(`${bare.url}/`)).status).toBe(404);
    bare.stop();
  });
});

test("what the server view reads is what the server writes", async () => {
  const server = await startServer(new FakeFastgen());
  await (await server.post("/v1/completions", { prompt: "x", max_tokens: 3 })).json();
  const reading = parseMetrics(await (await fetch(`${server.url}/metrics`)).text(), 0);
  const names = [
    "num_requests_running",
    "num_requests_waiting",
    "kv_cache_usage_perc",
    "prompt_tokens_total",
    "generation_tokens_total",
    "request_success_total",
    "num_preemptions_total",
    "prefix_cache_queries_total",
    "prefix_cache_hits_total",
  ];
  for (const name of names) expect({ name, sum: sum(reading, name) }).toEqual({ name, sum: expect.any(Number) });
  expect(sum(reading, "generation_tokens_total")).toBe(3);
  for (const name of ["time_to_first_token_seconds", "inter_token_latency_seconds"]) {
    expect(quantile(null, reading, name, 0.5)).toBeGreaterThanOrEqual(0);
  }
  expect(samplesOf(reading, "cache_config_info")[0]!.labels).toMatchObject({ block_size: "64", num_gpu_blocks: "64" });
  server.stop();
});
