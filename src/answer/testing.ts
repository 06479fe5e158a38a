/** Answers for the tests: read in pieces, and put together again. */
import { answerFormat } from "./formats.ts";
import { answerParser } from "./parser.ts";
import type { AnswerPart, AnswerRequest, FunctionTool } from "./parts.ts";

export const TOOLS: FunctionTool[] = ["f", "g"].map((name) => ({ type: "function", function: { name } }));

export interface Format {
  tools?: string;
  reasoning?: string;
}

type Asked = Partial<Pick<AnswerRequest, "tools" | "toolChoice" | "thinkingOpen">>;

/** The parts of an answer that comes in these pieces, one list for each piece and one for the end. */
export function partsOf({ tools = "none", reasoning = "none" }: Format, pieces: Iterable<string>, asked: Asked = {}) {
  const format = answerFormat("", { toolCallParser: tools, reasoningParser: reasoning });
  const parser = answerParser(format, { tools: TOOLS, toolChoice: "auto", thinkingOpen: false, ...asked });
  const lists = Array.from(pieces, (piece) => parser.push(piece));
  return [...lists, parser.end()];
}

export interface Whole {
  reasoning: string;
  text: string;
  /** Name and arguments. */
  calls: [string, string][];
}

export function whole(parts: readonly AnswerPart[]): Whole {
  const all: Whole = { reasoning: "", text: "", calls: [] };
  for (const part of parts) {
    if (part.type === "call") all.calls[part.index] = [part.name, ""];
    else if (part.type === "arguments") all.calls[part.index]![1] += part.text;
    else all[part.type] += part.text;
  }
  return all;
}

/** An answer read in one piece, after every other way to cut it has been seen to give the same. */
export function read(format: Format, text: string, asked: Asked = {}): Partial<Whole> {
  const cuts = [[text], [...text], ...Array.from({ length: 8 }, (_, i) => cut(text, i + 1))];
  const found = cuts.map((pieces) => whole(partsOf(format, pieces, asked).flat()));
  const other = found.findIndex((one) => !Bun.deepEquals(one, found[0]));
  if (other >= 0) throw new Error(`cut as ${JSON.stringify(cuts[other])}: ${JSON.stringify(found[other])}`);
  const { reasoning, calls, text: rest } = found[0]!;
  return { ...(reasoning && { reasoning }), ...(rest && { text: rest }), ...(calls.length > 0 && { calls }) };
}

/** Pieces of up to 5 characters, no pair of surrogates cut. */
export function cut(text: string, seed: number): string[] {
  const characters = [...text];
  const pieces: string[] = [];
  let state = seed;
  for (let at = 0; at < characters.length; ) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    const length = 1 + ((state >>> 16) % 5);
    pieces.push(characters.slice(at, at + length).join(""));
    at += length;
  }
  return pieces;
}
