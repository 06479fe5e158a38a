/** Where a step's time goes, by a profile: its ops, what lies between them, and between two steps. */
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";

export interface Span {
  name: string;
  ph: string;
  pid: number;
  tid: number;
  ts: number;
  dur: number;
  args?: Record<string, number | boolean | string>;
}

/** Rows of libfastgen (trace.h): the steps and ops of rank 0. */
const OPS_ROW = 100;
const FIRST_STREAM_ROW = 102;

/** The parts of a step, in the order of a layer, and the ops of each. */
export const PARTS = [
  "norms",
  "q, k, v",
  "RoPE",
  "attention",
  "o",
  "gate and up",
  "down",
  "sum of ranks",
  "logits",
  "sampling",
  "other",
];

export interface ProfileSummary {
  /** Milliseconds, the mean over the steps: from one step's begin to the next; of this, in which the device did something. */
  step_ms: number;
  parts: Record<string, number>;
  /** Within steps, between two ops; and between the steps. */
  between_ops_ms: number;
  between_steps_ms: number;
  /** The scheduler's thread: how long a step was planned, submitted, waited for and committed. */
  scheduler: { plan: number; submit: number; wait: number; commit: number };
  steps: number;
  tokens: number;
  /** Steps that were replayed as graphs. */
  graphs: number;
  kernels_per_step: number;
  /** One layer's ops: name, begin and length in microseconds. */
  layer: [name: string, start: number, length: number][];
}

export function readSpans(path: string): Span[] {
  const bytes = readFileSync(path);
  const text = (path.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString();
  return JSON.parse(text).traceEvents.filter(({ ph }: Span) => ph === "X");
}

/** Names the part of each op of a layer; o and down are one op, called twice. */
function partOf(op: Span, adds: number): string {
  switch (op.name) {
    case "add_norm":
      return "norms";
    case "linear":
      return "q, k, v";
    case "qkv_rope":
      return "RoPE";
    case "attention":
      return "attention";
    case "linear_add":
      return adds % 2 === 0 ? "o" : "down";
    case "gate_up":
      return "gate and up";
    case "all_reduce":
      return "sum of ranks";
    case "logits":
      return "logits";
    case "sample":
      return "sampling";
    default:
      return "other";
  }
}

/** Of the steps after the first: what came before that is not in the profile. */
export function summarise(spans: readonly Span[]): ProfileSummary {
  const byStart = (list: Span[]) => list.toSorted((a, b) => a.ts - b.ts || b.dur - a.dur);
  const row = byStart(spans.filter(({ tid }) => tid === OPS_ROW));
  const steps = row.filter(({ name }) => name === "step");
  if (steps.length < 3) throw new Error(`a profile of ${steps.length} steps; three are the least`);
  const ops = row.filter(({ name }) => name !== "step");
  const [first, last] = [steps[1]!, steps.at(-1)!];
  const counted = steps.length - 2;
  const within = (span: Span) => span.ts >= first.ts && span.ts < last.ts;
  const parts: Record<string, number> = Object.fromEntries(PARTS.map((part) => [part, 0]));
  let adds = 0;
  const layer: ProfileSummary["layer"] = [];
  const middle = Math.max(...ops.map(({ args }) => Number(args?.layer ?? 0))) >> 1;
  for (const op of ops.filter(within)) {
    if (op.name === "embed") adds = 0;
    const part = partOf(op, adds);
    if (op.name === "linear_add") adds++;
    parts[part]! += op.dur / 1000 / counted;
    if (op.args?.layer === middle && op.ts < steps[2]!.ts) layer.push([part, op.ts, op.dur]);
  }
  const opTime = Object.values(parts).reduce((sum, ms) => sum + ms, 0);
  const busy = steps.slice(1, -1).reduce((sum, { dur }) => sum + dur / 1000, 0) / counted;
  const period = (last.ts - first.ts) / 1000 / counted;
  const numbers = new Set(steps.slice(1, -1).map(({ args }) => args!.step));
  const thread = (name: string) => {
    const list = spans.filter((span) => span.name === name && numbers.has(span.args?.step ?? -1));
    return list.reduce((sum, { dur }) => sum + dur / 1000, 0) / Math.max(1, list.length);
  };
  const kernels = spans.filter((span) => span.tid >= FIRST_STREAM_ROW && span.tid < 2 * OPS_ROW && within(span));
  const origin = layer[0]?.[1] ?? 0;
  return {
    step_ms: period,
    parts,
    between_ops_ms: busy - opTime,
    between_steps_ms: period - busy,
    scheduler: { plan: thread("plan"), submit: thread("submit"), wait: thread("wait"), commit: thread("commit") },
    steps: counted,
    tokens: steps.slice(1, -1).reduce((sum, { args }) => sum + (args!.tokens as number), 0) / counted,
    graphs: steps.slice(1, -1).filter(({ args }) => args!.graph).length,
    kernels_per_step: kernels.length / counted,
    layer: layer.map(([name, start, length]) => [name, start - origin, length]),
  };
}
