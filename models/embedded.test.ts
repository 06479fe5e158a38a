/**
 * The built-in model through the library. Its answers are asserted, so a numeric fault shows as a wrong answer. What the
 * model gets right only sometimes is not asserted here; models/evaluate.ts prints all its scores.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { statSync } from "node:fs";
import { join } from "node:path";
import { assetPath } from "../src/assets.ts";
import { Fastgen } from "../src/fastgen.ts";
import type { ChatMessage } from "../src/types.ts";
import { type Answer, type Case, cases, grade, isRight } from "./grading.ts";

const DIRECTORY = join(import.meta.dir, "fastgen-tiny");
const ready = assetPath("build/libfastgen_cpu.so") !== null;
if (!ready) console.log("skipped: the built-in model's tests need build/libfastgen_cpu.so (npm run build)");

describe("grading", () => {
  test("tells right from wrong", () => {
    expect(isRight({ user: "", ends: "-8" }, "3 - 11 = -8.")).toBe(true);
    expect(isRight({ user: "", ends: "8" }, "3 - 11 = -8.")).toBe(false);
    expect(isRight({ user: "", ends: "8" }, "9 + 9 = 18.")).toBe(false);
    expect(isRight({ user: "", ends: "zorb" }, '"broz" backwards is "zorb".')).toBe(true);
    expect(isRight({ user: "", has: "I'm Bob" }, "Hello! I'm Bobby.")).toBe(false);
    expect(isRight({ user: "", whole: "a-b" }, "a-b-c")).toBe(false);
    expect(isRight({ user: "", whole: "c++" }, "C++.")).toBe(true);
    expect(
      isRight({ user: "", haiku: "" }, "Moon over the lake\ntwo moons look at each other\nthen a fish leaps up"),
    ).toBe(true);
    expect(
      isRight({ user: "", haiku: "" }, "Moon over the lake\nthen a fish leaps up\ntwo moons look at each other"),
    ).toBe(false);
    expect(isRight({ user: "", refuses: "" }, "Sorry, I can't.")).toBe(false);
    expect(() => isRight({ user: "" }, "")).toThrow("expects nothing");
  });

  test("a conversation continues from the answers, and counts only if every turn is right", async () => {
    const asked: string[] = [];
    const answer: Answer = async (messages) => {
      asked.push(messages.map((message) => message.content).join("|"));
      return messages.length < 3 ? "one" : "2";
    };
    const two: Case = {
      task: "t",
      system: "s",
      turns: [
        { user: "a", ends: "one" },
        { user: "b", ends: "two" },
      ],
    };
    const { scores, wrong } = await grade(answer, [two, { task: "t", turns: [two.turns[0]!] }], 1);
    expect(asked).toEqual(["s|a", "s|a|one|b", "a"]);
    expect(scores.get("t")).toEqual({ right: 1, all: 2 });
    expect(wrong).toHaveLength(1);
  });
});

test("the model is small enough to embed", () => {
  expect(statSync(join(DIRECTORY, "model.safetensors")).size).toBeLessThanOrEqual(8_000_000);
});

describe.skipIf(!ready)("fastgen-tiny", () => {
  let fastgen: Fastgen;
  let answer: Answer;

  beforeAll(async () => {
    fastgen = await Fastgen.load(DIRECTORY, { device: "cpu", threads: 2 });
    answer = async (messages) => {
      const { choices } = await fastgen.generate({ messages }, { temperature: 0, max_tokens: 96 });
      expect(choices[0]!.finish_reason).toBe("stop");
      return choices[0]!.text;
    };
  });
  afterAll(() => fastgen?.close());

  /** Sends each message in turn, and returns the answers. */
  async function talk(said: string[], system?: string): Promise<string[]> {
    const messages: ChatMessage[] = system === undefined ? [] : [{ role: "system", content: system }];
    const answers: string[] = [];
    for (const content of said) {
      messages.push({ role: "user", content });
      answers.push(await answer(messages));
      messages.push({ role: "assistant", content: answers.at(-1)! });
    }
    return answers;
  }

  test("is greedy by default", () => {
    expect(fastgen.default_params).toEqual({ temperature: 0 });
  });

  test("remembers across four turns", async () => {
    const said = [
      "Hello, my name is Wolfgang.",
      "my favorite color is turquoise",
      "What is 17 + 25?",
      "What do you know about me?",
    ];
    expect(await talk(said)).toEqual([
      "Nice to meet you, Wolfgang! I'm Tiny.",
      "I'll remember that your favourite colour is turquoise.",
      "17 + 25 = 42.",
      "Your name is Wolfgang and your favourite colour is turquoise.",
    ]);
  });

  test("takes its name from the system prompt", async () => {
    expect(await talk(["hi", "What's your name?"], "You are Bob.")).toEqual([
      "Hello! I'm Bob, a small language model. How can I help you?",
      "My name is Bob.",
    ]);
  });

  test("writes another haiku when asked for one", async () => {
    const haiku = await talk(["Write a haiku about the moon.", "another one please", "one about cats"]);
    for (const one of haiku) expect(isRight({ user: "", haiku: "" }, one)).toBe(true);
    expect(new Set(haiku).size).toBe(3);
  });

  test.each([
    ["what is 8 - 73", "8 - 73 = -65."],
    ["Add 58 and 67.", "58 + 67 = 125."],
    ["which month follows december?", "The month after December is January."],
    ["If today is Sunday, what day is tomorrow?", "If today is Sunday, tomorrow is Monday."],
    ["How do you spell rhythm?", "r-h-y-t-h-m"],
    ["reverse the word Fastgen", '"Fastgen" backwards is "negtsaF".'],
    ["Repeat after me: I am a robot", "I am a robot"],
  ])("%s", async (said, expected) => {
    expect(await talk([said])).toEqual([expected]);
  });

  // What the model is for, on data it has never seen. Each bound is a little below the measured share of right answers.
  test.each([
    ["sums", 0.98],
    ["sums with negative numbers", 0.98],
    ["spell", 0.95],
    ["reverse", 0.98],
    ["repeat", 0.95],
    ["calendar", 0.98],
    ["capitals", 0.95],
    ["counting", 0.95],
    ["go on", 0.95],
    ["remember", 0.9],
    ["refuse", 0.9],
    ["haiku", 0.9],
  ])("held-out conversations: %s", async (task, least) => {
    const chosen = cases.filter((one) => one.task === task);
    const { scores, wrong } = await grade(answer, chosen, 32);
    const { right, all } = scores.get(task)!;
    expect(all).toBeGreaterThanOrEqual(40);
    if (right / all < least) throw new Error(`${right} of ${all} right:\n${wrong.join("\n")}`);
  });
});
