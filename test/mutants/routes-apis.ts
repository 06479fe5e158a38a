/** Bugs planted in routes: Responses, Messages, and what both share. */
import { inFile, type PlantedBug } from "./bugs.ts";

const RESPONSES = ["responses", "events", "store"].map((name) => `routes/responses/${name}.test.ts`);
const MESSAGES = ["messages", "events"].map((name) => `routes/anthropic/${name}.test.ts`);

const shared: PlantedBug[] = [
  ...inFile(
    "routes/conversation/blocks.ts",
    ["routes/conversation/blocks.test.ts", ...RESPONSES],
    [
      ["last?.kind === kind ? last :", "false ? last! :", "every piece of text is a block of its own"],
      ['this.#close("complete");\n    const index', "const index", "a block goes on while the next one is open"],
      [
        'this.#close(cut ? "cut" : "complete");',
        'this.#close("complete");',
        "a block that was cut off counts as whole",
      ],
      ['if (block?.state !== "open") return;', "if (!block) return;", "a block closes twice"],
      ["this.#logprobs.splice(0)", "this.#logprobs", "log probabilities stand beside two pieces"],
      ["if (parts.length > 0) this.#logprobs = [];", "this.#logprobs = [];", "tokens without a text lose theirs"],
      ["this.#room -= 1 + top.length;", "this.#room -= 0;", "what blocks keep of log probabilities has no bound"],
      ["block.text += text;", "block.text = text;", "a block's text is its last piece"],
    ],
  ),
  ...inFile(
    "routes/conversation/turns.ts",
    ["routes/conversation/turns.test.ts"],
    [
      ["isSystem(role) && this.#messages.length === 1 &&", "isSystem(role) &&", "what the system says late moves up"],
      ["    this.#open = null;\n    const name", "    const name", "text after a result joins the turn before it"],
      ["(open) => open.tool_calls.length === 0).content", "() => true).content", "text after a call stands before it"],
      ["this.#names.set(id, name);", "", "a result does not say what was called"],
      ["this.#messages.length === MAX_MESSAGES", "false", "a conversation has no bound"],
      [
        "isSystem(role) || texts.length < 2",
        "texts.length < 2",
        "what the system says is parts, of which some are lost",
      ],
      ['(turn.reasoning_content ?? "") + text', "text", "reasoning is its last item"],
    ],
  ),
  ...inFile("routes/server/middleware.ts", MESSAGES, [
    ['[bearer, c.req.header("x-api-key")]', "[bearer]", "x-api-key is not read"],
    ["given.some(isRight)", "given.every(isRight)", "no key is as good as the right one"],
  ]),
];

const responses: PlantedBug[] = [
  ...inFile("routes/responses/store.ts", RESPONSES, [
    ["this.#bytes += json.byteLength;\n    for", "for", "the store has no bound of bytes"],
    ["this.#entries.size <= this.#bounds.responses &&", "", "the store has no bound of number"],
    [
      "    this.#entries.delete(id);\n    this.#entries.set",
      "    this.#entries.set",
      "a response that is used is as old as before",
    ],
    [
      "for (const { response } of chain) this.#store.get(response.id);",
      "",
      "of a conversation, the newest response goes first",
    ],
    ["if (!stored) return null;", "if (!stored) break;", "a conversation without its beginning is continued"],
    ["chain.unshift(stored);", "chain.push(stored);", "a conversation is read from its end"],
    ["this.#bytes -= this.#entries.get(id)?.byteLength ?? 0;", "", "what is removed keeps its bytes"],
    ["if (known) return known;", "", "a request reads a response as often as it names it"],
    ["this.#bytes > this.#most", "false", "what a request reads has no bound"],
  ]),
  ...inFile("routes/responses/request.ts", RESPONSES, [
    ['if (instructions !== undefined) turns.say("system", [instructions]);', "", "instructions are dropped"],
    ["item.content?.length ? item.content :", "", "reasoning that is no summary is dropped"],
    [
      "if (fields.top_logprobs && !wantsLogprobs(fields)",
      "if (false",
      "alternatives without log probabilities are taken",
    ],
    ["params.logprobs = fields.top_logprobs ?? 0;", "params.logprobs = 0;", "alternatives are not asked for"],
    ['truncation === "auto" &&', 'truncation !== "auto" &&', "prompts are cut off unasked"],
    ['if (messages.length === 0) throw refuse("input", "is required");', "", "a request may say nothing"],
    ['if (param === "max_tokens") param = "max_output_tokens";', "", "an error names a field that no body has"],
    ["if (own)\n    throw refuse", "if (false)\n    throw refuse", "of two structures one is dropped"],
  ]),
  ...inFile("routes/responses/create.ts", RESPONSES, [
    ["if (fields.store === false) return;", "", "store: false is ignored"],
    ["[...history, ...input]", "input", "previous_response_id is ignored"],
    ["    run.end();\n    const response", "    const response", "a whole response is never accounted for"],
  ]),
  ...inFile("routes/responses/tools.ts", RESPONSES, [
    [
      'if (tool.type === "function" || tool.type === "custom") {',
      "if (true) {",
      "built-in tools are taken for functions",
    ],
    [
      "if (allowExtra) this.ignored.push(param);",
      "if (allowExtra) this.ignored.push();",
      "a tool is left out in silence",
    ],
    ["this.#names.set(modelName(called), called);", "", "a call does not tell its tool's namespace"],
  ]),
  ...inFile("routes/responses/response.ts", RESPONSES, [
    ["cut === null ? null : { reason: cut }", "{ reason: cut }", "what is whole has details of why it is not"],
    [
      "withLogprobs ? this.tokenLogprobs(logprobs) : []",
      "this.tokenLogprobs(logprobs)",
      "log probabilities are stored",
    ],
    ["input_tokens: usage.prompt_tokens,", "input_tokens: usage.total_tokens,", "input counts the output"],
    [
      "reasoning_tokens: usage.completion_tokens_details.reasoning_tokens",
      "reasoning_tokens: 0",
      "reasoning is not counted",
    ],
    ['const content = state === "open" ? [] :', "const content =", "an item begins with what follows"],
  ]),
  ...inFile("routes/responses/events.ts", RESPONSES, [
    ["this.#number++}}", "this.#number}}", "two events have one number"],
    ['this.#event("error", { code, message, param });', "", "a failure has no event error"],
    ["this.#onEnd(this.#answer);", "", "streamed responses are not stored"],
    ["isSummary ? { summary_index: 0 } : { content_index: 0 }", "{ content_index: 0 }", "a summary has no index"],
  ]),
  ...inFile("routes/responses/stored.ts", RESPONSES, [
    ["i < chain.length - 1 ? response.output : []", "response.output", "output counts as input"],
  ]),
  ...inFile("routes/body/paging.ts", RESPONSES, [
    ["limit > most", "false", "a page of items has no bound"],
    ['order === "desc" ? all.toReversed() : all', "all", "items have one order"],
    ["ids.indexOf(after) + 1", "ids.indexOf(after)", "a page begins with the last one's end"],
    ["start + limit < all.length", "false", "the first page is the last"],
  ]),
];

