import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { FakeFastgen, PREFILL_SECONDS, QUEUED_SECONDS, startServer, until } from "../testing.ts";

/** A series with its labels in alphabetical order. */
function sorted(series: string): string {
  const [, name, labels] = /^(.*)\{(.*)\}$/.exec(series)!;
  return `${name}{${[...labels!.matchAll(/\w+="[^"]*"/g)].map(([label]) => label).toSorted()}}`;
}

/** Series → value. */
async function scrape(url: string): Promise<Map<string, number>> {
  const reply = await fetch(`${url}/metrics`);
  expect(reply.headers.get("content-type")).toStartWith("text/plain");
  const lines = (await reply.text()).split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(
    lines.map((line) => [sorted(line.slice(0, line.lastIndexOf(" "))), Number(line.slice(line.lastIndexOf(" ") + 1))]),
  );
}

const messages = [{ role: "user", content: "Hi" }];

test("vLLM's names; gauges follow the engine, histograms the requests", async () => {
  const fake = new FakeFastgen({ answer: "abcd", pace: () => Bun.sleep(1) });
  const server = await startServer(fake, { servedModelName: "m" });
  Object.assign(fake.stats, {
    running: 3,
    waiting: 5,
    swapped: 1,
    preemptions: 2,
    prefix_queried_tokens: 64,
    prefix_hit_tokens: 4,
  });
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
  for (const tokens of [7, 1, 300]) fake.step(tokens, 0);

  const series = await scrape(server.url);
  const value = (name: string, labels = "") => series.get(sorted(`vllm:${name}{${labels}engine="0",model_name="m"}`));
  expect(value("num_requests_running")).toBe(3);
  expect(value("num_requests_waiting")).toBe(5 + 1);
  expect(value("num_requests_swapped")).toBe(1);
  expect(value("num_preemptions_total")).toBe(2);
  expect(value("kv_cache_usage_perc")).toBe(0.25);
  expect(value("prefix_cache_queries_total")).toBe(64);
  expect(value("prefix_cache_hits_total")).toBe(4);
  expect(value("gpu_cache_usage_perc")).toBe(0.25);
  expect(value("gpu_prefix_cache_queries_total")).toBe(64);
  expect(value("gpu_prefix_cache_hits_total")).toBe(4);
  expect(value("prompt_tokens_total")).toBe(10);
  expect(value("prompt_tokens_cached_total")).toBe(4);
  expect(value("prompt_tokens_by_source_total", 'source="local_compute",')).toBe(6);
  expect(value("prompt_tokens_by_source_total", 'source="local_cache_hit",')).toBe(4);
  expect(value("generation_tokens_total")).toBe(fake.stats.generated_tokens);
  expect(value("request_success_total", 'finished_reason="stop",')).toBe(2);
  expect(value("request_success_total", 'finished_reason="length",')).toBe(1);
  expect(value("request_success_total", 'finished_reason="abort",')).toBe(1);
  expect(value("request_success_total", 'finished_reason="error",')).toBe(0);
  // Four sequences had a first token; 3 + 3 + 1 gaps follow, and those of the abandoned one.
  expect(value("time_to_first_token_seconds_count")).toBe(4);
  expect(value("inter_token_latency_seconds_count")).toBeGreaterThanOrEqual(7);
  expect(value("inter_token_latency_seconds_sum")).toBeGreaterThan(0.007);
  // By sequence that ended by itself.
  for (const name of [
    "request_time_per_output_token",
    "e2e_request_latency",
    "request_queue_time",
    "request_prefill_time",
    "request_decode_time",
    "request_inference_time",
  ]) {
    expect([name, value(`${name}_seconds_count`)]).toEqual([name, 3]);
  }
  expect(value("request_queue_time_seconds_sum")).toBe(3 * QUEUED_SECONDS);
  expect(value("request_prefill_time_seconds_sum")).toBe(3 * PREFILL_SECONDS);
  const decode = value("request_decode_time_seconds_sum")!;
  expect(decode).toBeGreaterThan(0);
  expect(value("request_inference_time_seconds_sum")).toBeCloseTo(3 * PREFILL_SECONDS + decode, 9);
  // By prompt.
  for (const name of ["prompt", "generation", "prefill_kv_computed", "max_num_generation"]) {
    expect([name, value(`request_${name}_tokens_count`)]).toEqual([name, 3]);
  }
  expect(value("request_prompt_tokens_sum")).toBe(10);
  expect(value("request_prefill_kv_computed_tokens_sum")).toBe(10);
  expect(value("request_params_n_sum")).toBe(4);
  // What the chat may have is what fits; two tokens were asked for; completions default to 16.
  expect(value("request_params_max_tokens_sum")).toBe(1024 - 8 + 2 + 16);
  const abandoned = fake.calls[2]!.tokens;
  expect(value("request_max_num_generation_tokens_sum")).toBe(4 + 2 + abandoned);
  expect(value("request_generation_tokens_sum")).toBe(8 + 2 + abandoned);
  expect(value("iteration_tokens_total_count")).toBe(3);
  expect(value("iteration_tokens_total_sum")).toBe(308);
  expect(value("iteration_tokens_total_bucket", 'le="8",')).toBe(2);
  server.stop();
});

