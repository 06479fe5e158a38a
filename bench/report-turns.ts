/** The table of conversations in turns, by the memory that the host has for KV pages (turns.ts). */
import { percent, rounded, table } from "./format.ts";
import type { Result } from "./record.ts";

export function turnsReport(results: readonly Result[]): string {
  const keyOf = ({ model, gpus, load }: Result) => `${model} ${gpus} ${load.host_kv} ${load.forget}`;
  // The newest run of each.
  const newest = new Map(results.map((r) => [`${keyOf(r)} ${r.metric}`, r]));
  const runs = [...new Map(results.map((r) => [keyOf(r), r])).values()];
  runs.sort((a, b) => Number(a.load.forget) - Number(b.load.forget) || Number(a.load.host_kv) - Number(b.load.host_kv));
  const rows = runs.map((run) => {
    const value = (metric: string) => newest.get(`${keyOf(run)} ${metric}`)?.value ?? 0;
    const { host_kv, forget, turns } = run.load;
    const later = Array.from({ length: Number(turns) - 1 }, (_, i) => `turn ${i + 2}`);
    const speeds = (way: string) => later.map((turn) => rounded(value(`${turn} ${way}`))).join(", ");
    return [
      `${host_kv} GiB${forget ? ", nothing is used again" : ""}`,
      // With what another load left behind, it is no first turn.
      value("turn 1 found") > 0 ? "" : `${rounded(value("turn 1"))} s`,
      `${rounded(later.reduce((sum, turn) => sum + value(turn), 0))} s`,
      forget ? "" : percent(value("found")),
      host_kv === 0 || forget ? "" : `${speeds("read")}; ${speeds("written")}`,
    ];
  });
  const facts = new Set(
    runs.map(({ model, gpu, commit, date }) => `${model} on ${gpu}, ${commit}, ${date.slice(0, 10)}`),
  );
  const head = [
    "host memory for pages",
    "first turn",
    "later turns",
    "known tokens found",
    "GB/s read; written, by turn",
  ];
  return `${table(head, rows)}\n\n${[...facts].join("; ")}.`;
}
