/** A template with Jinja2's answer, and what ours makes of it. */
import { BudgetError } from "../src/text/jinja/budget.ts";
import { TemplateError, TemplateRefusal } from "../src/text/jinja/errors.ts";
import { JinjaTemplate } from "../src/text/jinja/template.ts";
import { parseJson } from "../src/text/json.ts";
import golden from "./golden/jinja.json" with { type: "text" };

export interface JinjaCase {
  template: string;
  ok?: string;
  /** The exception and its message. */
  error?: [string, string];
}

/** The golden file: what all cases see, and the cases by group. */
export const GOLDEN = parseJson(golden as unknown as string) as {
  context: Record<string, unknown>;
  groups: Record<string, JinjaCase[]>;
};

/** The name of an error that no template should cause: a bug. */
const NOT_OURS = "a bug";

/** The time in all cases. */
const now = () => new Date(2026, 0, 5, 12, 0, 0);

/** What ours makes of a template, in the form of a case. */
export function answer(template: string): JinjaCase {
  try {
    return { template, ok: new JinjaTemplate(template).render(GOLDEN.context, { now }) };
  } catch (error) {
    if (error instanceof TemplateRefusal) return { template, error: ["TemplateError", error.message] };
    if (error instanceof TemplateError) return { template, error: [error.errorName, error.message] };
    if (error instanceof BudgetError) return { template, error: ["BudgetError", error.message] };
    return { template, error: [NOT_OURS, String((error as Error).stack)] };
  }
}

/** Says what differs; null where nothing does. Two errors are equal, whatever they say; a template's own are equal in words. */
export function difference(expected: JinjaCase): string | null {
  const found = answer(expected.template);
  const same = found.ok === expected.ok && !found.error === !expected.error;
  const refusal = expected.error?.[0] === "TemplateError";
  const sameWords = !refusal || found.error?.[1] === expected.error![1];
  if (same && sameWords && found.error?.[0] !== NOT_OURS) return null;
  const show = ({ ok, error }: JinjaCase) => JSON.stringify(ok ?? error);
  return `${JSON.stringify(expected.template)}\n  Jinja2: ${show(expected)}\n  ours:   ${show(found)}`;
}
