/** Reasoning, however the text is cut. */
import { describe, expect, test } from "bun:test";
import { MAX_HELD_SPACE } from "../limits.ts";
import { answerFormat } from "./formats.ts";
import { answerParser } from "./parser.ts";
import { REASONING_FORMATS, thinkingOpen } from "./reasoning.ts";
import { partsOf, read, TOOLS } from "./testing.ts";

const qwen = { reasoning: "qwen3", tools: "hermes" };
const CALL = '<tool_call>{"name": "f", "arguments": {}}</tool_call>';
const open = { thinkingOpen: true };

describe("reasoning", () => {
  test.each([
    ["opened by the model", "<think>\nHm.\n</think>\n\nYes. ", {}, { reasoning: "Hm.", text: "Yes. " }],
    ["opened by the prompt", "\nHm.\n</think>\nYes.", open, { reasoning: "Hm.", text: "Yes." }],
    ["opened by both", "<think>Hm.</think>Yes.", open, { reasoning: "Hm.", text: "Yes." }],
    ["not ended", "Hm. <tool_call> \n", open, { reasoning: "Hm. <tool_call> \n" }],
    ["ended by half a mark", "Hm. </thin", open, { reasoning: "Hm. </thin" }],
    ["empty", "<think>\n\n</think>\n\nYes.", {}, { text: "Yes." }],
    ["none", "\n Yes.", {}, { text: "\n Yes." }],
    ["half a mark", "<thi", {}, { text: "<thi" }],
    ["later in the text", "Yes. <think>x</think>", {}, { text: "Yes. <think>x</think>" }],
    ["a call in it", `<think>${CALL}</think>${CALL}`, {}, { reasoning: CALL, calls: [["f", "{}"]] }],
    ["a call after it", `Hm.</think>\n\n${CALL}`, open, { reasoning: "Hm.", calls: [["f", "{}"]] }],
    ["closed without being opened", "Hm.</think>Yes.", {}, { text: "Hm.</think>Yes." }],
  ] as const)("%s", (_, text, asked, expected) => {
    expect(read(qwen, text, asked) as unknown).toEqual(expected);
  });

  test("mistral's marks", () => {
    expect(read({ reasoning: "mistral" }, "[THINK]Hm.[/THINK]Yes.")).toEqual({ reasoning: "Hm.", text: "Yes." });
  });

  test("no format leaves all as text", () => {
    expect(read({}, " <think>Hm.</think> ", open)).toEqual({ text: " <think>Hm.</think> " });
  });

  test("what is held back of spaces is bounded", () => {
    const spaces = " ".repeat(3 * MAX_HELD_SPACE);
    expect(read(qwen, `x${spaces}</think>y`, open)).toEqual({
      reasoning: `x${spaces.slice(MAX_HELD_SPACE)}`,
      text: "y",
    });
    expect(read(qwen, `x${spaces}`)).toEqual({ text: `x${spaces}` });
  });

  test("text that is no mark comes at once", () => {
    const lists = partsOf(qwen, ["<", "b", ">"]);
    expect(lists.map((list) => list.map((part) => part.type === "text" && part.text))).toEqual([[], ["<b"], [">"], []]);
  });

  test("thinking tells which tokens are reasoning", () => {
    const format = answerFormat("", { reasoningParser: "qwen3", toolCallParser: "hermes" });
    const parser = answerParser(format, { tools: TOOLS, toolChoice: "auto", thinkingOpen: false });
    const seen = ["<th", "ink>", "Hm", ".</think", ">", "Yes"].map((piece) => {
      parser.push(piece);
      return parser.thinking;
    });
    expect(seen).toEqual([false, true, true, true, false, false]);
    const without = { ...format, reasoning: null };
    expect(answerParser(without, { tools: TOOLS, toolChoice: "auto", thinkingOpen: true }).thinking).toBe(false);
  });
});

describe("thinkingOpen", () => {
  const [r1, qwen3] = REASONING_FORMATS;
  test.each([
    [qwen3!, "<|im_start|>assistant\n<think>\n", null, true],
    [qwen3!, "<|im_start|>assistant\n<think>\n\n</think>\n\n", null, false],
    [qwen3!, "what is <think>?<|im_start|>assistant\n", null, false],
    [qwen3!, "…", "<think>I ", true],
    [qwen3!, "…", "<think>I</think>so", false],
    [r1!, "<｜Assistant｜>", null, true],
    [r1!, "<｜Assistant｜><think>\n", null, true],
    [r1!, "<｜Assistant｜></think>", null, false],
    [r1!, "…", "so", true],
    [r1!, "…", "</think>so", false],
    [null, "<think>", null, false],
  ])("%#", (format, prompt, continued, expected) => {
    expect(thinkingOpen(format, prompt, continued)).toBe(expected);
  });
});
