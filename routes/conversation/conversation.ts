/**
 * A conversation that goes on by one answer: what chat, Responses and Messages share. It makes the prompt, starts the run,
 * and reads the answer's reasoning, text and calls out of what the model writes.
 */
import type { Context } from "hono";
import type { AnswerFormat } from "../../src/answer/formats.ts";
import { answerParser } from "../../src/answer/parser.ts";
import type { AnswerParser, AnswerPart, AnswerRequest, ToolChoice } from "../../src/answer/parts.ts";
import { thinkingOpen } from "../../src/answer/reasoning.ts";
import type { SamplingParams } from "../../src/params.ts";
import type { StructuredOutputs } from "../../src/structured-outputs.ts";
import type {
  Choice,
  Chunk,
  Conversation as ConversationPrompt,
  FinishReason,
  GenerateOptions,
} from "../../src/types.ts";
import type { Env } from "../context.ts";
import { Run } from "../run.ts";
import type { Service } from "../service.ts";
import { answerOptions } from "./answer-options.ts";
import { CustomInputs, type CustomPart } from "./custom-tools.ts";
import { contentText } from "./messages.ts";
import { ReasoningCount } from "./reasoning-count.ts";
import { checkTools, plainTools } from "./tools.ts";

export type { AnswerPart, ToolChoice };

/** What is asked for, in no API's words: each route translates its own. */
export interface ConversationRequest {
  /** Messages and tools as the chat template takes them: tools are `{ type: "function", function: { name, ... } }`. */
  prompt: ConversationPrompt;
  params: SamplingParams;
  options: GenerateOptions;
  toolChoice: ToolChoice;
  /** Which of the tools are custom ones, by their names. */
  customTools: ReadonlySet<string>;
  /** May one answer make several calls? */
  parallelToolCalls: boolean;
  /** What the text must match where the answer is no call; null = anything. */
  structured: StructuredOutputs | null;
  /** Hand out the reasoning? */
  includeReasoning: boolean;
  /** Tokens of reasoning, at most; null = no limit. */
  thinkingBudget: number | null;
}

export type AnswerFinish = FinishReason | "tool_calls";

/** One chunk, read. */
export interface AnswerPiece {
  /** Which choice. */
  index: number;
  parts: CustomPart[];
  chunk: Chunk;
  /** "tool_calls" where the model stopped by itself and has made a call, which is whole. */
  finish_reason: AnswerFinish | null;
}

export interface AnswerCall {
  id: string;
  name: string;
  /** JSON text; of a custom tool its input. */
  arguments: string;
  custom: boolean;
}

/** One choice, whole. */
export interface Answer {
  text: string;
  /** "" where there is none, or none is wanted. */
  reasoning: string;
  calls: AnswerCall[];
  finish_reason: AnswerFinish;
  choice: Choice;
}

interface ChoiceState {
  parser: AnswerParser;
  inputs: CustomInputs;
  reasoning: ReasoningCount;
  /** The JSON of the newest call's arguments so far. */
  arguments: string;
}

export class Conversation {
  readonly run: Run;
  readonly #format: AnswerFormat;
  readonly #asked: AnswerRequest;
  readonly #includeReasoning: boolean;
  readonly #customTools: ReadonlySet<string>;
  /** By choice. */
  readonly #choices: ChoiceState[] = [];

  private constructor(run: Run, format: AnswerFormat, asked: AnswerRequest, request: ConversationRequest) {
    this.run = run;
    this.#format = format;
    this.#asked = asked;
    this.#includeReasoning = request.includeReasoning;
    this.#customTools = request.customTools;
  }

