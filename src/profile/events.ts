/**
 * Lines of Chrome's trace event format, which Perfetto opens: one JSON object each, without the commas between them. Times are
 * microseconds of clock.ts's clock.
 */

/** The processes of a profile. Engine i has ENGINE + i. */
export const PROCESS = { requests: 1, engine: 2 };

/** Where an event stands: process and row. */
export interface Row {
  pid: number;
  tid: number;
}

type Args = Record<string, string | number | boolean | null>;

const micros = (time: number) => Math.round(time * 1000) / 1000;

export function processName({ pid, name }: { pid: number; name: string }): string {
  return JSON.stringify({ name: "process_name", ph: "M", pid, tid: 0, args: { name } });
}

/** Rows stand in the order of their numbers. */
export function rowName({ pid, tid }: Row, name: string): string {
  const sort = { name: "thread_sort_index", ph: "M", pid, tid, args: { sort_index: tid } };
  return `${JSON.stringify({ name: "thread_name", ph: "M", pid, tid, args: { name } })},\n${JSON.stringify(sort)}`;
}

/**
 * Microseconds by which a span is written shorter, once more for each span that it stands in. Whoever opens a trace adds ts and
 * dur, and cuts both off to nanoseconds before (Perfetto) or not (speedscope): without gaps, neighbours would overlap by a
 * rounding now and then, and Perfetto leaves out what overlaps. Enough up to 200 days after the machine's start, where a double
 * holds 2 ns. libfastgen/trace_write.c has the same.
 */
export const GAP = 0.004;

/** Spans of one row lie one after the other, or one within another: then the inner one has `depth` 1. */
export function span({ pid, tid }: Row, name: string, start: number, end: number, args?: Args, depth = 0): string {
  const [ts, dur] = [micros(start), micros(Math.max(0, end - start - GAP * (1 + depth)))];
  return JSON.stringify({ name, ph: "X", pid, tid, ts, dur, args });
}

export function remark({ pid, tid }: Row, name: string, at: number, args?: Args): string {
  return JSON.stringify({ name, ph: "i", pid, tid, ts: micros(at), s: "g", args });
}

/**
 * An arrow from span to span: it starts ("s"), goes on ("t") and ends ("f") in the spans that are there at its times. Flows of
 * one category have different ids.
 */
export function flow({ pid, tid }: Row, phase: "s" | "t" | "f", category: string, id: number, at: number): string {
  return JSON.stringify({ name: category, cat: category, ph: phase, id, pid, tid, ts: micros(at), bp: "e" });
}

/** The flow of a sequence of an engine, from its request to its steps and back. */
export const sequenceFlow = flowId;

/** The flow of a step, from the scheduler to the ranks (libfastgen/trace_write.c has the same). */
export const stepFlow = flowId;

function flowId(engine: number, number: number): number {
  return (PROCESS.engine + engine) * 2 ** 32 + number;
}
