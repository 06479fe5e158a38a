/** The held-out conversations of the built-in model, and which answers are right (train/grade.py in TypeScript). */
import type { ChatMessage } from "../src/types.ts";
import heldout from "./train/heldout.json" with { type: "json" };

/** Answers a conversation, greedily. */
export type Answer = (messages: ChatMessage[]) => Promise<string>;

/** What the user says, and the one thing expected of the answer. */
export interface Turn {
  user: string;
  /** The answer ends with this text. */
  ends?: string;
  /** It contains this text. */
  has?: string;
  /** It is exactly this text. */
  whole?: string;
  /** It says what the model can't do and what it can. */
  refuses?: string;
  /** It is a haiku: three lines that go together in the training data. */
  haiku?: string;
}

export interface Case {
  task: string;
  system?: string;
  turns: Turn[];
}

export const cases: Case[] = heldout.cases;

export interface Score {
  /** Conversations right in every turn. */
  right: number;
  all: number;
}

export interface Grade {
  scores: Map<string, Score>;
  /** One line per wrong answer. */
  wrong: string[];
}

/** Whether `answer` is what the turn expects, ignoring case and surrounding punctuation. */
export function isRight(turn: Turn, answer: string): boolean {
  if (turn.haiku !== undefined) return isHaiku(answer);
  if (turn.refuses !== undefined) return /^sorry, I .*add and subtract/i.test(answer);
  const { ends, has, whole } = turn;
  if (ends !== undefined) return new RegExp(String.raw`(?<![\w-])${RegExp.escape(ends)}\W*$`, "i").test(answer);
  if (has !== undefined) return new RegExp(String.raw`(?<!\w)${RegExp.escape(has)}(?!\w)`, "i").test(answer);
  if (whole !== undefined) return new RegExp(String.raw`^\W*${RegExp.escape(whole)}\W*$`, "i").test(answer);
  throw new Error(`a turn that expects nothing: ${JSON.stringify(turn)}`);
}

function isHaiku(answer: string): boolean {
  const lines = answer.trim().split("\n");
  return lines.length === 3 && heldout.haiku.some((poem) => poem.every((known, at) => known.includes(lines[at]!)));
}

/** Holds the conversations, `parallel` at a time. Each continues from the model's own answers. */
export async function grade(answer: Answer, chosen: Case[], parallel: number): Promise<Grade> {
  const scores = new Map<string, Score>();
  const wrong: string[] = [];
  const waiting = chosen.values();
  const work = async () => {
    for (const one of waiting) {
      const score = scores.getOrInsert(one.task, { right: 0, all: 0 });
      score.all++;
      if (await hold(answer, one, wrong)) score.right++;
    }
  };
  await Promise.all(Array.from({ length: parallel }, work));
  return { scores, wrong };
}

async function hold(answer: Answer, { task, system, turns }: Case, wrong: string[]): Promise<boolean> {
  const messages: ChatMessage[] = system === undefined ? [] : [{ role: "system", content: system }];
  let right = true;
  for (const turn of turns) {
    messages.push({ role: "user", content: turn.user });
    const content = await answer(messages);
    messages.push({ role: "assistant", content });
    if (isRight(turn, content)) continue;
    right = false;
    wrong.push(`${task}: ${JSON.stringify(turn)} was answered ${JSON.stringify(content)}`);
  }
  return right;
}
