/**
 * What an answer is made of: reasoning, text and calls of tools. Models write all three as one text; an AnswerParser takes
 * that text apart as it comes. Nothing here knows of HTTP.
 */

/** A piece of an answer. Pieces come in order; pieces of one kind that follow each other belong together. */
export type AnswerPart =
  | { type: "reasoning"; text: string }
  | { type: "text"; text: string }
  /** A call begins. `index` counts the answer's calls from 0. */
  | { type: "call"; index: number; id: string; name: string }
  /** A piece of the JSON text of that call's arguments. */
  | { type: "arguments"; index: number; text: string };

/** Takes one answer's text apart. The parts do not depend on how the text was cut, but for where a part's text is cut. */
export interface AnswerParser {
  /** Takes the next piece of the text, and returns what is certain by now. */
  push(text: string): AnswerPart[];
  /** The text has ended: returns all that was held back. */
  end(): AnswerPart[];
  /** Whether the text so far ends inside reasoning: the next tokens count as reasoning. */
  readonly thinking: boolean;
  /** The calls that have begun so far. */
  readonly calls: number;
}

/** A tool as OpenAI's chat completions have it, and as chat templates take it. */
export interface FunctionTool {
  type: "function";
  function: {
    name: string;
    description?: string | null;
    /** A JSON schema of the arguments; none = there are none. */
    parameters?: Record<string, unknown> | boolean | null;
    strict?: boolean | null;
  };
}

export type ToolChoice = "none" | "auto" | "required" | { name: string };

/** What a request says that matters to its answer. */
export interface AnswerRequest {
  tools: readonly FunctionTool[];
  toolChoice: ToolChoice;
  /** May the answer have several calls? */
  parallelToolCalls: boolean;
  /** Has the prompt opened the reasoning? By thinkingOpen() of reasoning.ts. */
  thinkingOpen: boolean;
}
