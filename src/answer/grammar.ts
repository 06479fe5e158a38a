/** The grammar that a request's tools, tool_choice, structured outputs and thinking ask for, in Lark (llguidance's dialect). */
import { FastgenError } from "../errors.ts";
import type { GrammarSource } from "../grammar/compile.ts";
import { jsonRule } from "../grammar-sources/json-rule.ts";
import { Refusal } from "../grammar-sources/refusal.ts";
import {
  argumentsSchema,
  type CallableTool,
  type CallWriter,
  literal,
  type Opening,
  oneOf,
  type Schema,
} from "./call-grammar.ts";
import type { AnswerFormat } from "./formats.ts";
import type { AnswerRequest, FunctionTool } from "./parts.ts";
import type { ReasoningFormat } from "./reasoning.ts";
import { mustCall, toolsInUse } from "./tools-in-use.ts";

/** A text that is one token of the model. */
interface MarkToken {
  id: number;
  /** Control and not text: the grammar's texts do not match it. */
  special: boolean;
}

export interface GrammarRequest extends AnswerRequest {
  /** Writes Lark rules of the structured output that is asked for, the first of them under this name; null = none. */
  structured: ((rule: string) => string) | null;
  /** The model's token of exactly this text, if it has one. */
  markToken(text: string): MarkToken | null;
}

export interface AnswerGrammar {
  source: GrammarSource;
  /** The grammar holds from behind one of these texts, each a token of the model; empty = from the answer's first token. */
  after: string[];
}

/** Spaces where the model wants them. */
const JSON_STYLE = { compact: false, closed: false, whitespace: null };

/** Any text; special tokens are none. */
const TEXT = "ANSWER_TEXT: /(?s:.*)/";

/** Models put line ends between the parts of an answer. Endless ones are no answer. */
const SPACE = "ANSWER_SPACE: /[ \\t\\r\\n]{0,4}/";

/** Null where every answer is right. */
export function answerGrammar(format: AnswerFormat, request: GrammarRequest): AnswerGrammar | null {
  // Of tools that are not called, too, those are refused that cannot be held to.
  const grammar = new Grammar(request);
  const tools = toolsInUse(format, request);
  // Rules of their own compile faster, and errors show them as they are.
  if (tools === null && format.reasoning === null) {
    return request.structured && { source: { lark: request.structured("start") }, after: [] };
  }
  const structured = request.structured && grammar.structured(request.structured);
  const calls = tools ? tools.openings(grammar) : [];
  if (calls.length === 0 && structured === null) return null;

  const free = request.toolChoice === "auto" && structured === null;
  if (free && format.reasoning === null && calls.length === 1) {
    const [{ mark, rest }] = calls as [Opening];
    if (request.markToken(mark)) return { source: grammar.source(`${rest} ${grammar.goOn(calls)}`), after: [mark] };
  }
  const expression = free ? grammar.freeText(calls) : grammar.mustBe(calls, mustCall(request) ? null : structured);
  return grammar.behindReasoning(format.reasoning, request.thinkingOpen, expression);
}

class Grammar implements CallWriter {
  readonly #request: GrammarRequest;
  readonly #lines: string[] = [];
  #rules = 0;
  readonly tools: CallableTool[];
  readonly several: boolean;

  constructor(request: GrammarRequest) {
    this.#request = request;
    const { tools, toolChoice, parallelToolCalls } = request;
    const named = typeof toolChoice === "object" ? toolChoice.name : null;
    this.several = parallelToolCalls && named === null;
    this.tools = tools.flatMap((tool, i) => {
      if (named !== null && tool.function.name !== named) return [];
      const schema = argumentsSchema(tool);
      return { name: tool.function.name, schema, rule: this.#arguments(tool, schema, i) };
    });
    if (named !== null && this.tools.length === 0) {
      const message = `tool_choice: there is no tool ${JSON.stringify(named)} in tools`;
      throw new FastgenError("invalid_request", message, { param: "tool_choice" });
    }
  }

  // A format takes these out of the writer, so they are bound to it.
  readonly mark = (text: string): string => {
    const token = this.#request.markToken(text);
    return token?.special ? `<[${token.id}]>` : literal(text);
  };

  /** A schema that no grammar can hold an answer to stands for any JSON, or any object. */
  schema(schema: Schema): string {
    try {
      return this.#json(schema);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return this.#json(schema.type === "object" ? { type: "object" } : {});
    }
  }

  #json(schema: Schema): string {
    const name = this.#newName();
    this.#lines.push(jsonRule(schema, name, JSON_STYLE));
    return name;
  }

