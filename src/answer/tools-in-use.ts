/** Which format of calls an answer is read and constrained by. */
import type { AnswerFormat } from "./formats.ts";
import { hermes } from "./hermes.ts";
import type { AnswerRequest } from "./parts.ts";
import type { ToolFormat } from "./tool-format.ts";

/** Must the answer be calls, and nothing else? */
export function mustCall({ tools, toolChoice }: Pick<AnswerRequest, "tools" | "toolChoice">): boolean {
  return tools.length > 0 && toolChoice !== "auto" && toolChoice !== "none";
}

/**
 * The model's own format; null where the request wants no calls. A call that must come is written in some format even by a
 * model that has none of its own.
 */
export function toolsInUse(
  format: AnswerFormat,
  { tools, toolChoice }: Pick<AnswerRequest, "tools" | "toolChoice">,
): ToolFormat | null {
  if (tools.length === 0 || toolChoice === "none") return null;
  return format.tools ?? (toolChoice === "auto" ? null : hermes);
}
