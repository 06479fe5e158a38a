/** How a model writes reasoning and calls: by the names of vLLM's parsers, or by the model's own chat template. */
import { FastgenError } from "../errors.ts";
import { deepseekV3, deepseekV31 } from "./deepseek.ts";
import { hermes } from "./hermes.ts";
import { llama3Json } from "./llama3-json.ts";
import { mistral } from "./mistral.ts";
import { pythonic } from "./pythonic.ts";
import { REASONING_FORMATS, type ReasoningFormat } from "./reasoning.ts";
import type { ToolFormat } from "./tool-format.ts";

export interface AnswerFormat {
  reasoning: ReasoningFormat | null;
  tools: ToolFormat | null;
  /** Texts of special tokens that the format needs: they must reach the parser even where special tokens are left out. */
  shownTokens: string[];
}

/** By their names; "auto" takes the first that matches. */
export const TOOL_FORMATS: readonly ToolFormat[] = [hermes, mistral, deepseekV3, deepseekV31, pythonic, llama3Json];

/** The values of --tool-call-parser and --reasoning-parser. */
export const TOOL_CALL_PARSERS = ["auto", "none", ...TOOL_FORMATS.map(({ name }) => name)];
export const REASONING_PARSERS = ["auto", "none", ...REASONING_FORMATS.map(({ name }) => name)];

export interface AnswerFlags {
  /** One of REASONING_PARSERS. */
  reasoningParser: string;
  /** One of TOOL_CALL_PARSERS. */
  toolCallParser: string;
}

/**
 * @param template the text of the chat template; of one that has several, all of them.
 * @throws FastgenError "invalid_request" for an unknown name.
 */
export function answerFormat(template: string, flags: AnswerFlags): AnswerFormat {
  const reasoning = chosen(REASONING_FORMATS, flags.reasoningParser, template, "--reasoning-parser");
  const tools = chosen(TOOL_FORMATS, flags.toolCallParser, template, "--tool-call-parser");
  const shownTokens = [...(reasoning ? [reasoning.begin, reasoning.end] : []), ...(tools?.marks ?? [])];
  return { reasoning, tools, shownTokens };
}

function chosen<T extends { name: string; matches(template: string): boolean }>(
  formats: readonly T[],
  name: string,
  template: string,
  flag: string,
): T | null {
  if (name === "none") return null;
  if (name === "auto") return formats.find((format) => format.matches(template)) ?? null;
  const named = formats.find((format) => format.name === name);
  if (named) return named;
  const known = ["auto", "none", ...formats.map((format) => format.name)].join(", ");
  throw new FastgenError("invalid_request", `${flag}: unknown parser "${name}"; there are ${known}`);
}
