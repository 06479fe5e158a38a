/** Takes an answer's text apart, as its format has it. */
import type { AnswerFormat } from "./formats.ts";
import { Input, type Reading } from "./input.ts";
import { Output } from "./output.ts";
import type { AnswerParser, AnswerPart, AnswerRequest, FunctionTool } from "./parts.ts";
import { readReasoning } from "./reasoning.ts";
import { openaiId } from "./tool-format.ts";
import { mustCall, toolsInUse } from "./tools-in-use.ts";

/** The parser of one answer. */
export function answerParser(
  format: AnswerFormat,
  request: Pick<AnswerRequest, "tools" | "toolChoice" | "thinkingOpen">,
): AnswerParser {
  const tools = toolsInUse(format, request);
  return format.reasoning || tools ? new FormatParser(format, tools, request) : new PlainText();
}

class PlainText implements AnswerParser {
  readonly thinking = false;
  readonly calls = 0;

  push(text: string): AnswerPart[] {
    return text === "" ? [] : [{ type: "text", text }];
  }

  end(): AnswerPart[] {
    return [];
  }
}

class FormatParser implements AnswerParser {
  readonly #input = new Input();
  readonly #output: Output;
  readonly #reading: Reading;
  #thinking: boolean;
  /** The answer is calls: other text is a part of their frame, also where it breaks off. */
  readonly #callsAlone: boolean;

  constructor(
    format: AnswerFormat,
    tools: AnswerFormat["tools"],
    request: Pick<AnswerRequest, "tools" | "toolChoice" | "thinkingOpen">,
  ) {
    this.#callsAlone = mustCall(request);
    this.#output = new Output(tools?.newId ?? openaiId);
    this.#thinking = format.reasoning !== null && request.thinkingOpen;
    this.#reading = this.#read(format.reasoning, tools, request.tools);
  }

  get thinking(): boolean {
    return this.#thinking;
  }

  get calls(): number {
    return this.#output.calls;
  }

  push(text: string): AnswerPart[] {
    this.#input.push(text);
    this.#reading.next();
    return this.#parts();
  }

  end(): AnswerPart[] {
    this.#input.end();
    this.#reading.next();
    this.#output.end();
    return this.#parts();
  }

  #parts(): AnswerPart[] {
    const parts = this.#output.take();
    return this.#callsAlone ? parts.filter(({ type }) => type !== "text") : parts;
  }

  *#read(reasoning: AnswerFormat["reasoning"], format: AnswerFormat["tools"], tools: readonly FunctionTool[]): Reading {
    const [input, output, open] = [this.#input, this.#output, this.#thinking];
    if (reasoning) {
      const onOpen = (now: boolean) => {
        this.#thinking = now;
      };
      yield* readReasoning(input, output, { ...reasoning, open, onOpen });
    }
    if (format) yield* format.read(input, output, tools);
    else yield* input.until([], (text) => output.text(text));
  }
}
