/**
 * A conversation that goes on by one answer: what chat, Responses and Messages share. It makes the prompt, starts the run,
 * and reads the answer's reasoning, text and calls out of what the model writes.
 */
import type { Context } from "hono";
import type { SamplingParams } from "../src/params.ts";
import type { ChatMessage, ChatOptions, Choice, Chunk, GenerateOptions } from "../src/types.ts";
import type { Env } from "./context.ts";
import { Run } from "./run.ts";
import type { Service } from "./service.ts";

/** A piece of an answer. */
export type AnswerPart =
  | { type: "reasoning"; text: string }
  | { type: "text"; text: string }
  /** A call begins. */
  | { type: "call"; index: number; id: string; name: string }
  /** A piece of its arguments' JSON text. */
  | { type: "arguments"; index: number; text: string };

/** Which tools the answer may, must or must not call. */
export type ToolChoice = "none" | "auto" | "required" | { name: string };

/** What is asked for, in no API's words: each route translates its own. */
export interface ConversationRequest {
  /** Messages and tools as the chat template takes them: tools are `{ type: "function", function: { name, ... } }`. */
  prompt: { messages: ChatMessage[] } & ChatOptions;
  params: SamplingParams;
  options: GenerateOptions;
  toolChoice: ToolChoice;
  /** May one answer make several calls? */
  parallelToolCalls: boolean;
  /** What the text must match where the answer is no call; null = anything. */
  structured: object | null;
  /** Hand out the reasoning? */
  includeReasoning: boolean;
  /** Tokens of reasoning, at most; null = no limit. */
  thinkingBudget: number | null;
}

export type AnswerFinish = "stop" | "length" | "tool_calls";

/** One chunk, read. */
export interface AnswerPiece {
  /** Which choice. */
  index: number;
  parts: AnswerPart[];
  chunk: Chunk;
  /** "tool_calls" where the model stopped by itself and has made a call. */
  finish_reason: AnswerFinish | null;
}

export interface AnswerCall {
  id: string;
  name: string;
  /** JSON text. */
  arguments: string;
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

export class Conversation {
  readonly run: Run;

  private constructor(run: Run) {
    this.run = run;
  }

  /** Checks the request, takes its place in the queue, makes the prompt and starts. Throws FastgenError. */
  static async start(c: Context<Env>, service: Service, request: ConversationRequest): Promise<Conversation> {
    const { prompt, params, options } = request;
    return new Conversation(await Run.start(c, service, [prompt], params, options));
  }

  /** Reads the next chunk of a choice: each is read once, in order. */
  read(chunk: Chunk): AnswerPiece {
    const { index, text, finish_reason } = chunk;
    return { index, parts: text === "" ? [] : [{ type: "text", text }], chunk, finish_reason };
  }

  /** The pieces of every choice as they come. The caller ends the run: run.end(). */
  async *parts(): AsyncGenerator<AnswerPiece> {
    for await (const chunk of this.run.chunks()) yield this.read(chunk);
  }

  /** Waits for every choice to end, and ends the run. */
  async collect(): Promise<Answer[]> {
    const choices = await this.run.collect();
    return choices.map((choice) => {
      const { text, finish_reason } = choice;
      return { text, reasoning: "", calls: [], finish_reason, choice };
    });
  }

  /** OpenAI's usage. Complete once the pieces have ended. */
  usage() {
    return { ...this.run.usage(), completion_tokens_details: { reasoning_tokens: 0 } };
  }
}
