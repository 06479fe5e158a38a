/** What the server view shows, from two readings of /metrics: Prometheus' text, parsed; rates and quantiles of what lies between. */

/** A reading: each series by its name and labels. */
export interface Reading {
  /** Seconds. */
  time: number;
  samples: Sample[];
}

export interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

/** Prometheus' text format. Lines that are none are left out. */
export function parseMetrics(text: string, time: number): Reading {
  const samples: Sample[] = [];
  for (const line of text.split("\n")) {
    const match = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/.exec(line);
    if (!match) continue;
    const labels: Record<string, string> = Object.create(null);
    for (const [, key, value] of match[2]?.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g) ?? []) {
      labels[key!] = value!.replace(/\\(.)/g, (_, c) => (c === "n" ? "\n" : c));
    }
    samples.push({ name: match[1]!, labels, value: numberOf(match[3]!) });
  }
  return { time, samples };
}

const numberOf = (text: string) => (text === "+Inf" ? Number.POSITIVE_INFINITY : Number(text));

/** The samples of a metric, under vLLM's prefix. */
export function samplesOf({ samples }: Reading, name: string): Sample[] {
  return samples.filter((sample) => sample.name === `vllm:${name}`);
}

/** A metric's sum over all engines; null = the server has none. */
export function sum(reading: Reading, name: string): number | null {
  const found = samplesOf(reading, name);
  return found.length === 0 ? null : found.reduce((total, { value }) => total + value, 0);
}

/** A gauge's mean over all engines; null = the server has none. */
export function mean(reading: Reading, name: string): number | null {
  const total = sum(reading, name);
  return total === null ? null : total / samplesOf(reading, name).length;
}

/** A counter's growth per second; null = unknown. A counter that fell back is that of a server started anew. */
export function rate(before: Reading | null, now: Reading, name: string): number | null {
  const then = before && sum(before, name);
  const value = sum(now, name);
  if (before === null || then === null || value === null || now.time <= before.time || value < then) return null;
  return (value - then) / (now.time - before.time);
}

/**
 * A quantile of what a histogram counted between two readings, linear within a bucket as Prometheus has it; null = it counted
 * nothing.
 * @param q 0 to 1
 */
export function quantile(before: Reading | null, now: Reading, name: string, q: number): number | null {
  const buckets = bucketsOf(now, name);
  const old = before ? bucketsOf(before, name) : new Map<number, number>();
  const counts = [...buckets].map(([bound, count]) => ({ bound, count: count - (old.get(bound) ?? 0) }));
  counts.sort((a, b) => a.bound - b.bound);
  const total = counts.at(-1)?.count ?? 0;
  if (total <= 0) return null;
  const rank = q * total;
  let lower = 0;
  let below = 0;
  for (const { bound, count } of counts) {
    if (count >= rank) {
      if (bound === Number.POSITIVE_INFINITY) return lower;
      return lower + (bound - lower) * (count === below ? 0 : (rank - below) / (count - below));
    }
    lower = bound;
    below = count;
  }
  return lower;
}

/** Cumulative counts by upper bound, over all engines. */
function bucketsOf(reading: Reading, name: string): Map<number, number> {
  const buckets = new Map<number, number>();
  for (const { labels, value } of samplesOf(reading, `${name}_bucket`)) {
    const bound = numberOf(labels.le ?? "");
    buckets.set(bound, (buckets.get(bound) ?? 0) + value);
  }
  return buckets;
}