const messages: PlantedBug[] = [
  ...inFile("routes/anthropic/request.ts", MESSAGES, [
    ["if (system) turns.say", "if (false) turns.say", "the system message is dropped"],
    ["block.is_error ?", "false ?", "a failed call looks like one that worked"],
    ["last.tool_calls === undefined", "true", "a call is continued as text"],
    ["...(continued && { continue_final_message: true }),", "", "an answer that was begun is answered"],
    ['    of("assistant");\n    turns.call', "    turns.call", "users may make calls"],
    ["params.stop = fields.stop_sequences;", "", "stop sequences are ignored"],
    [
      'thinking?.type === "disabled" ? false : fields.enable_thinking',
      "fields.enable_thinking",
      "thinking cannot be switched off",
    ],
    ["tool.type == null ||", "true ||", "Anthropic's own tools are taken for the client's"],
  ]),
  ...inFile(
    "routes/conversation/custom-tools.ts",
    ["routes/conversation/custom-tools.test.ts"],
    [
      ["required: [INPUT], ", "", "a custom tool may be called without an input"],
      [
        "\\\\u[dD][89abAB][\\da-fA-F]{2}(?:\\\\u",
        "\\\\u[dD][89abAB][\\da-fA-F]{2}(?:|\\\\u",
        "half a pair of surrogates is given out",
      ],
      ["ESCAPED[sign] ?? sign", "sign", "a line end in an input is an n"],
      ["this.#names.has(part.name) ? new InputText() : null", "new InputText()", "functions lose their JSON"],
    ],
  ),
  ...inFile("routes/anthropic/documents.ts", MESSAGES, [
    ["asText(title, context, ...body)", "asText(...body)", "a document's title is lost"],
    ["asText(title, from, ...content)", "asText(title, ...content)", "a search result does not say where it is from"],
    ["lines.filter((line) => line)", "lines", "a document without a title begins with an empty line"],
    ["z.literal(false, ", "z.boolean(", "citations are asked for and never come"],
  ]),
  ...inFile("routes/anthropic/blocks.ts", MESSAGES, [
    ["input ?? {}", "input", "a call without input has no arguments"],
    ["...readable, tool_reference", "text, tool_reference", "results of tools hold no documents"],
  ]),
  ...inFile("routes/anthropic/reply.ts", MESSAGES, [
    ["prompt_tokens - cached_tokens", "prompt_tokens", "cached tokens count twice"],
    ['if (finish === "tool_calls") return', 'if (finish === "stop") return', "a call ends like a text"],
    ['if (typeof stop_reason === "string")', "if (stop_reason !== null && false)", "no stop sequence is named"],
  ]),
  ...inFile("routes/anthropic/events.ts", MESSAGES, [
    ["    if (this.#hasStarted) return;", "", "a message starts with every piece"],
    ['if (kind === "reasoning") {', "if (false) {", "thinking has no signature"],
  ]),
  ...inFile("routes/anthropic/errors.ts", MESSAGES, [
    ['429: "rate_limit_error",', "", "a full queue is the server's error"],
    ["request_id: requestId", "request_id: null", "an error does not name its request"],
  ]),
];

export const apiBugs: PlantedBug[] = [...shared, ...responses, ...messages];
