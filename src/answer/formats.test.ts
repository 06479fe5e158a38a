/** Which format a model has: by name, and by its chat template. */
import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { answerFormat, REASONING_PARSERS, TOOL_CALL_PARSERS } from "./formats.ts";

const auto = { reasoningParser: "auto", toolCallParser: "auto" };

function named(template: string, flags = auto): [string | null, string | null] {
  const { reasoning, tools } = answerFormat(template, flags);
  return [reasoning?.name ?? null, tools?.name ?? null];
}

describe("answerFormat", () => {
  test("takes the parsers that are named, whatever the template says", () => {
    for (const toolCallParser of TOOL_CALL_PARSERS.filter((name) => name !== "auto")) {
      for (const reasoningParser of REASONING_PARSERS.filter((name) => name !== "auto")) {
        const tools = { qwen3_xml: "qwen3_coder", glm47: "glm45" }[toolCallParser] ?? toolCallParser;
        const expected = [reasoningParser, tools].map((name) => (name === "none" ? null : name));
        expect(named("<tool_call>[TOOL_CALLS]</think>", { reasoningParser, toolCallParser })).toEqual(
          expected as [string, string],
        );
      }
    }
  });

  test.each([
    [
      { ...auto, toolCallParser: "hermess" },
      '--tool-call-parser: unknown parser "hermess"; there are auto, none, hermes',
    ],
    [{ ...auto, reasoningParser: "r1" }, '--reasoning-parser: unknown parser "r1"; there are auto, none, deepseek_r1'],
  ])("%j is refused", (flags, message) => {
    expect(() => answerFormat("", flags)).toThrow(message);
  });

  test("lists the special tokens that it reads", () => {
    const flags = { reasoningParser: "qwen3", toolCallParser: "hermes" };
    expect(answerFormat("", flags).shownTokens).toEqual(["<think>", "</think>", "<tool_call>", "</tool_call>"]);
    expect(answerFormat("", auto).shownTokens).toEqual([]);
  });

  test.each([
    ["{{ messages }}", null, null],
    [`{{ "<tool_call>\\n{\\"name\\": <function-name>, \\"arguments\\": <args>}" }}`, null, "hermes"],
    [`{{ '<tool_call>\n' }}{{ '{"arguments": …' }}{{ '</think>' }}`, "qwen3", "hermes"],
    ["<tool_call>\n<function=f>\n</think>", "qwen3", "qwen3_coder"],
    ["<tool_call>f(a)</tool_call>", null, null],
    ["<seed:tool_call>\n<function=f>\n", null, null],
    ["<tool_call>{function-name}\n<arg_key>", null, "glm45"],
    ["[TOOL_CALLS] [", null, "mistral"],
    ["[THINK][TOOL_CALLS]name[ARGS]", "mistral", "mistral"],
    ["<｜Assistant｜><think></think><｜tool▁calls▁begin｜>```json", "deepseek_r1", "deepseek_v3"],
    ["<｜Assistant｜></think><｜tool▁calls▁begin｜>", "deepseek_r1", "deepseek_v31"],
    ["[func_name1(params_name1=params_value1, …)]", null, "pythonic"],
    ['{"name": function name, "parameters": dictionary of arguments}', null, "llama3_json"],
  ])("%j: reasoning %s, tools %s", (template, reasoning, tools) => {
    expect(named(template)).toEqual([reasoning, tools]);
  });
});

/** What the real templates of FASTGEN_TEMPLATES have; those of models whose format there is no parser for have none. */
const REAL: Record<string, [string | null, string | null]> = {
  "Bielik-11B-v3.0-Instruct": ["qwen3", "hermes"],
  "GLM-4.6": ["qwen3", "glm45"],
  "GLM-4.7-Flash": ["qwen3", "glm45"],
  "MiMo-VL": [null, "hermes"],
  "Mistral-Small-3.2-24B-Instruct-2506": [null, "mistral"],
  "Qwen-QwQ-32B": ["qwen3", "hermes"],
  "Qwen-Qwen2.5-7B-Instruct": [null, "hermes"],
  "Qwen-Qwen3-0.6B": ["qwen3", "hermes"],
  "Qwen3-Coder": [null, "qwen3_coder"],
  "Qwen3.5-4B": ["qwen3", "qwen3_coder"],
  "ByteDance-Seed-OSS": [null, null],
  "StepFun3.5-Flash": ["qwen3", "qwen3_coder"],
  "meetkai-functionary-medium-v3.1": [null, null],
  "poolside-Laguna-XS.2": ["qwen3", "glm45"],
  "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": ["deepseek_r1", "deepseek_v3"],
  "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": ["deepseek_r1", "deepseek_v3"],
  "deepseek-ai-DeepSeek-V3.1": ["deepseek_r1", "deepseek_v31"],
  "google-gemma-2-2b-it": [null, null],
  "ibm-granite-granite-4.1": [null, "hermes"],
  "lenml-deepseek_v3-default": [null, "deepseek_v3"],
  "lenml-mistral_nemo-default": [null, "mistral"],
  "meta-llama-Llama-3.2-3B-Instruct": [null, "llama3_json"],
  "meta-llama-Llama-3.3-70B-Instruct": [null, "llama3_json"],
  "microsoft-Phi-3.5-mini-instruct": [null, null],
  "openai-gpt-oss-120b": [null, null],
  "unsloth-mistral-Devstral-Small-2507": [null, "mistral"],
  "vllm-template_chatml": [null, null],
  "vllm-tool_chat_template_deepseekv3": [null, "deepseek_v3"],
  "vllm-tool_chat_template_hermes": [null, "hermes"],
  "vllm-tool_chat_template_llama3.1_json": [null, "llama3_json"],
  "vllm-tool_chat_template_llama3.2_json": [null, "llama3_json"],
  "vllm-tool_chat_template_llama3.2_pythonic": [null, "pythonic"],
  "vllm-tool_chat_template_llama4_json": [null, "llama3_json"],
  "vllm-tool_chat_template_mistral3": [null, "mistral"],
  "vllm-tool_chat_template_mistral_parallel": [null, "mistral"],
  "vllm-tool_chat_template_qwen3coder": [null, "qwen3_coder"],
  "vllm-tool_chat_template_toolace": [null, "pythonic"],
};

const folder = join(process.env.FASTGEN_TEMPLATES ?? "", "jinja");
const there = process.env.FASTGEN_TEMPLATES !== undefined && existsSync(folder);
if (!there) console.log("skipped: formats of real chat templates: FASTGEN_TEMPLATES names no folder of them");

describe.skipIf(!there)("real templates", () => {
  test.each(Object.entries(REAL))("%s", (name, expected) => {
    expect(named(readFileSync(join(folder, `${name}.jinja`), "utf8"))).toEqual(expected);
  });

  test("no other template is taken for one that has no marks of calls", () => {
    for (const file of readdirSync(folder)) {
      const template = readFileSync(join(folder, file), "utf8");
      const tools = answerFormat(template, auto).tools;
      if (tools && !["pythonic", "llama3_json"].includes(tools.name)) expect(template).toContain(tools.marks[0]!);
    }
  });
});
