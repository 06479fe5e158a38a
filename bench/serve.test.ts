/** The load generator with a stand-in server: it must send what was planned and report what it saw. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { greedyStreams, type LoadOptions, planLoad, readStream, runLoad, summarize } from "./load.ts";
import { nameOf } from "./named-loads.ts";
import { type Result, readResultsFile, record } from "./record.ts";
import { main } from "./serve.ts";
import { SHAPES } from "./shapes.ts";

interface Received {
  path: string;
  // biome-ignore lint/suspicious/noExplicitAny: whatever the generator sends
  body: any;
}

const received: Received[] = [];
let running = 0;
let mostRunning = 0;
/** No request is answered before this many have come. */
let expected = 0;
let allHere = Promise.withResolvers<void>();
let mode: "good" | "cut" | "refuse" | "error" = "good";
let server: Bun.Server<undefined>;
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "fastgen-serve-"));
  server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: answer });
});
afterAll(async () => {
  await server.stop(true);
  rmSync(folder, { recursive: true });
});

async function answer(request: Request): Promise<Response> {
  const { pathname: path } = new URL(request.url);
  if (path === "/v1/models") return Response.json({ data: [{ id: "stand-in" }] });
  const body = (await request.json()) as Received["body"];
  received.push({ path, body });
  if (mode === "refuse") return new Response("full", { status: 429 });
  const usage = { prompt_tokens: body.prompt?.length ?? 5, completion_tokens: body.max_tokens };
  mostRunning = Math.max(mostRunning, ++running);
  if (received.length >= expected) allHere.resolve();
  await allHere.promise;
  await Bun.sleep(5); // one request too many would have come by now
  if (!body.stream) {
    running--;
    return Response.json({ choices: [{ text: "x" }], usage });
  }
  const encoder = new TextEncoder();
  const stream = new ReadableStream({
    async start(controller) {
      const send = (text: string) => controller.enqueue(encoder.encode(text));
      for (let i = 0; i < body.max_tokens; i++) {
        // An event may arrive in pieces, and with others.
        send('data: {"choices":[{"te');
        send('xt":"x","delta":{"content":"x"}}]}\n\n');
      }
      if (mode === "error") send('data: {"error":{"message":"lost"}}\n\n');
      if (mode !== "cut") send(`data: ${JSON.stringify({ choices: [], usage })}\n\ndata: [DONE]\n\n`);
      running--;
      controller.close();
    },
  });
  return new Response(stream);
}

function options(changes: Partial<LoadOptions> = {}): LoadOptions {
  received.length = 0;
  mostRunning = 0;
  expected = 0;
  allHere = Promise.withResolvers();
  return greedyStreams({
    url: server.url.href,
    model: "stand-in",
    prompts: 4,
    input: 10,
    output: 3,
    seed: 1,
    vocab: 50,
    ...changes,
  });
}

test("a plan follows from its seed, and keeps to its lengths and rate", () => {
  const plan = planLoad(options({ prompts: 2000, input: 100, output: 20, spread: 0.9, rate: 16 }));
  expect(planLoad(options({ prompts: 2000, input: 100, output: 20, spread: 0.9, rate: 16 }))).toEqual(plan);
  const lengths = plan.map((r) => r.promptIds.length);
  expect([Math.min(...lengths), Math.max(...lengths)]).toEqual([10, 190]);
  expect(plan.every((r) => r.maxTokens >= 2 && r.maxTokens <= 38)).toBe(true);
  expect(plan.flatMap((r) => r.promptIds).every((id) => id >= 1 && id < 50)).toBe(true);
  expect(2000 / plan.at(-1)!.arrival).toBeCloseTo(16, -0.5);
});

test("streams: requests and their figures", async () => {
  const load = options();
  expected = load.prompts;
  const summary = await runLoad(load);
  expect(summary.errors).toEqual([]);
  expect(mostRunning).toBe(4);
  expect(received.map((r) => r.path)).toEqual(new Array(4).fill("/v1/completions"));
  expect(received[0]!.body).toMatchObject({ max_tokens: 3, ignore_eos: true, temperature: 0, stream: true });
  expect(received[0]!.body.prompt).toHaveLength(10);
  for (const { promptTokens, outputTokens, gaps } of summary.outcomes) {
    expect([promptTokens, outputTokens, gaps.length]).toEqual([10, 3, 2]);
  }
  const figures = new Map(summarize(summary, true).map((m) => [m.metric, m.value]));
  expect(figures.get("output")).toBeCloseTo(12 / summary.seconds, 5);
  expect(figures.get("total")).toBeCloseTo(52 / summary.seconds, 5);
});

test("requests bring schemas of their own, and the others' latencies are told apart", async () => {
  const schemas = async (which: "each" | "half") => {
    const summary = await runLoad(options({ schemas: which }));
    expect(summary.errors).toEqual([]);
    return { summary, sent: received.map(({ body }) => JSON.stringify(body.structured_outputs?.json)) };
  };
  const each = await schemas("each");
  expect(new Set(each.sent).size).toBe(4);
  expect(each.sent).not.toContain(undefined);
  const { summary, sent } = await schemas("half");
  expect(sent.filter((schema) => schema === undefined)).toHaveLength(2);
  for (const one of summary.outcomes) one.firstToken = one.constrained ? 100 : 1;
  expect(summarize(summary, true).find(({ metric }) => metric === "TTFT p99")!.value).toBe(1);
});

