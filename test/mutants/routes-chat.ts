/** Bugs planted in routes: chat, and the conversation that all APIs share. And in what holds answers to grammars. */
import { inFile, type PlantedBug } from "./bugs.ts";

const CHAT = ["routes/openai/chat.test.ts", "routes/openai/chat-tools.test.ts"];
/** With a model, and grammars. */
const MODEL = ["test/chat-grammars.test.ts"];

export const chatBugs: PlantedBug[] = [
  ...inFile("routes/openai/chat-frames.ts", CHAT, [
    ["this.#returnIds && this.#isFirst", "this.#returnIds", "the prompt's ids stand on each choice's first frame"],
    [
      "finish_reason === null && !logprobs && !ids) return out;",
      "finish_reason === null && !ids) return out;",
      "log probabilities of text held back are lost",
    ],
    ['prefix === "" && mayCall(fields) ? null', "false ? null", "a call begins with an empty text"],
  ]),
  ...inFile("routes/openai/chat-frames.ts", MODEL, [
    ["for (const one of deltas) out +=", "for (const one of []) out +=", "of several parts in a chunk one is sent"],
    ["JSON.stringify(chunk.stop_reason)}$", "JSON.stringify(null)}$", "a stream has no stop_reason"],
  ]),
  ...inFile("routes/openai/chat-answer.ts", CHAT, [
    ['if (named) return "stop";', "", "a named call counts as the model's"],
    ['content === "" && calls.length > 0 ? null', "false ? null", "beside calls there is an empty text"],
  ]),
  ...inFile("routes/conversation/conversation.ts", CHAT, [
    ["checkTools(tools, toolChoice);", "", "two tools share a name"],
    ["if (finish_reason !== null) all.push(...parser.end());", "", "what is held back at the end is lost"],
    ["this.#includeReasoning ? all :", "true ? all :", "reasoning is handed out unasked"],
    ["const called = finish_reason", "const called = false && finish_reason", "a call ends like a text"],
    ["reasoning.count(chunk, wasThinking, parser.thinking, all);", "", "reasoning is not counted"],
    [
      "answer.calls[part.index]!.arguments += part.text;",
      "answer.calls[part.index]!.arguments = part.text;",
      "arguments are their last piece",
    ],
  ]),
  ...inFile("routes/conversation/conversation.ts", MODEL, [
    [
      "asked.thinkingOpen = thinkingOpen(format.reasoning, made.rendered, continuedText(prompt));",
      "",
      "reasoning that the prompt opens is text",
    ],
    ["answerOptions(fastgen, format, asked, request)", "{}", "answers are held to nothing"],
    ["this.#choices[index] ??= {", "this.#choices[index] = {", "each chunk is read as an answer's first"],
    [
      'const called = finish_reason === "stop" &&',
      "const called = finish_reason !== null &&",
      "a call that is cut off is whole",
    ],
  ]),
  ...inFile(
    "routes/conversation/conversation.ts",
    ["test/three-apis.test.ts"],
    [["(stop_reason === null || isJson(choice.arguments))", "true", "a call that a stop string cuts is whole"]],
  ),
  ...inFile("routes/conversation/answer-options.ts", MODEL, [
    ["asked.thinkingOpen ? null : reasoning.begin", "null", "a budget ends the thinking of an answer without any"],
  ]),
  ...inFile(
    "routes/conversation/old-functions.ts",
    ["routes/conversation/old-functions.test.ts"],
    [
      [
        'if (typeof function_call === "object") throw',
        "if (false) throw",
        "a function may be named where there are none",
      ],
      ["if (fields[field] !== undefined) throw", "if (false) throw", "both forms of tools are taken at once"],
      ['.replace(/^tool_choice/, "function_call")', "", "an error names a field that was not sent"],
      ['role: "tool", tool_call_id', "tool_call_id", "the result of a function reaches the template in its old role"],
    ],
  ),
  ...inFile("routes/openai/chat.ts", MODEL, [
    ["(fields.parallel_tool_calls ?? true)", "true", "several calls come unasked"],
    ["structured: structuredOutputs(fields),", "structured: null,", "response_format is not heard"],
    ["...reasoningOf(fields),", "...reasoningOf({}),", "no budget of thinking is heard"],
    [
      "toolChoice: toolChoice(fields.tools, fields.tool_choice)",
      "toolChoice: toolChoice(fields.tools, undefined)",
      "tool_choice is not heard",
    ],
  ]),
  ...inFile(
    "src/request/output-constraints.ts",
    ["src/request/output-constraints.test.ts"],
    [
      ["release: () => compiling.release()", "release() {}", "a grammar that was used is never freed"],
      [
        "newMatcher: () => compiling.newMatcher(), after",
        "newMatcher: () => compiling.newMatcher(), after: []",
        "grammars hold at once",
      ],
      ["    free(matchers);\n", "", "an engine that has ended leaves the matchers of grammars that came late"],
      ["(late) => late.release(),", "() => {},", "grammars that came late are kept for ever"],
      ["begin(source, signal)", "begin(source)", "nobody gives up while a grammar compiles"],
      ["error.message}`, { param }", "error.message}`", "a grammar that is refused has no name"],
      ["for (const matcher of matchers) new Matcher(matcher).free();", "", "the matchers of refused requests are left"],
      ['["", "\\n", "\\n\\n"]', '[""]', "a mark that a line end follows is not seen"],
      ["begin === null ? []", "false ? []", "thinking that is open has not begun"],
    ],
  ),
  ...inFile(
    "src/fastgen.ts",
    ["src/request/output-constraints.test.ts"],
    [
      ["    } finally {\n      constraint.release();\n", "    } finally {\n", "grammars are kept for ever"],
      [
        "      generation.fail(asFastgenError(error));\n      throw error;\n    } finally",
        "      throw error;\n    } finally",
        "a request whose grammar cannot be used stays in the engine",
      ],
      ["      freeMatchers(requests);\n", "", "an engine that has ended leaves the matchers of its last requests"],
    ],
  ),
];
