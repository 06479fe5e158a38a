/** What a trace tells of a request. Only the types: routes/metrics/otlp.ts, which sends traces, is loaded where traces are wanted. */
import type { FastgenError } from "../../src/errors.ts";
import type { ResolvedParams } from "../../src/params.ts";
import type { SequenceTimes } from "./request-metrics.ts";

export interface TracedRequest {
  id: string;
  /** W3C's headers, as the caller sent them: the trace that the request belongs to. */
  headers: { traceparent?: string; tracestate?: string };
  /** performance.now() when it came in. */
  started: number;
  model: string;
  params: ResolvedParams;
  usage: { prompt_tokens: number; completion_tokens: number };
  /** Of the sequences that have begun. */
  times: SequenceTimes[];
  error: FastgenError | null;
}

export interface RequestTracer {
  /** A request for tokens has ended. Never throws, never waits. */
  requestDone(request: TracedRequest): void;
  /** Sends what has not been sent. Resolves to false where the collector has not answered in time, and is not waited for. */
  close(): Promise<boolean>;
}
