import { expect, test } from "bun:test";
import { FakeFastgen, startServer, until } from "./testing.ts";

/** Series → value. */
async function scrape(url: string): Promise<Map<string, number>> {
  const reply = await fetch(`${url}/metrics`);
  expect(reply.headers.get("content-type")).toStartWith("text/plain");
  const lines = (await reply.text()).split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.slice(line.lastIndexOf(" ") + 1))]),
  );
}

test("vLLM's names; gauges follow the engine, histograms the requests", async () => {
  const fake = new FakeFastgen({ answer: "abcd", pace: () => Bun.sleep(1) });
  const server = await startServer(fake, { servedModelName: "m" });
  Object.assign(fake.stats, {
    running: 3,
    waiting: 5,
    swapped: 1,
    preemptions: 2,
    prefix_queried_tokens: 64,
    prefix_hit_tokens: 32,
  });
  const messages = [{ role: "user", content: "Hi" }];
  await (await server.post("/chat/completions", { messages, n: 2 })).text();
  await (await server.post("/completions", { prompt: "a", max_tokens: 2, stream: true })).text();
  const controller = new AbortController();
  const gone = fetch(`${server.url}/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ prompt: "a" }),
    signal: controller.signal,
  }).catch(() => {});
  await until(() => (fake.calls[2]?.tokens ?? 0) > 0);
  controller.abort();
  await gone;
  await until(() => server.accessLog.length === 3);

  const series = await scrape(server.url);
  const value = (name: string, labels = "") => series.get(`vllm:${name}{${labels}model_name="m"}`);
  expect(value("num_requests_running")).toBe(3);
  expect(value("num_requests_waiting")).toBe(5);
  expect(value("num_requests_swapped")).toBe(1);
  expect(value("num_preemptions_total")).toBe(2);
  expect(value("kv_cache_usage_perc")).toBe(0.25);
  expect(value("prefix_cache_queries_total")).toBe(64);
  expect(value("prefix_cache_hits_total")).toBe(32);
  expect(value("prompt_tokens_total")).toBe(10);
  expect(value("generation_tokens_total")).toBe(fake.stats.generated_tokens);
  expect(value("request_success_total", 'finished_reason="stop",')).toBe(2);
  expect(value("request_success_total", 'finished_reason="length",')).toBe(1);
  expect(value("request_success_total", 'finished_reason="abort",')).toBe(1);
  expect(value("request_success_total", 'finished_reason="error",')).toBe(0);
  // Four sequences had a first token; 3 + 3 + 1 gaps follow, and those of the abandoned one.
  expect(value("time_to_first_token_seconds_count")).toBe(4);
  expect(value("inter_token_latency_seconds_count")).toBeGreaterThanOrEqual(7);
  expect(value("inter_token_latency_seconds_sum")).toBeGreaterThan(0.007);
  expect(value("request_time_per_output_token_seconds_count")).toBe(3);
  expect(value("e2e_request_latency_seconds_count")).toBe(3);
  expect(value("request_prompt_tokens_sum")).toBe(10);
  expect(value("request_params_n_sum")).toBe(4);
  server.stop();
});

test("totals are not doubled by a second scrape, and are 0 while the model loads", async () => {
  const loading = await startServer(null);
  expect(
    [...(await scrape(loading.url)).entries()].find(([name]) => name.startsWith("vllm:prompt_tokens_total"))?.[1],
  ).toBe(0);
  const fake = new FakeFastgen();
  fake.stats.prompt_tokens = 7;
  loading.service.ready(fake);
  await scrape(loading.url);
  expect((await scrape(loading.url)).get('vllm:prompt_tokens_total{model_name="org/fake"}')).toBe(7);
  loading.stop();
});
