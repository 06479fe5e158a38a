import { afterEach, describe, expect, test } from "bun:test";
import { MAX_QUEUED_SPANS } from "../../src/limits.ts";
import { samplingSchema } from "../../src/params.ts";
import { startCollector } from "../../test/otlp-collector.ts";
import { FakeFastgen, type FakeOptions, PREFILL_SECONDS, QUEUED_SECONDS, startServer, until } from "../testing.ts";
import { otlpTracer } from "./otlp.ts";
import type { TracedRequest } from "./tracing.ts";

const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

async function trace(fake: FakeOptions = {}, collector = startCollector()) {
  const errors: string[] = [];
  const tracer = otlpTracer(`${collector.url}/v1/traces`, (message) => errors.push(message));
  const server = await startServer(new FakeFastgen({ answer: "abcd", ...fake }), { tracer, servedModelName: "m" });
  stops.push(server.stop, collector.stop, () => tracer.close());
  return { server, tracer, errors, ...collector };
}

const messages = [{ role: "user", content: "Hi" }];

describe("a span for each request", () => {
  test("with vLLM's name and attributes", async () => {
    const before = BigInt(Date.now()) * 1_000_000n;
    const { server, tracer, spans, paths } = await trace();
    const body = { messages, n: 2, temperature: 0.5, top_p: 0.9, max_tokens: 3 };
    await (await server.post("/v1/chat/completions", body, { "x-request-id": "one" })).text();
    expect(await tracer.close()).toBe(true);
    expect(paths).toEqual(["/v1/traces"]);
    const [span, ...more] = spans;
    expect(more).toEqual([]);
    expect(span).toMatchObject({ name: "llm_request", kind: 2, parentId: "", status: 0 });
    expect(span!.resource).toMatchObject({ "service.name": "fastgen" });
    expect(span!.attributes).toEqual({
      "gen_ai.request.id": "one",
      "gen_ai.response.model": "m",
      "gen_ai.request.n": 2,
      "gen_ai.request.temperature": 0.5,
      "gen_ai.request.top_p": 0.9,
      "gen_ai.request.max_tokens": 3,
      "gen_ai.usage.prompt_tokens": 8,
      "gen_ai.usage.completion_tokens": 6,
      "gen_ai.latency.time_in_queue": QUEUED_SECONDS,
      "gen_ai.latency.time_to_first_token": expect.any(Number),
      "gen_ai.latency.time_in_model_prefill": PREFILL_SECONDS,
      "gen_ai.latency.time_in_model_decode": expect.any(Number),
      "gen_ai.latency.time_in_model_inference": expect.any(Number),
      "gen_ai.latency.e2e": expect.any(Number),
    });
    const { attributes, start, end } = span!;
    expect(attributes["gen_ai.latency.e2e"]).toBeGreaterThanOrEqual(
      attributes["gen_ai.latency.time_to_first_token"] as number,
    );
    // A millisecond for the two clocks that Date and performance are.
    expect(start).toBeGreaterThan(before - 1_000_000n);
    expect(end).toBeGreaterThan(start);
  });

  test("of several sequences it has the longest times and the first token; it begins with the request", async () => {
    const { tracer, spans } = await trace();
    const started = 1;
    const params = samplingSchema.parse({});
    const usage = { prompt_tokens: 1, completion_tokens: 7 };
    const times = [
      { queued: 0.5, prefill: 0.25, first: started + 1000, newest: started + 3000, tokens: 5 },
      { queued: 2, prefill: 1, first: started + 500, newest: started + 1500, tokens: 2 },
      { queued: 0.125, prefill: 0, first: 0, newest: 0, tokens: 0 },
    ];
    tracer.requestDone({ id: "one", headers: {}, started, model: "m", params, usage, times, error: null });
    const closing = tracer.close();
    expect(tracer.close()).toBe(closing);
    await closing;
    const { attributes, start } = spans[0]!;
    const seconds = (name: string) => attributes[`gen_ai.latency.${name}`] as number;
    expect(seconds("time_in_queue")).toBe(2);
    expect(seconds("time_in_model_prefill")).toBe(1);
    expect(seconds("time_to_first_token")).toBeCloseTo(0.5);
    expect(seconds("time_in_model_decode")).toBeCloseTo(2);
    expect(seconds("time_in_model_inference")).toBeCloseTo(2.25);
    expect(Number(start) / 1e6 - performance.timeOrigin).toBeCloseTo(started, 0);
  });

  test("OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES go before the service's own name", async () => {
    const before = { ...process.env };
    process.env.OTEL_SERVICE_NAME = "mine";
    process.env.OTEL_RESOURCE_ATTRIBUTES = "deployment.environment=test";
    try {
      const { server, tracer, spans } = await trace();
      await (await server.post("/v1/completions", { prompt: "a" })).text();
      await tracer.close();
      expect(spans[0]!.resource).toMatchObject({ "service.name": "mine", "deployment.environment": "test" });
    } finally {
      for (const name of ["OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"]) {
        if (before[name] === undefined) delete process.env[name];
        else process.env[name] = before[name];
      }
    }
  });

  test("within the trace that the request names", async () => {
    const { server, tracer, spans } = await trace();
    const traceId = "0af7651916cd43dd8448eb211c80319c";
    const send = (traceparent: string) =>
      server.post("/v1/completions", { prompt: "a" }, { traceparent }).then((reply) => reply.text());
    await send(`00-${traceId}-b7ad6b7169203331-01`);
    await tracer.close();
    expect(spans).toHaveLength(1);
    expect(spans[0]).toMatchObject({ traceId, parentId: "b7ad6b7169203331" });
  });

  test("of its own, where the header is garbled; none, where the caller does not sample", async () => {
    const { server, tracer, spans } = await trace();
    for (const traceparent of [
      "",
      "00-0-0-01",
      "x".repeat(5000),
      "00-00000000000000000000000000000000-b7ad6b7169203331-01",
    ]) {
      await (await server.post("/v1/completions", { prompt: "a" }, { traceparent })).text();
    }
    const unsampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    await (await server.post("/v1/completions", { prompt: "a" }, { traceparent: unsampled })).text();
    await tracer.close();
    expect(spans.map(({ parentId }) => parentId)).toEqual(["", "", "", ""]);
    expect(new Set(spans.map(({ traceId }) => traceId)).size).toBe(4);
  });

  test("also for streams, and for requests that fail or are abandoned", async () => {
    const { server, tracer, spans } = await trace({ pace: () => Bun.sleep(1), failAfter: 3 });
    await (await server.post("/v1/completions", { prompt: "a", stream: true, max_tokens: 2 })).text();
    await (await server.post("/v1/completions", { prompt: "a" })).text();
    await (await server.post("/v1/completions", { prompt: "x".repeat(2000) })).text();
    await (await fetch(`${server.url}/v1/models`)).text();
    await tracer.close();
    expect(spans.map(({ status, attributes }) => [status, attributes["error.type"]])).toEqual([
      [0, undefined],
      [2, "device"],
    ]);
    expect(spans[0]!.attributes["gen_ai.usage.completion_tokens"]).toBe(2);
  });
});

