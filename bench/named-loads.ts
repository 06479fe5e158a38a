/** The loads that are measured over HTTP, by the names that bench/serve.ts and bench/gpu.sh take. */
import type { LoadOptions } from "./load.ts";

export interface NamedLoad
  extends Pick<LoadOptions, "prompts" | "input" | "output" | "spread" | "rate" | "concurrency" | "stream" | "schemas"> {
  title: string;
}

/** Everything at once, of equal lengths, answered in one piece, unless `changes` says otherwise. */
function load(title: string, prompts: number, input: number, output: number, changes: Partial<NamedLoad> = {}) {
  const common = { spread: 0, rate: null, concurrency: null, stream: false };
  return { title, prompts, input, output, ...common, ...changes };
}

/** Tokens of each answer in the loads of the figure (figure.ts). */
export const FIGURE_OUTPUTS = [16, 27, 47, 81, 138, 237, 406, 697, 1195, 2048];

export const NAMED_LOADS: Record<string, NamedLoad> = {
  reference: load("reference", 512, 1024, 128),
  "reference-2": load("reference for two engines", 1024, 1024, 128),
  "reference-4": load("reference for four engines", 2048, 1024, 128),
  long: load("long answers", 512, 128, 2048),
  mixed: load("mixed lengths", 1000, 220, 200, { spread: 0.9 }),
  thousand: load("a thousand tokens each way", 256, 1000, 1000),
  short: load("short requests", 2000, 32, 16),
  "batch-20000": load("20,000 requests of mixed length", 20_000, 220, 100, { spread: 0.9, concurrency: 2048 }),
  "prompts-4k": load("long prompts", 256, 4096, 256),
  "prompts-24k": load("very long prompts", 16, 24_000, 128),
  stream: load("64 streams", 64, 1024, 512, { stream: true }),
  "stream-schemas": load("64 streams with a schema each", 64, 1024, 512, { stream: true, schemas: "each" }),
  "stream-256": load("256 streams", 256, 1024, 512, { stream: true }),
  "stream-256-schemas": load("256 streams with a schema each", 256, 1024, 512, { stream: true, schemas: "each" }),
  "stream-256-half": load("256 streams, half of them with a schema", 256, 1024, 512, { stream: true, schemas: "half" }),
  one: load("one stream", 1, 128, 512, { stream: true }),
  first: load("one request at a time", 8, 1024, 8, { stream: true, concurrency: 1 }),
  poisson: load("16 requests per second", 320, 1024, 128, { stream: true, rate: 16 }),
  "poisson-schemas": load("16 requests per second with a schema each", 320, 1024, 128, {
    stream: true,
    rate: 16,
    schemas: "each",
  }),
  "poisson-24": load("24 requests per second", 480, 1024, 128, { stream: true, rate: 24 }),
  ...Object.fromEntries(FIGURE_OUTPUTS.map((n) => [`figure-${n}`, load(`answers of ${n} tokens`, 512, 1024, n)])),
};

/** The load's name; null where it has none. Temperature and seed are no part of it. */
export function nameOf(sent: Record<string, unknown>): string | null {
  const same = ({ title, schemas, ...load }: NamedLoad) =>
    sent.schemas === schemas && Object.entries(load).every(([key, value]) => sent[key] === value);
  return Object.entries(NAMED_LOADS).find(([, load]) => same(load))?.[0] ?? null;
}
