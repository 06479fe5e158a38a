/** Reasoning that models write before their answers, between marks. */
import type { Input, Reading } from "./input.ts";
import type { Output } from "./output.ts";

export interface ReasoningFormat {
  /** vLLM's name of it, a value of --reasoning-parser. */
  readonly name: string;
  readonly begin: string;
  readonly end: string;
  /** The answer begins with reasoning, also where neither the prompt nor the model writes the first mark. */
  readonly implied: boolean;
  /** Does a model with this chat template write reasoning so? */
  matches(template: string): boolean;
}

const deepseekR1: ReasoningFormat = {
  name: "deepseek_r1",
  begin: "<think>",
  end: "</think>",
  implied: true,
  matches: (template) => template.includes("</think>") && template.includes("<｜Assistant｜>"),
};

const qwen3: ReasoningFormat = {
  name: "qwen3",
  begin: "<think>",
  end: "</think>",
  implied: false,
  matches: (template) => template.includes("</think>"),
};

const mistral: ReasoningFormat = {
  name: "mistral",
  begin: "[THINK]",
  end: "[/THINK]",
  implied: false,
  matches: (template) => template.includes("[THINK]"),
};

/** By their names; "auto" takes the first that matches. */
export const REASONING_FORMATS: readonly ReasoningFormat[] = [deepseekR1, qwen3, mistral];

/**
 * Whether an answer to this prompt begins inside reasoning.
 * @param continued the text of the final message that the answer continues (continue_final_message); null = a new message.
 */
export function thinkingOpen(format: ReasoningFormat | null, prompt: string, continued: string | null = null): boolean {
  if (format === null) return false;
  const { begin, end, implied } = format;
  if (continued !== null) {
    const [opened, closed] = [continued.lastIndexOf(begin), continued.lastIndexOf(end)];
    return opened > closed || (implied && closed < 0);
  }
  const written = prompt.trimEnd();
  return written.endsWith(begin) || (implied && !written.endsWith(end));
}

/** Reads the reasoning that an answer begins with, if it does; and the space after it. */
export function* readReasoning(
  input: Input,
  output: Output,
  { begin, end, open, onOpen }: { begin: string; end: string; open: boolean; onOpen(open: boolean): void },
): Reading {
  yield* input.run(/[ \t\r\n]/, (space) => output.text(space));
  const opened = yield* input.skip(begin);
  if (!open && !opened) return;
  output.dropSpace();
  onOpen(true);
  yield* input.space();
  const found = yield* input.until([end], (text) => output.reasoning(text));
  if (found === "") return;
  yield* input.expect(end);
  onOpen(false);
  output.dropSpace();
  yield* input.space();
}
