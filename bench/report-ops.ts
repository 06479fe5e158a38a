/** Tables of bench/ops.ts: what one GPU can do, and what each op reaches of it. */
import { groupBy, percent, rounded, table } from "./format.ts";
import type { Result } from "./record.ts";

/** The newest run on each GPU. */
export function opsReport(results: readonly Result[]): string {
  return groupBy(results, (r) => r.gpu)
    .map((group) => gpuReport(group.filter((r) => r.date === group.at(-1)!.date)))
    .join("\n\n");
}

function gpuReport(run: readonly Result[]): string {
  const { gpu, driver, commit, date } = run[0]!;
  const isCeiling = (r: Result) => r.metric.startsWith("ceiling ");
  return [
    `### ${gpu}, driver ${driver}`,
    opsTable(
      "ceiling",
      run.filter(isCeiling).map((r) => ({ ...r, metric: r.metric.slice("ceiling ".length) })),
    ),
    opsTable(
      "op",
      run.filter((r) => !isCeiling(r)),
    ),
    `\`bun bench/ops.ts\`; ${commit}, ${date.slice(0, 10)}`,
  ].join("\n\n");
}

/** A row for each op, or two where memory bounds small sizes and arithmetic large ones. */
function opsTable(what: string, results: readonly Result[]): string {
  const rows = new Map<string, string[]>();
  for (const r of results) {
    // "decode attention: batch 64, context 1024"
    const [op, shape = ""] = r.metric.split(": ");
    const names = shape.replace(/ \d+/g, "").replaceAll(", ", " × ");
    const sizes = shape.replace(/[a-z]+ /g, "").replaceAll(", ", " × ");
    const key = [op + (names ? ` (${names})` : ""), r.unit].join("\n");
    const share = r.floor === null ? "" : ` (${percent(r.value / r.floor)})`;
    rows.set(key, [...(rows.get(key) ?? []), `${sizes ? `${sizes}: ` : ""}${rounded(r.value)}${share}`]);
  }
  return table(
    [what, "unit", "reached"],
    [...rows].map(([key, cells]) => [...key.split("\n"), cells.join("; ")]),
  );
}