  /** The rule of a tool's arguments. @throws FastgenError "invalid_request" for a strict tool whose schema cannot be held. */
  #arguments({ function: { strict } }: FunctionTool, schema: Schema, index: number): string {
    if (strict !== true) return this.schema(schema);
    try {
      return this.#json(schema);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      const param = `tools[${index}].function.parameters`;
      throw new FastgenError("invalid_request", `${param}: ${error.message}; leave out strict, or change the schema`, {
        param,
      });
    }
  }

  #newName(): string {
    return `answer_${this.#rules++}`;
  }

  rule(expression: string): string {
    const name = this.#newName();
    this.#lines.push(`${name}: ${expression}`);
    return name;
  }

  terminal(expression: string): string {
    const name = this.#newName().toUpperCase();
    this.#lines.push(`${name}: ${expression}`);
    return name;
  }

  structured(write: (rule: string) => string): string {
    this.#lines.push(write("structured"));
    return "structured";
  }

  /** Any text in which calls may stand. */
  freeText(calls: readonly Opening[]): string {
    const first = calls.map((call) => `${this.#upTo(call)} ${call.rest} ${this.goOn(calls)}`);
    return `(${[...first, "ANSWER_TEXT"].join(" | ")})`;
  }

  /** What may follow calls within a text. */
  goOn(calls: readonly Opening[]): string {
    if (!this.several) return "ANSWER_SPACE";
    const more = calls.filter((call) => call.anywhere).map((call) => `${this.#upTo(call)} ${call.rest}`);
    return more.length === 0 ? "ANSWER_TEXT" : `(${more.join(" | ")})* ANSWER_TEXT`;
  }

  /**
   * Calls from the first token on, or the structured output. Beside that there are only calls that a mark tells from it:
   * Llama's bare JSON, say, may begin as it does, and llguidance would lex it as the one or the other from its first character.
   */
  mustBe(calls: readonly Opening[], structured: string | null): string {
    const certain = structured === null ? calls : calls.filter(({ anywhere }) => anywhere);
    const all = certain.map(({ mark, rest }) => `${this.mark(mark)} ${rest}`);
    return oneOf(structured === null ? all : [structured, ...all]);
  }

  #upTo({ mark, anywhere }: Opening): string {
    return this.upTo(mark, anywhere ? "ANSWER_TEXT" : "ANSWER_SPACE");
  }

  /** Where the mark is text itself, the first one counts. */
  upTo(mark: string, text = "ANSWER_TEXT"): string {
    if (this.#request.markToken(mark)?.special) return `${text} ${this.mark(mark)}`;
    return this.#lazy(`${text} ${literal(mark)}`);
  }

  #lazy(expression: string): string {
    const name = this.#newName();
    this.#lines.push(`${name}[lazy]: ${expression}`);
    return name;
  }

  /** The answer's grammar where reasoning comes before it. */
  behindReasoning(reasoning: ReasoningFormat | null, open: boolean, expression: string): AnswerGrammar {
    if (reasoning === null) return { source: this.source(expression), after: [] };
    if (open && this.#request.markToken(reasoning.end)) {
      return { source: this.source(`ANSWER_SPACE ${expression}`), after: [reasoning.end] };
    }
    const end = this.#upTo({ mark: reasoning.end, anywhere: true, rest: "" });
    const thought = open ? `${end} ANSWER_SPACE` : `(${this.mark(reasoning.begin)} ${end} ANSWER_SPACE)?`;
    return { source: this.source(`${thought} ${expression}`), after: [] };
  }

  source(start: string): GrammarSource {
    return { lark: [`start: ${start}`, ...this.#lines, TEXT, SPACE, ""].join("\n") };
  }
}
