/** Checks a profile as whoever opens it needs it, for tests. */
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";

export interface TraceEvent {
  name: string;
  ph: string;
  pid: number;
  tid: number;
  ts: number;
  dur?: number;
  cat?: string;
  id?: number;
  args?: Record<string, string | number | boolean | null>;
}

export interface Trace {
  otherData: Record<string, string>;
  traceEvents: TraceEvent[];
}

export function readProfile(path: string): Trace {
  const bytes = readFileSync(path);
  return JSON.parse((path.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString());
}

/** How readers see a span: its start and end. Perfetto counts whole nanoseconds, the others add doubles. */
const READERS: Record<string, (span: TraceEvent) => [number, number]> = {
  "whole nanoseconds": ({ ts, dur }) => [Math.trunc(ts * 1000), Math.trunc(ts * 1000) + Math.trunc(dur! * 1000)],
  doubles: ({ ts, dur }) => [ts, ts + dur!],
};

/**
 * What is wrong with a trace: rows and processes without names, spans that do not nest, times outside of [from, to]
 * (microseconds), flows that bind to no span, are out of order or have no beginning.
 */
export function faults({ traceEvents }: Trace, from: number, to: number): string[] {
  const wrong: string[] = [];
  const rowOf = ({ pid, tid }: TraceEvent) => `${pid}/${tid}`;
  const namedRows = new Set(traceEvents.filter(({ name }) => name === "thread_name").map(rowOf));
  const namedProcesses = new Set(traceEvents.filter(({ name }) => name === "process_name").map(({ pid }) => pid));
  const timed = traceEvents.filter(({ ph }) => ph !== "M");
  for (const event of timed) {
    if (!namedRows.has(rowOf(event))) wrong.push(`row ${rowOf(event)} has no name`);
    if (!namedProcesses.has(event.pid)) wrong.push(`process ${event.pid} has no name`);
    const { ts, dur = 0, name } = event;
    if (!(ts >= from && dur >= 0 && ts + dur <= to)) wrong.push(`${name} at ${ts} for ${dur} is not in time`);
    if (!"Xistf".includes(event.ph)) wrong.push(`a phase ${event.ph}`);
  }
  const spans = Map.groupBy(
    timed.filter(({ ph }) => ph === "X"),
    rowOf,
  );
  for (const [row, list] of spans)
    for (const [reader, ends] of Object.entries(READERS))
      wrong.push(...nestingFaults(list, ends).map((fault) => `${fault}, in ${reader} of row ${row}`));
  for (const flow of timed.filter(({ ph }) => "stf".includes(ph))) {
    const around = spans.get(rowOf(flow))?.some(({ ts, dur }) => contains(ts, dur!, flow.ts));
    if (!around) wrong.push(`a flow ${flow.cat} ${flow.id} at ${flow.ts} binds to no span of ${rowOf(flow)}`);
  }
  const flows = Map.groupBy(
    timed.filter(({ cat }) => cat !== undefined),
    ({ cat, id }) => `${cat} ${id}`,
  );
  for (const [flow, list] of flows) wrong.push(...flowFaults(flow, list));
  return [...new Set(wrong)];
}

function contains(ts: number, dur: number, at: number): boolean {
  return at >= ts && at < ts + dur;
}

function nestingFaults(spans: TraceEvent[], ends: (span: TraceEvent) => [number, number]): string[] {
  const wrong: string[] = [];
  const open: { name: string; end: number }[] = [];
  const read = spans.map((span) => ({ span, start: ends(span)[0], end: ends(span)[1] }));
  for (const { span, start, end } of read.sort((a, b) => a.start - b.start || b.end - a.end)) {
    while (open.length > 0 && open.at(-1)!.end <= start) open.pop();
    const around = open.at(-1);
    if (around && end > around.end)
      wrong.push(`${span.name} at ${span.ts} ends after ${around.name}, in which it begins`);
    open.push({ name: span.name, end });
  }
  return wrong;
}

function flowFaults(flow: string, events: TraceEvent[]): string[] {
  const phases = events
    .toSorted((a, b) => a.ts - b.ts)
    .map(({ ph }) => ph)
    .join("");
  return /^st*f?$/.test(phases) ? [] : [`the flow ${flow} goes ${phases}`];
}
