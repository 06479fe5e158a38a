/** Tables of bench/cpu.ts: Fastgen beside llama.cpp, and the bound that memory sets. */
import { groupBy, percent, quantity, rounded, table } from "./format.ts";
import type { Result } from "./record.ts";

const RATIO = ": ratio to llama.cpp";
const isSpeed = ({ metric }: Result) => /^(prefill|decode), batch \d+/.test(metric);

/** A heading, a table and what belongs to it for each model and load. */
export function cpuReport(results: readonly Result[]): string {
  const groups = groupBy(results, (r) => JSON.stringify([r.gpu, r.model, r.dtype, r.load]));
  return groups.map(groupReport).join("\n\n");
}

function groupReport(group: readonly Result[]): string {
  const { gpu, model, dtype, load, date, command, commit } = group.at(-1)!;
  const run = group.filter((r) => r.date === date);
  const { input, output, threads } = load;
  const theirs = run.filter((r) => r.server !== undefined);
  const parts = [
    `### ${model} in ${dtype} on ${gpu}: ${input} → ${output} tokens, ${threads} threads`,
    speedTable(run, theirs),
    run
      .filter((r) => !isSpeed(r))
      .map((r) => `- ${r.metric}: ${quantity(r.value, r.unit)}`)
      .join("\n"),
  ];
  if (theirs.length > 0) {
    const settings = theirs.map((r) => `${r.metric}: ${r.setting}`).join("; ");
    const builds = [...new Set(theirs.map((r) => `\`${r.build}\``))].join(", ");
    parts.push(`llama.cpp: ${builds}. Its fastest settings: ${settings}.`);
  }
  parts.push(`\`${command}\`; ${commit}, ${date.slice(0, 10)}`);
  return parts.join("\n\n");
}

function speedTable(run: readonly Result[], theirs: readonly Result[]): string {
  const compared = theirs.length > 0;
  const head = [
    "tokens/s",
    "Fastgen",
    ...(compared ? ["llama.cpp", "ratio"] : []),
    "memory's bound",
    "Fastgen's share",
  ];
  const own = run.filter((r) => isSpeed(r) && r.server === undefined && !r.metric.endsWith(RATIO));
  const rows = own.map(({ metric, value, floor }) => {
    const other = theirs.find((r) => r.metric === metric);
    const ratio = run.find((r) => r.metric === metric + RATIO);
    const comparison = [other ? rounded(other.value) : "", ratio ? quantity(ratio.value, ratio.unit) : ""];
    const bound = floor === null ? ["", ""] : [rounded(floor), percent(value / floor)];
    return [metric, rounded(value), ...(compared ? comparison : []), ...bound];
  });
  return table(head, rows);
}
