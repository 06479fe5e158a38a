/**
 * Traces over OTLP (HTTP, protobuf), with OpenTelemetry's SDK: a span for each request for tokens, with vLLM's name and
 * attributes. Spans that a collector does not take are dropped; nobody waits for it.
 */
import { type Attributes, type Context, ROOT_CONTEXT, SpanKind, SpanStatusCode } from "@opentelemetry/api";
import { setGlobalErrorHandler, W3CTraceContextPropagator } from "@opentelemetry/core";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { detectResources, envDetector, resourceFromAttributes } from "@opentelemetry/resources";
import { BatchSpanProcessor, TracerProvider } from "@opentelemetry/sdk-trace";
import { MAX_QUEUED_SPANS, TRACE_FLUSH_SECONDS } from "../../src/limits.ts";
import { VERSION } from "../../src/version.ts";
import type { RequestTracer, TracedRequest } from "./tracing.ts";

/** `endpoint`: the URL that takes traces. `onError` hears of the first batch that could not be sent. */
export function otlpTracer(endpoint: string, onError: (message: string) => void): RequestTracer {
  const processor = new BatchSpanProcessor({
    exporter: new OTLPTraceExporter({ url: endpoint }),
    maxQueueSize: MAX_QUEUED_SPANS,
  });
  const own = resourceFromAttributes({ "service.name": "fastgen", "service.version": VERSION });
  // OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES go before.
  const resource = own.merge(detectResources({ detectors: [envDetector] }));
  const provider = new TracerProvider({ resource, spanProcessors: [processor] });
  const tracer = provider.getTracer("fastgen", VERSION);
  let closing: Promise<boolean> | null = null;
  let told = false;
  setGlobalErrorHandler((error) => {
    if (told) return;
    told = true;
    onError(`traces cannot be sent to ${endpoint}: ${messageOf(error)}; spans are dropped until they can`);
  });
  return {
    requestDone(request) {
      const startTime = performance.timeOrigin + request.started;
      const options = { kind: SpanKind.SERVER, startTime, attributes: attributes(request) };
      const span = tracer.startSpan("llm_request", options, parentOf(request));
      const { error } = request;
      if (error) span.setStatus({ code: SpanStatusCode.ERROR, message: error.message });
      span.end(performance.timeOrigin + performance.now());
    },
    close() {
      closing ??= settles(provider.shutdown(), TRACE_FLUSH_SECONDS);
      return closing;
    },
  };
}

/** Whether `promise` settles within `seconds`. */
async function settles(promise: Promise<unknown>, seconds: number): Promise<boolean> {
  const { promise: late, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(resolve, seconds * 1000, false);
  const settled = promise.then(
    () => true,
    () => true,
  );
  return Promise.race([settled, late]).finally(() => clearTimeout(timer));
}

const propagator = new W3CTraceContextPropagator();
const getter = {
  keys: (carrier: object) => Object.keys(carrier),
  get: (carrier: Record<string, string | undefined>, key: string) => carrier[key],
};

function parentOf({ headers }: TracedRequest): Context {
  return headers.traceparent === undefined ? ROOT_CONTEXT : propagator.extract(ROOT_CONTEXT, headers, getter);
}

/** Of several sequences the longest times. Seconds. */
function attributes({ id, started, model, params, usage, times, error }: TracedRequest): Attributes {
  const longest = (time: (one: (typeof times)[number]) => number) => Math.max(0, ...times.map(time));
  const decode = (one: (typeof times)[number]) => (one.newest - one.first) / 1000;
  const firsts = times.filter(({ tokens }) => tokens > 0).map(({ first }) => first);
  return {
    "gen_ai.request.id": id,
    "gen_ai.response.model": model,
    "gen_ai.request.n": params.n,
    "gen_ai.request.temperature": params.temperature,
    "gen_ai.request.top_p": params.top_p,
    "gen_ai.request.max_tokens": params.max_tokens ?? undefined,
    "gen_ai.usage.prompt_tokens": usage.prompt_tokens,
    "gen_ai.usage.completion_tokens": usage.completion_tokens,
    "gen_ai.latency.time_in_queue": longest(({ queued }) => queued),
    "gen_ai.latency.time_to_first_token": firsts.length > 0 ? (Math.min(...firsts) - started) / 1000 : undefined,
    "gen_ai.latency.time_in_model_prefill": longest(({ prefill }) => prefill),
    "gen_ai.latency.time_in_model_decode": longest(decode),
    "gen_ai.latency.time_in_model_inference": longest((one) => one.prefill + decode(one)),
    "gen_ai.latency.e2e": (performance.now() - started) / 1000,
    "error.type": error?.kind,
  };
}

function messageOf(thrown: unknown): string {
  if (thrown instanceof AggregateError) return thrown.errors.map(messageOf).join("; ");
  if (!(thrown instanceof Error)) return String(thrown);
  return thrown.message || ("code" in thrown ? String(thrown.code) : thrown.name);
}