test("pages on disk: what is there, and what was read and written in bytes of all ranks", async () => {
  const fake = new FakeFastgen();
  const server = await startServer(fake, { servedModelName: "m" });
  Object.assign(fake.capacity, { tensor_parallel_size: 2 });
  const names = ["hits", "misses", "skipped", "lost", "saved", "read_seconds", "write_seconds", "pages", "capacity"];
  Object.assign(fake.stats, Object.fromEntries(names.map((name, i) => [`disk_${name}`, i + 1])));
  const metrics = await scrape(server.url);
  const value = (name: string, medium = "") =>
    metrics.get(sorted(`vllm:${name}{engine="0",model_name="m"${medium === "" ? "" : `,medium="${medium}"`}}`));
  const totals = ["hits", "misses", "skipped", "lost", "read_seconds", "write_seconds"];
  expect(totals.map((name) => value(`kv_disk_${name}_total`))).toEqual([1, 2, 3, 4, 6, 7]);
  const { page_bytes, tensor_parallel_size } = fake.capacity;
  const bytes = page_bytes * tensor_parallel_size;
  expect([value("kv_disk_read_bytes_total"), value("kv_disk_written_bytes_total")]).toEqual([bytes, 5 * bytes]);
  expect([value("kv_pages", "disk"), value("kv_pages_capacity", "disk")]).toEqual([8, 9]);
  await server.stop();
});

test("each engine has series of its own", async () => {
  const fake = new FakeFastgen({ answer: "abcd", engines: 3 });
  const server = await startServer(fake, { servedModelName: "m" });
  fake.failures[0] = "it fell off the bus";
  Object.assign(fake.stats, { running: 3, waiting: 2, prefix_hit_tokens: 2 });
  await (await server.post("/completions", { prompt: "abc", max_tokens: 3 })).text();
  await until(() => server.accessLog.length === 1);
  fake.step(7, 1);
  const series = await scrape(server.url);
  const values = (name: string, labels = "") =>
    [0, 1, 2].map((engine) => series.get(sorted(`vllm:${name}{${labels}engine="${engine}",model_name="m"}`)));
  expect(values("engine_up")).toEqual([0, 1, 1]);
  expect(values("num_requests_running")).toEqual([0, 0, 3]);
  expect(values("num_requests_waiting")).toEqual([0, 0, 2]);
  expect(values("kv_cache_usage_perc")).toEqual([0, 0, 0.25]);
  expect(values("prompt_tokens_total")).toEqual([0, 0, 3]);
  expect(values("prompt_tokens_by_source_total", 'source="local_cache_hit",')).toEqual([0, 0, 2]);
  expect(values("weight_version_info", 'weight_version="0",')).toEqual([1, 1, 1]);
  expect(values("iteration_tokens_total_sum")).toEqual([0, 7, 0]);
  expect(values("request_success_total", 'finished_reason="length",')).toEqual([0, 0, 1]);
  expect(values("request_success_total", 'finished_reason="abort",')).toEqual([0, 0, 0]);
  for (const name of ["time_to_first_token_seconds", "e2e_request_latency_seconds", "request_prompt_tokens"]) {
    expect([name, values(`${name}_count`)]).toEqual([name, [0, 0, 1]]);
  }
  expect(values("inter_token_latency_seconds_count")).toEqual([0, 0, 2]);
  expect([...series.keys()].filter((one) => one.startsWith("vllm:cache_config_info{"))).toHaveLength(3);
  server.stop();
});

/**
 * What vLLM's Grafana dashboards, the Kubernetes gateway's endpoint picker and its production routers ask for: names, and the
 * labels that they select or group by. Not there: what Fastgen has no use for (LoRA, speculation, KV transfer).
 */