/** A stream of `pieces`; reading the i-th one moves `clock` on to `i + 1` seconds. */
function slowStream(pieces: readonly string[], clock: { seconds: number }): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let next = 0;
  const pull = (controller: ReadableStreamDefaultController<Uint8Array>) => {
    if (next === pieces.length) return controller.close();
    controller.enqueue(encoder.encode(pieces[next++]));
    clock.seconds = next;
  };
  return new ReadableStream({ pull }, { highWaterMark: 0 });
}

test("a stream's first token and gaps are timed as they come", async () => {
  const event = (json: object) => `data: ${JSON.stringify(json)}\n\n`;
  const token = event({ choices: [{ text: "x" }] });
  const usage = { prompt_tokens: 5, completion_tokens: 3 };
  const clock = { seconds: 0 };
  const pieces = [token, token.slice(0, 9), token.slice(9), token, event({ choices: [], usage }), "data: [DONE]\n\n"];
  expect(await readStream(slowStream(pieces, clock), () => clock.seconds)).toEqual({
    promptTokens: 5,
    outputTokens: 3,
    firstToken: 1,
    gaps: [2, 1],
    total: 6,
  });
  const role = event({ choices: [{ delta: { role: "assistant", content: "" } }] });
  const chat = event({ choices: [{ delta: { content: "x" } }] });
  const opened = slowStream([role, chat, event({ choices: [], usage }), "data: [DONE]\n\n"], clock);
  expect(await readStream(opened, () => clock.seconds)).toMatchObject({ firstToken: 2, gaps: [] });
});

test("concurrency bounds what is out", async () => {
  const load = options({ concurrency: 2, stream: false });
  expected = 2;
  expect((await runLoad(load)).outcomes).toHaveLength(4);
  expect(mostRunning).toBe(2);
});

test("a rate spreads the arrivals as planned", async () => {
  const load = options({ rate: 20, stream: false, prompts: 6 });
  const slept: number[] = [];
  const clock = { now: () => 0, sleep: async (ms: number) => void slept.push(ms / 1000) };
  await runLoad(load, clock);
  expect(slept).toEqual(planLoad(load).map(({ arrival }) => arrival));
});

test("failures are counted with their reason, cut streams too", async () => {
  for (const [kind, reason] of [
    ["refuse", "HTTP 429: full"],
    ["cut", "the stream ended without [DONE]"],
    ["error", "lost"],
  ] as const) {
    mode = kind;
    const { errors, outcomes } = await runLoad(options({ prompts: 2 }));
    expect([errors, outcomes]).toEqual([[reason, reason], []]);
  }
  mode = "good";
});

test("the command line records a run", async () => {
  const file = join(folder, "serve.jsonl");
  const flags = ["--url", server.url.href, "--prompts", "3", "--input", "8", "--output", "2", "--stream"];
  expect(await main([...flags, "--endpoint", "chat", "--results", file])).toBe(0);
  expect(received.at(-1)!.path).toBe("/v1/chat/completions");
  const lines: Result[] = readFileSync(file, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(lines.map((line) => line.metric)).toContain("ITL p99");
  for (const line of lines) {
    expect(Object.keys(line).sort()).toEqual(
      [
        "command",
        "commit",
        "date",
        "driver",
        "dtype",
        "engines",
        "floor",
        "gpu",
        "gpus",
        "load",
        "metric",
        "model",
        "unit",
        "value",
      ].sort(),
    );
    expect(line).toMatchObject({ model: "stand-in", load: { prompts: 3, input: 8, output: 2, stream: true } });
  }
});

test("what the GPU allows is recorded beside what was reached, where it is known", async () => {
  const ceilings = join(folder, "ops.jsonl");
  const figures = { "layer products: tokens 512": 1, "square product, burst: size 8192": 2, read: 3, memory: 40 };
  const lines = Object.entries(figures).map(([name, value]) => ({ metric: `ceiling ${name}`, value, unit: "" }));
  record(ceilings, { model: "ops", dtype: "bfloat16", load: {} }, lines);
  writeFileSync(join(folder, "config.json"), JSON.stringify(SHAPES["mistral-7b"]));
  const file = join(folder, "floors.jsonl");
  const flags = ["--url", server.url.href, "--prompts", "2", "--input", "8", "--output", "2", "--results", file];
  await main([...flags, "--concurrency", "1", "--stream", "--ceilings", ceilings, "--floor-model", folder]);
  const results: Result[] = readFileSync(file, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  const floors = new Map(results.map((r) => [r.metric, r.floor]));
  // Reading 14.2 GB of weights at 3 GB/s, for the prompt and then for one more token.
  expect(floors.get("TTFT p50")).toBeCloseTo(4.74, 1);
  expect(floors.get("output")).toBeCloseTo(2 / 9.48, 3);
  expect(floors.get("TTFT p99")).toBeNull();
});

test("a named load is sent as it is listed, and told by its record", async () => {
  const file = join(folder, "named.jsonl");
  const flags = [
    "--url",
    server.url.href,
    "--load",
    "one",
    "--temperature",
    "0.8",
    "--gpus",
    "4",
    "--engines",
    "2",
    "--results",
    file,
  ];
  options();
  expect(await main(flags)).toBe(0);
  expect(received.map(({ body }) => [body.prompt.length, body.max_tokens, body.return_token_ids])).toEqual([
    [128, 512, true],
  ]);
  const [line] = readResultsFile(file);
  expect(line).toMatchObject({ gpus: 4, engines: 2 });
  expect(nameOf(line!.load)).toBe("one");
  expect(nameOf({ ...line!.load, output: 511 })).toBeNull();
  expect(nameOf({ ...line!.load, schemas: "each" })).toBeNull();
});
