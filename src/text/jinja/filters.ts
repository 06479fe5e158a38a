/** Jinja2's filters, and transformers' tojson: one table of what the files filters-*.ts hold. */
import { fail } from "./errors.ts";
import { LIST_FILTERS } from "./filters-lists.ts";
import { SELECT_FILTERS } from "./filters-select.ts";
import { TEXT_FILTERS } from "./filters-text.ts";
import { VALUE_FILTERS } from "./filters-values.ts";
import type { Native } from "./native.ts";
import { str } from "./print.ts";
import type { Value } from "./values.ts";

const ALIASES: Record<string, string> = { count: "length", d: "default", e: "escape" };

const named = new Map([...TEXT_FILTERS, ...LIST_FILTERS, ...SELECT_FILTERS, ...VALUE_FILTERS]);

/** By name, aliases too. The value comes first among the arguments. */
export const FILTERS: ReadonlyMap<string, Native> = new Map([
  ...named,
  ...Object.entries(ALIASES).map(([alias, name]) => [alias, named.get(name)!] as const),
]);

/** The filter of that name, for map. */
export function requireFilter(name: Value): Native {
  return FILTERS.get(str(name)) ?? fail("TemplateRuntimeError", `No filter named '${str(name)}'.`);
}
