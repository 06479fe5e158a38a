/** How a model writes reasoning and calls: by the names of vLLM's parsers, or by the model's own chat template. */
import { FastgenError } from "../errors.ts";
import { deepseekV3, deepseekV31 } from "./deepseek.ts";
import { glm45 } from "./glm.ts";
import { hermes } from "./hermes.ts";
import { llama3Json } from "./llama3-json.ts";
import { mistral } from "./mistral.ts";
import { pythonic } from "./pythonic.ts";
import { qwen3Coder } from "./qwen3-coder.ts";
import { REASONING_FORMATS, type ReasoningFormat } from "./reasoning.ts";
import type { ToolFormat } from "./tool-format.ts";

export interface AnswerFormat {
  reasoning: ReasoningFormat | null;
  tools: ToolFormat | null;
  /** Texts of special tokens that the format needs: they must reach the parser even where special tokens are left out. */
  shownTokens: string[];
}

/** By their names; "auto" takes the first that matches. */
export const TOOL_FORMATS: readonly ToolFormat[] = [
  hermes,
  qwen3Coder,
  glm45,
  mistral,
  deepseekV3,
  deepseekV31,
  pythonic,
  llama3Json,
];

/** Second names that vLLM has for a format. */
const ALSO_CALLED: Record<string, string> = { qwen3_xml: qwen3Coder.name, glm47: glm45.name };

/** The values of --tool-call-parser and --reasoning-parser. */
export const TOOL_CALL_PARSERS = ["auto", "none", ...TOOL_FORMATS.map(({ name }) => name), ...Object.keys(ALSO_CALLED)];
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
  const { reasoningParser, toolCallParser } = flags;
  checkName(reasoningParser, REASONING_PARSERS, "--reasoning-parser");
  checkName(toolCallParser, TOOL_CALL_PARSERS, "--tool-call-parser");
  const reasoning = chosen(REASONING_FORMATS, reasoningParser, template);
  const tools = chosen(TOOL_FORMATS, ALSO_CALLED[toolCallParser] ?? toolCallParser, template);
  const shownTokens = [...(reasoning ? [reasoning.begin, reasoning.end] : []), ...(tools?.marks ?? [])];
  return { reasoning, tools, shownTokens };
}

function checkName(name: string, known: readonly string[], flag: string): void {
  if (known.includes(name)) return;
  throw new FastgenError("invalid_request", `${flag}: unknown parser "${name}"; there are ${known.join(", ")}`);
}

/** @param name "auto", or of one of the formats; any other is none of them. */
function chosen<T extends { name: string; matches(template: string): boolean }>(
  formats: readonly T[],
  name: string,
  template: string,
): T | null {
  return formats.find((format) => (name === "auto" ? format.matches(template) : format.name === name)) ?? null;
}
