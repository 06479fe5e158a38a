/** Bugs planted in src/answer. */
import { inFile, type PlantedBug } from "./bugs.ts";

const tests = (...names: string[]) => names.map((name) => `src/answer/${name}.test.ts`);
const reading = tests("tool-formats", "reasoning", "parser-properties");

export const answerBugs: PlantedBug[] = [
  ...inFile("src/answer/input.ts", reading, [
    ["if (this.#held !== null) this.#held += text;", "", "what may be no call is lost"],
    ["MAX_HELD_CALL_LENGTH - this.#held.length", "length", "what is held back has no bound"],
    ["this.#rest.length - (this.#ended ? 0 : heldBack(this.#rest, marks))", "this.#rest.length", "half a mark is text"],
    ["(first === null || at < first.at)", "first === null", "a later mark is taken for the first"],
    ["length > most; length--", "length > most + 1; length--", "one character of a mark is text"],
    ["text.startsWith(this.#rest) && !this.#ended", "!this.#ended", "a text that cannot come is waited for"],
    ["if (!whole || this.#ended) return;", "if (!whole) return;", "the end of the answer is not seen"],
  ]),
  ...inFile("src/answer/output.ts", reading, [
    ["if (!this.#afterCall) this.#give(this.#space);", "this.#give(this.#space);", "spaces after a call are text"],
    ["if (!this.#afterCall) this.#give(this.#space);", "", "spaces at the end of a text are lost"],
    ["all.length - MAX_HELD_SPACE", "0", "spaces are held back without end"],
    ["this.dropSpace();\n    this.#parts.push", "this.#parts.push", "spaces before a call are text"],
    ["this.#afterCall = false;\n    this.#add", "this.#add", "spaces after a text after a call are lost"],
    ["last && last.type === part.type", "last", "arguments are text"],
    ['if (text === "") return;\n    this.#kind = kind;', "this.#kind = kind;", "the end of reasoning is text"],
    ["index: this.#calls - 1, text", "index: 0, text", "arguments go to the first call"],
  ]),
  ...inFile("src/answer/json-value.ts", tests("tool-formats"), [
    ["if (this.#escaped) this.#escaped = false;\n    else", "", "an escaped quote ends a string"],
    ["!STRUCTURE.test(c) || ", "", "what is no JSON is arguments"],
    ["if (this.#inString) return this.#takeInString(c);", "", "braces in strings count"],
  ]),
  ...inFile("src/answer/json-call.ts", tests("tool-formats"), [
    ["if (certain) begin();", "", "the call comes only with its arguments"],
    ["if (certain) begin();", "begin();", "JSON with a name is a call"],
    ["if (early !== null) argue(early);", "", "arguments before the name are lost"],
    ['if (!argued) output.arguments("{}");', "", "a call without arguments has no JSON"],
    ['if (name === "") throw new Unexpected();', "", "a call may have no name"],
    ["if (!begun) throw new Unexpected();", "", "an object without a name is lost"],
  ]),
  ...inFile("src/answer/tool-format.ts", tests("tool-formats"), [
    ["if (!whole) output.text(text);", "", "what is no call is lost"],
    ["input.release();\n  output.call(name, id);", "output.call(name, id);", "a call that breaks off is text too"],
    ["more &&= whole;", "", "a list that breaks is read for ever"],
  ]),
  ...inFile("src/answer/hermes.ts", tests("tool-formats", "grammar", "formats"), [
    ["yield* input.skip(END);", "", "the mark after a call is text"],
    ["(name|arguments)/", "?/", "XML between the marks is taken for JSON"],
    ["const more = several ?", "const more = true ?", "one call may be followed by another"],
  ]),
  ...inFile("src/answer/llama3-json.ts", tests("tool-formats", "grammar"), [
    ['if (yield* input.skip(";")) yield* input.space();', "", "calls behind a semicolon are text"],
    ["if (yield* input.skip(TAG)) yield* input.space();", "", "calls behind the tag are text"],
    ['=== "{") yield* calls', '=== "}") yield* calls', "calls without the tag are text"],
    ["{ mark: BARE, anywhere: false,", "{ mark: BARE, anywhere: true,", "JSON within a text is constrained as a call"],
  ]),
  ...inFile("src/answer/mistral.ts", tests("tool-formats", "grammar"), [
    ["Uint32Array(9)", "Uint32Array(8)", "ids are too short for Mistral's templates"],
    ["if (list && whole) yield*", "if (list) yield*", "what follows no call is a list"],
    ["beginCall(input, output, name, id);", "beginCall(input, output, name);", "the model's own id is lost"],
    ['!== "{") throw new Unexpected();', '=== "{") throw new Unexpected();', "calls by name are text"],
    ["mark(ARGUMENTS)", "mark(ID)", "the mark of arguments is not allowed"],
  ]),
  ...inFile("src/answer/deepseek.ts", tests("tool-formats", "grammar"), [
    ["yield* input.skip(CALLS_END);", "", "the mark after all calls is text"],
    ["yield* input.skip(BLOCK_END);", "", "the end of the code block is text"],
    ["if (yield* input.skip(CALLS)) yield* input.space();", "", "the mark before all calls is none"],
    ["write.several ?", "!write.several ?", "several calls are not allowed"],
  ]),
  ...inFile("src/answer/pythonic.ts", tests("tool-formats", "grammar"), [
    [
      "if (!argued) beginCall(input, output, name);\n    give",
      "beginCall(input, output, name);\n    give",
      "each argument is a call",
    ],
    ["if (!/^[A-Za-z_]/.test(name)) throw new Unexpected();", "", "a number is the name of a call"],
    ['give(argued ? "}" : "{}");', 'give("}");', "a call without arguments has no JSON"],
    ['argued ? ", " : "{"', '"{"', "arguments have no comma between them"],
    ["if (yield* input.skip(BEGIN)) yield* input.space();", "", "Llama 4's mark makes a call text"],
  ]),
  ...inFile("src/answer/python-literal.ts", tests("tool-formats"), [
    ["if (depth > MAX_JSON_DEPTH) throw new Unexpected();", "", "nesting has no bound"],
    ["give(json ?? word);", "if (json !== null) give(json);", "a word that is no literal is lost"],
    ["if (c === quote) break;", "break;", "the other quote ends a string"],
    ['.replace(/^0+(?=\\d)/, "")', "", "leading zeros make no JSON"],
    ['if (known === undefined) return "\\\\\\\\";', 'if (known === undefined) return "";', "a backslash is lost"],
    ["if (code > 0x10ffff) throw new Unexpected();", "", "a number that is no character ends the answer in an error"],
    ['sign === "-" ? "-" : ""', '""', "numbers lose their sign"],
  ]),
  ...inFile("src/answer/reasoning.ts", reading, [
    ["if (!open && !opened) return;", "if (!opened) return;", "reasoning that the prompt opened is text"],
    ["if (!open && !opened) return;", "", "all text is reasoning"],
    ["onOpen(false);", "", "all tokens count as reasoning"],
    ["onOpen(false);\n  output.dropSpace();", "onOpen(false);", "spaces before the mark stay"],
    ["opened > closed ||", "opened >= 0 ||", "a message that goes on after its reasoning is reasoning"],
    ["(implied && !written.endsWith(end))", "implied", "reasoning that the prompt has closed is open"],
    ["(implied && closed < 0)", "implied", "an R1 answer that goes on is reasoning"],
  ]),
  ...inFile("src/answer/formats.ts", tests("formats"), [
    ['if (name === "none") return null;', "", "none is an unknown parser"],
    ["...(tools?.marks ?? [])", "", "the marks of calls are hidden"],
    ["deepseekV3, deepseekV31,", "deepseekV31, deepseekV3,", "R1's calls are read as those of V3.1"],
  ]),
  ...inFile("src/answer/tools-in-use.ts", tests("grammar"), [
    ['toolChoice === "auto" ? null : hermes', "hermes", "models without calls have calls"],
    ['toolChoice === "auto" ? null : hermes', "null", "models without calls are not constrained to one"],
    ['tools.length === 0 || toolChoice === "none"', "tools.length === 0", "tool_choice none does not count"],
  ]),
  ...inFile("src/answer/grammar.ts", tests("grammar"), [
    ["parallelToolCalls && named === null", "parallelToolCalls", "a named tool may be called several times"],
    ["parallelToolCalls && named === null", "named === null", "parallel_tool_calls does not count"],
    ['if (!this.several) return "ANSWER_SPACE";', "", "text may follow the only call"],
    ["if (this.#request.markToken(mark)?.special) return", "if (false) return", "control tokens are sought in text"],
    [
      "free && format.reasoning === null && calls.length === 1",
      "free && calls.length === 1",
      "reasoning begins a call",
    ],
    ["isForced(request) ? null : structured", "structured", "a call that must come may be left out"],
    ["if (strict !== true) return this.schema(schema);", "", "schemas are refused that need not be held"],
    ["if (strict !== true) return this.schema(schema);", "return this.schema(schema);", "a strict schema is not held"],
    ["calls.filter(({ anywhere }) => anywhere)", "calls", "Llama's bare call hides the structured output"],
    ["source(`ANSWER_SPACE ", "source(`", "no line may end behind the reasoning"],
    ["const thought = open ?", "const thought = false ?", "reasoning that is open must be opened"],
    ["if (named !== null && this.tools.length === 0) {", "if (false) {", "a tool that is not there may be named"],
  ]),
  ...inFile("src/answer/python-grammar.ts", tests("grammar"), [
    ["required.has(name) ?", "true ?", "all arguments are required"],
    ["required.has(name) ?", "false ?", "no argument is required"],
    ['\'("True" | "False")\'', '\'("true" | "false")\'', "Python's True is no boolean"],
    ["{ ...shared, ...property }", "property", "references lead nowhere"],
  ]),
  ...inFile("src/answer/parser.ts", tests("tool-formats", "reasoning", "parser-properties"), [
    ["this.#output.end();", "", "spaces at the end are lost"],
    ["format.reasoning !== null && open", "open", "a format without reasoning has reasoning"],
    ["tools?.newId ?? openaiId", "openaiId", "Mistral's ids are too long"],
  ]),
  ...inFile(
    "src/text/chat-messages.ts",
    ["src/text/tool-messages.test.ts"],
    [
      ["takes.shortIds ? shortId", "false ? shortId", "templates refuse the ids of calls"],
      ["takes.shortIds ? shortId", "true ? shortId", "all templates get short ids"],
      ["tool_call_id: id(tool_call_id)", "tool_call_id", "a result is none of its call"],
      ['.padStart(9, "0")', "", "templates refuse ids that are too short"],
    ],
  ),
];