describe("a collector that is no help", () => {
  const request: TracedRequest = {
    id: "one",
    headers: {},
    started: performance.now(),
    model: "m",
    params: samplingSchema.parse({}),
    usage: { prompt_tokens: 1, completion_tokens: 1 },
    times: [],
    error: null,
  };
  const served = async (server: { post: Awaited<ReturnType<typeof startServer>>["post"] }) =>
    (await server.post("/v1/completions", { prompt: "a" })).status;

  test("is gone: requests go on, and the end does not wait for it", async () => {
    const collector = startCollector();
    collector.stop();
    const { server, tracer } = await trace({}, collector);
    expect(await served(server)).toBe(200);
    expect(await tracer.close()).toBe(false);
    expect(await served(server)).toBe(200);
  });

  test("never answers: alike", async () => {
    const gate = Promise.withResolvers<Response>();
    const collector = startCollector(() => gate.promise);
    const { server, tracer, spans } = await trace({}, collector);
    expect(await served(server)).toBe(200);
    expect(await tracer.close()).toBe(false);
    expect(spans).toEqual([]);
    gate.resolve(new Response());
  });

  test("refuses: that is said once", async () => {
    const collector = startCollector(() => new Response("no", { status: 400 }));
    const { tracer, errors, paths } = await trace({}, collector);
    for (let batch = 1; batch <= 3; batch++) {
      // As many as a batch holds are sent at once.
      for (let i = 0; i < 512; i++) tracer.requestDone(request);
      await until(() => paths.length === batch);
    }
    await until(() => errors.length > 0);
    await tracer.close();
    expect(errors).toHaveLength(1);
    expect(errors[0]).toContain(`${collector.url}/v1/traces`);
  });

  test("is slow: only so many spans wait for it", async () => {
    const gate = Promise.withResolvers<void>();
    const collector = startCollector(() => gate.promise.then(() => new Response()));
    const { tracer, spans, paths } = await trace({}, collector);
    for (let i = 0; i < 512; i++) tracer.requestDone(request);
    await until(() => paths.length === 1);
    for (let i = 0; i < 2 * MAX_QUEUED_SPANS; i++) tracer.requestDone(request);
    gate.resolve();
    await tracer.close();
    expect(spans).toHaveLength(512 + MAX_QUEUED_SPANS);
  });
});
