/** The table of what the one HTTP thread bounds, by load and number of engines (http-thread.ts). */
import { percent, rounded, table } from "./format.ts";
import type { Result } from "./record.ts";

export function httpThreadReport(results: readonly Result[]): string {
  const keyOf = ({ load, engines }: Result) => `${load.name} ${engines}`;
  // The newest run of each.
  const newest = new Map(results.map((r) => [`${keyOf(r)} ${r.metric}`, r]));
  const value = (name: unknown, engines: number, metric: string) => newest.get(`${name} ${engines} ${metric}`)?.value;
  const runs = [...new Map(results.map((r) => [keyOf(r), r])).values()];
  const rows = runs.map(({ load, engines }) => {
    const { name, prompts, input, output, stream } = load;
    const speed = value(name, engines, "output")!;
    const one = value(name, 1, "output");
    return [
      `${name}: ${prompts} × ${input} → ${output}${stream ? ", streaming" : ""}`,
      `${engines}`,
      rounded(speed),
      one ? rounded(speed / one) : "",
      percent(value(name, engines, "busy share of the HTTP thread")!),
      `${rounded(1e6 * value(name, engines, "HTTP thread's time per token")!)} µs`,
    ];
  });
  const facts = new Set(runs.map(({ commit, date }) => `${commit}, ${date.slice(0, 10)}`));
  const head = ["load", "engines", "tokens/s", "× one engine's", "thread busy", "its time per token"];
  return `${table(head, rows)}\n\n${[...facts].join("; ")}.`;
}
