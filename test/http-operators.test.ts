/** The executable as operators and web pages meet it: flags of CORS and traces, metrics of a real engine. */
import { afterEach, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { startCollector } from "./otlp-collector.ts";
import { missing, type RunningServer, spawnServer, startServer, until } from "./server.ts";

const CHAT = "/v1/chat/completions";
const page = "https://page.example";
const body = { messages: [{ role: "user", content: "hello" }], max_tokens: 5, ignore_eos: true };

describe.skipIf(missing !== null)(`operators (${missing ?? "executable"})`, () => {
  const stops: (() => unknown)[] = [];
  afterEach(async () => {
    for (const stop of stops.splice(0)) await stop();
  });
  const start = async (...args: string[]) => {
    const server = await startServer(args, null);
    stops.push(server.stop);
    return server;
  };
  const post = (server: RunningServer, content: object, headers: Record<string, string> = {}) =>
    fetch(server.url + CHAT, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify(content),
    });

  test("out of the box, pages of this machine may use the server, others and rebound names may not", async () => {
    const server = await start();
    expect((await post(server, body)).status).toBe(200);
    expect((await post(server, body, { origin: "http://localhost:3000" })).status).toBe(200);
    expect((await post(server, body, { origin: page })).status).toBe(403);
    expect((await post(server, body, { origin: page, "content-type": "text/plain" })).status).toBe(403);
    expect((await post(server, body, { host: "rebound.example" })).status).toBe(403);
    expect((await post(server, body, { host: `localhost:${server.port}` })).status).toBe(200);
  });

  test("flags open it: origins in vLLM's spelling, hosts, a key", async () => {
    const listed = await start("--allowed-origins", `["${page}"]`, "--allowed-hosts", "gpu.example");
    const reply = await post(listed, { ...body, stream: true }, { origin: page, host: "gpu.example:80" });
    expect(reply.status).toBe(200);
    expect(reply.headers.get("access-control-allow-origin")).toBe(page);
    expect(await reply.text()).toEndWith("data: [DONE]\n\n");
    expect((await post(listed, body, { origin: "http://localhost:3000" })).status).toBe(403);
    const keyed = await start("--api-key", "k");
    expect(keyed.banner).toContain('-H "Authorization: Bearer KEY"');
    const named = await startServer([], null, { variables: { FASTGEN_API_KEY: "k" } });
    stops.push(named.stop);
    expect(named.banner).toContain('-H "Authorization: Bearer $FASTGEN_API_KEY"');
    const asks = { origin: page, "access-control-request-method": "POST" };
    const preflight = await fetch(keyed.url + CHAT, { method: "OPTIONS", headers: asks });
    expect([preflight.status, preflight.headers.get("access-control-allow-origin")]).toEqual([204, "*"]);
    expect((await post(keyed, body, { origin: page })).status).toBe(401);
    expect((await post(keyed, body, { origin: page, authorization: "Bearer k" })).status).toBe(200);
  });

  test("a command line and a key that people have for vLLM, on a Unix socket behind a proxy's path", async () => {
    const folder = mkdtempSync(path.join(tmpdir(), "uds-"));
    const unix = path.join(folder, "s.sock");
    const flags = ["--uds", unix, "--device", "cpu", "--root_path", "/llm", "-tp", "1", "--enforce-eager"];
    const { child, output, exited } = spawnServer(flags, { variables: { VLLM_API_KEY: "theirs" } });
    stops.push(() => child.kill("SIGKILL"));
    await until(() => output.stdout.includes("-d '"));
    expect(output.stdout).toContain(`Ready: unix:${unix}\n`);
    expect(output.stdout).toContain('-H "Authorization: Bearer $VLLM_API_KEY"');
    const models = (headers: Record<string, string> = {}) => fetch("http://x/llm/v1/models", { unix, headers });
    expect((await models()).status).toBe(401);
    expect((await models({ authorization: "Bearer theirs" })).status).toBe(200);
    expect(output.stderr).toContain("nothing depends on --enforce-eager here");
    child.kill("SIGTERM");
    expect(await exited).toBe(0);
    expect(existsSync(unix)).toBe(false);
    rmSync(folder, { recursive: true });
  });

  test("several engines: requests are shared out, and health, metrics and /server_info tell of each", async () => {
    const server = await start("--data-parallel-size", "2", "--threads", "2", "--device", "cpu");
    expect(server.banner).toContain("on 2 engines, each on ");
    const contents = ["one", "two", "three", "four"];
    const replies = await Promise.all(
      contents.map((content) => post(server, { ...body, messages: [{ role: "user", content }] })),
    );
    expect(replies.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    for (const reply of replies) await reply.text();
    const get = async (path: string) => (await fetch(server.url + path)).json();
    expect(await get("/health")).toMatchObject({ status: "ok", engines: ["ok", "ok"] });
    expect(await get("/get_world_size")).toEqual({ world_size: 2 });
    const info = await get("/server_info?config_format=json");
    expect(info).toMatchObject({ vllm_config: { parallel_config: { data_parallel_size: 2 } } });
    const text = await (await fetch(`${server.url}/metrics`)).text();
    for (const engine of [0, 1]) {
      expect(text).toMatch(new RegExp(`^vllm:engine_up\\{engine="${engine}",.*\\} 1$`, "m"));
      expect(text).toMatch(new RegExp(`^vllm:generation_tokens_total\\{engine="${engine}",.*\\} [1-9]`, "m"));
    }
    for (const path of ["/pause?mode=wait", "/resume"]) {
      expect((await fetch(server.url + path, { method: "POST" })).status).toBe(200);
    }
  });

  test("metrics: who waits for a slot has waited, steps and tokens add up", async () => {
    const server = await start("--max-num-seqs", "1", "--served-model-name", "m", "--no-enable-prefix-caching");
    const max_tokens = 50;
    await Promise.all([1, 2, 3].map(async () => (await post(server, { ...body, max_tokens })).text()));
    const scrape = async () => (await fetch(`${server.url}/metrics`)).text();
    const value = (text: string, name: string) =>
      Number(
        new RegExp(`^vllm:${name}\\{(?:engine="0",)?model_name="m"(?:,engine="0")?\\} (\\S+)$`, "m").exec(text)![1],
      );
    await until(async () => value(await scrape(), "num_requests_running") === 0);
    const text = await scrape();
    const of = (name: string) => value(text, name);
    for (const phase of ["queue", "prefill", "decode", "inference"])
      expect(of(`request_${phase}_time_seconds_count`)).toBe(3);
    // The second waited for the first, the third for both.
    const decode = of("request_decode_time_seconds_sum");
    expect(of("request_queue_time_seconds_sum")).toBeGreaterThan(decode / 3);
    const inference = of("request_inference_time_seconds_sum");
    expect(inference).toBeCloseTo(of("request_prefill_time_seconds_sum") + decode, 6);
    expect(of("e2e_request_latency_seconds_sum")).toBeGreaterThan(inference);
    expect(of("generation_tokens_total")).toBe(3 * max_tokens);
    expect(of("request_generation_tokens_sum")).toBe(3 * max_tokens);
    expect(of("request_params_max_tokens_sum")).toBe(3 * max_tokens);
    expect(of("inter_token_latency_seconds_count")).toBe(3 * (max_tokens - 1));
    // A sequence's last token is sampled, and not computed further.
    expect(of("iteration_tokens_total_sum")).toBe(of("prompt_tokens_total") + 3 * (max_tokens - 1));
    expect(text).toContain('vllm:cache_config_info{block_size="64",');
    expect(text).toContain('enable_prefix_caching="False"');
  });

  test("traces reach the collector before the server ends, within the caller's trace", async () => {
    const collector = startCollector();
    stops.push(collector.stop);
    const server = await start("--otlp-traces-endpoint", collector.url);
    const traceId = "0af7651916cd43dd8448eb211c80319c";
    const headers = { traceparent: `00-${traceId}-b7ad6b7169203331-01`, "x-request-id": "traced" };
    await (await post(server, body, headers)).text();
    server.kill("SIGTERM");
    expect(await server.exited).toBe(0);
    expect(collector.paths).toEqual(["/v1/traces"]);
    expect(collector.spans).toHaveLength(1);
    expect(collector.spans[0]).toMatchObject({ name: "llm_request", traceId, parentId: "b7ad6b7169203331" });
    expect(collector.spans[0]!.attributes).toMatchObject({
      "gen_ai.request.id": "traced",
      "gen_ai.usage.completion_tokens": 5,
      "gen_ai.request.max_tokens": 5,
    });
  });

  test("a collector that is not there keeps nobody", async () => {
    const collector = startCollector();
    collector.stop();
    const server = await start("--otlp-traces-endpoint", collector.url);
    expect((await post(server, body)).status).toBe(200);
    server.kill("SIGTERM");
    expect(await server.exited).toBe(0);
  }, 30_000);

  test("/tokenizer_info and /server_info tell of the built-in model", async () => {
    const server = await start("--enable-tokenizer-info-endpoint");
    const get = async (path: string) => (await fetch(server.url + path)).json();
    expect(await get("/tokenizer_info")).toMatchObject({ chat_template: expect.stringContaining("{") });
    const info = await get("/server_info?config_format=json");
    expect(info).toMatchObject({ vllm_config: { model_config: { max_model_len: 1024 } } });
    const rendered = await fetch(`${server.url}${CHAT}/render`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    const { prompt, token_ids } = (await rendered.json()) as { prompt: string; token_ids: number[] };
    expect(prompt).toContain("hello");
    const reply = (await (await post(server, { ...body, return_token_ids: true })).json()) as object;
    expect(reply).toMatchObject({ prompt_token_ids: token_ids });
  });
});
