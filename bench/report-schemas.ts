/** The table of what schemas cost on a CPU (constrained-cpu.ts): for each model and load, answers with schemas beside free ones. */
import { groupBy, quantity, rounded, table } from "./format.ts";
import type { Result } from "./record.ts";

export const KINDS = ["without schemas", "schemas compiled before", "new schemas"] as const;
export type Kind = (typeof KINDS)[number];

/** What is measured of each kind: its metrics are called "KIND, WHAT". */
export const SPEED = "output";
export const COST = "CPU time per token";

/** The metric that compares another one with that of answers without schemas. */
export function shareOf(metric: string): string {
  return `${metric}: share of that without`;
}

/** A table of the newest run of each model and load, however long it took, and how to repeat each. */
export function schemasReport(results: readonly Result[]): string {
  const keyOf = ({ gpu, model, dtype, load }: Result) => {
    const { bursts: _, rounds: __, ...others } = load;
    return JSON.stringify([gpu, model, dtype, others]);
  };
  const runs = groupBy(results, keyOf).map((group) => group.filter(({ date }) => date === group.at(-1)!.date));
  const head = ["model", "load", "answers", "tokens/s", "of those without", "CPU time per token", "of that without"];
  const facts = runs.map((run) => {
    const { command, commit, date, gpu } = run.at(-1)!;
    return `\`${command}\`; ${commit}, ${date.slice(0, 10)}, ${gpu}`;
  });
  return [table(head, runs.flatMap(rowsOf)), ...facts].join("\n\n");
}

function rowsOf(run: readonly Result[]): string[][] {
  const find = (metric: string) => run.find((r) => r.metric === metric);
  return KINDS.flatMap((kind) => {
    const [speed, cost] = [find(`${kind}, ${SPEED}`), find(`${kind}, ${COST}`)];
    if (!speed || !cost) return [];
    const share = ({ metric }: Result) => {
      const found = find(shareOf(metric));
      return found ? quantity(found.value, found.unit) : "";
    };
    const { sequences, input, output } = speed.load;
    const load = `${sequences} × ${input} → ${output}`;
    return [
      [speed.model, load, kind, rounded(speed.value), share(speed), quantity(cost.value, cost.unit), share(cost)],
    ];
  });
}