  /** Checks the request, takes its place in the queue, makes the prompt and starts. Throws FastgenError. */
  static async start(c: Context<Env>, service: Service, request: ConversationRequest): Promise<Conversation> {
    const { prompt, params, options, toolChoice, parallelToolCalls } = request;
    const { fastgen } = service;
    const tools = plainTools(prompt.tools ?? []);
    checkTools(tools, toolChoice);
    const format = service.answerFormat(prompt.chat_template);
    const asked: AnswerRequest = { tools, toolChoice, parallelToolCalls, thinkingOpen: false };
    const prepare = async (_: unknown, signal: AbortSignal) => {
      const made = await fastgen.render(prompt, signal);
      asked.thinkingOpen = thinkingOpen(format.reasoning, made.rendered, continuedText(prompt));
      return { prompt: made, options: answerOptions(fastgen, format, asked, request) };
    };
    // The grammar of the whole answer has it.
    const sampling = { ...params, structured_outputs: undefined };
    const run = await Run.start(c, service, [prompt], sampling, options, prepare);
    return new Conversation(run, format, asked, request);
  }

  /** Reads the next chunk of a choice: each is read once, in order. */
  read(chunk: Chunk): AnswerPiece {
    const { index, text, finish_reason, stop_reason } = chunk;
    const choice = this.#choice(index);
    const { parser, inputs, reasoning } = choice;
    const wasThinking = parser.thinking;
    const all = parser.push(text);
    reasoning.count(chunk, wasThinking, parser.thinking, all);
    if (finish_reason !== null) all.push(...parser.end());
    const parts = inputs.read(this.#includeReasoning ? all : all.filter(({ type }) => type !== "reasoning"));
    for (const part of all) {
      if (part.type === "call") choice.arguments = "";
      else if (part.type === "arguments") choice.arguments += part.text;
    }
    // What the request stops at may stand within a call, which is none then.
    const called = finish_reason === "stop" && parser.calls > 0 && (stop_reason === null || isJson(choice.arguments));
    return { index, parts, chunk, finish_reason: called ? "tool_calls" : finish_reason };
  }

  #choice(index: number): ChoiceState {
    this.#choices[index] ??= {
      parser: answerParser(this.#format, this.#asked),
      inputs: new CustomInputs(this.#customTools),
      reasoning: new ReasoningCount(this.#format.reasoning, this.run.fastgen),
      arguments: "",
    };
    return this.#choices[index];
  }

  /** The pieces of every choice as they come. The caller ends the run: run.end(). */
  async *parts(): AsyncGenerator<AnswerPiece> {
    for await (const chunk of this.run.chunks()) yield this.read(chunk);
  }

  /** Waits for every choice to end, and ends the run. */
  async collect(): Promise<Answer[]> {
    const answers: Omit<Answer, "choice">[] = Array.from({ length: this.run.n }, () => ({
      text: "",
      reasoning: "",
      calls: [],
      finish_reason: "stop",
    }));
    const choices = await this.run.collect((chunk) => {
      const { index, parts, finish_reason } = this.read(chunk);
      const answer = answers[index]!;
      for (const part of parts) addPart(answer, part);
      answer.finish_reason = finish_reason ?? answer.finish_reason;
    });
    return choices.map((choice, i) => ({ ...answers[i]!, choice }));
  }

  /** OpenAI's usage. Complete once the pieces have ended. */
  usage() {
    const reasoning_tokens = this.#choices.reduce((sum, { reasoning }) => sum + reasoning.tokens, 0);
    return { ...this.run.usage(), completion_tokens_details: { reasoning_tokens } };
  }
}

function addPart(answer: Omit<Answer, "choice">, part: CustomPart): void {
  if (part.type === "text") answer.text += part.text;
  else if (part.type === "reasoning") answer.reasoning += part.text;
  else if (part.type === "call") {
    answer.calls.push({ id: part.id, name: part.name, arguments: "", custom: part.custom ?? false });
  } else answer.calls[part.index]!.arguments += part.text;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** The text of the final message where the answer continues it; null where the answer is a message of its own. */
function continuedText({ messages, continue_final_message }: ConversationPrompt): string | null {
  if (!continue_final_message) return null;
  return contentText(messages.at(-1)?.content);
}