const ASKED_FOR: [name: string, labels: string[]][] = [
  ...[
    "e2e_request_latency_seconds",
    "time_to_first_token_seconds",
    "inter_token_latency_seconds",
    "time_per_output_token_seconds",
    "request_time_per_output_token_seconds",
    "request_queue_time_seconds",
    "request_prefill_time_seconds",
    "request_decode_time_seconds",
    "request_inference_time_seconds",
    "request_prompt_tokens",
    "request_generation_tokens",
    "request_max_num_generation_tokens",
    "request_params_max_tokens",
    "request_params_n",
    "request_prefill_kv_computed_tokens",
    "iteration_tokens_total",
  ].flatMap((name): [string, string[]][] => [
    [`${name}_bucket`, ["le"]],
    [`${name}_sum`, []],
    [`${name}_count`, []],
  ]),
  ["prompt_tokens_total", []],
  ["generation_tokens_total", []],
  ["prompt_tokens_by_source_total", ["source"]],
  ["prompt_tokens_cached_total", []],
  ["num_requests_running", []],
  ["num_requests_waiting", []],
  ["kv_cache_usage_perc", []],
  ["num_preemptions_total", []],
  ["prefix_cache_queries_total", []],
  ["prefix_cache_hits_total", []],
  ["request_success_total", ["finished_reason"]],
  ["cache_config_info", ["block_size", "num_gpu_blocks", "num_cpu_blocks", "cache_dtype", "enable_prefix_caching"]],
];

test("each query of vLLM's dashboards and routers finds its names and labels", async () => {
  const server = await startServer(new FakeFastgen());
  const all = [...(await scrape(server.url)).keys()];
  for (const [name, labels] of ASKED_FOR) {
    const found = all.filter((one) => one.startsWith(`vllm:${name}{`));
    expect([name, found.length > 0]).toEqual([name, true]);
    for (const label of ["engine", "model_name", ...labels]) {
      expect([name, label, found.every((one) => new RegExp(`[{,]${label}="`).test(one))]).toEqual([name, label, true]);
    }
  }
  const info = all.find((one) => one.startsWith("vllm:cache_config_info"))!;
  expect(info).toContain('block_size="64"');
  expect(info).toContain('num_gpu_blocks="64"');
  server.stop();
});

test("docs/operations.md has every metric, with its type", async () => {
  const server = await startServer(new FakeFastgen());
  const text = await (await fetch(`${server.url}/metrics`)).text();
  const table = readFileSync(`${import.meta.dir}/../../docs/operations.md`, "utf8").split("\n");
  const types = [...text.matchAll(/^# TYPE vllm:(\S+) (\S+)$/gm)];
  expect(types.length).toBeGreaterThan(20);
  for (const [, name, type] of types) {
    const row = table.find((line) => line.startsWith("|") && line.includes(`\`${name}\``));
    expect([name, row?.split("|")[2]?.trim()]).toEqual([name, type]);
  }
  server.stop();
});

test("buckets are vLLM's, those of tokens up to the longest sequence", async () => {
  const server = await startServer(new FakeFastgen({ max_model_len: 1024 }));
  const all = [...(await scrape(server.url)).keys()];
  const buckets = (name: string) =>
    all.filter((one) => one.startsWith(`vllm:${name}_bucket{`)).map((one) => Number(/le="([^"]+)"/.exec(one)![1]));
  const latency = [0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680];
  const infinite = Number.NaN;
  for (const name of ["queue", "prefill", "decode", "inference"]) {
    expect(buckets(`request_${name}_time_seconds`)).toEqual([...latency, infinite]);
  }
  expect(buckets("e2e_request_latency_seconds")).toEqual([...latency, infinite]);
  const tokens = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];
  expect(buckets("request_prompt_tokens")).toEqual([...tokens, infinite]);
  expect(buckets("request_params_max_tokens")).toEqual([...tokens, infinite]);
  const gaps = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80];
  for (const name of ["inter_token_latency_seconds", "request_time_per_output_token_seconds"]) {
    expect(buckets(name)).toEqual(expect.arrayContaining(gaps));
  }
  expect(buckets("time_to_first_token_seconds")).toEqual(expect.arrayContaining([0.001, 0.25, 640, 2560]));
  expect(buckets("iteration_tokens_total").slice(0, 4)).toEqual([1, 8, 16, 32]);
  server.stop();
});

test("totals are not doubled by a second scrape, and are 0 while the model loads", async () => {
  const loading = await startServer(null);
  expect((await scrape(loading.url)).get('vllm:prompt_tokens_total{engine="0"}')).toBe(0);
  const fake = new FakeFastgen();
  fake.stats.prompt_tokens = 7;
  loading.service.ready(fake);
  await scrape(loading.url);
  expect((await scrape(loading.url)).get('vllm:prompt_tokens_total{engine="0",model_name="org/fake"}')).toBe(7);
  loading.stop();
});
