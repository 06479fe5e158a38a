/** How results are written: numbers, loads, tables. */

const SIGNIFICANT = 3;

/** A Markdown table. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [head, head.map(() => "---"), ...rows].map(line).join("\n");
}

export function quantity(value: number, unit: string): string {
  if (unit === "share") return percent(value);
  if (unit === "s" && value < 1) return `${rounded(value * 1000)} ms`;
  return `${rounded(value)} ${unit}`;
}

export function percent(share: number): string {
  return `${rounded(100 * share)} %`;
}

/** Rounded to three significant digits; digits before the decimal point are never dropped. */
export function rounded(value: number): string {
  const text = Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(SIGNIFICANT);
  return Number(text).toLocaleString("en-US", { maximumFractionDigits: 6 });
}

/** "512 × 1024 → 128, ± 90 %, 16 requests/s, temperature 0.8, streaming" */
export function describeLoad(load: Record<string, unknown>): string {
  const { prompts, input, output, spread, rate, concurrency, stream, temperature, schemas } = load;
  const parts = [`${prompts} × ${input} → ${output}`];
  if (spread) parts.push(`± ${percent(spread as number)}`);
  if (rate) parts.push(`${rate} requests/s`);
  if (concurrency) parts.push(concurrency === 1 ? "one at a time" : `${concurrency} at a time`);
  if (temperature) parts.push(`temperature ${temperature}`);
  if (stream) parts.push("streaming");
  if (schemas) parts.push(schemas === "each" ? "a schema each" : "half with a schema");
  return parts.join(", ");
}

/** The groups of `values` with equal keys, in the order in which each key first comes. */
export function groupBy<T>(values: readonly T[], keyOf: (value: T) => string): T[][] {
  return [...Map.groupBy(values, keyOf).values()];
}
